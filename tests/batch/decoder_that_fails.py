"""A decoding process that crashes or hangs on pictures whose names say so. Run as a program."""

import os
import signal
import time
from pathlib import Path

from anyrestore import image
from anyrestore.batch import decoding

_read, _read_header = image.read, image.read_header


def read(path, **options):
    if "crash" in Path(path).name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in Path(path).name:
        time.sleep(600)
    if "quit" in Path(path).name:
        os._exit(7)
    if "bug" in Path(path).name:
        raise ZeroDivisionError("two over nothing")
    return _read(path, **options)


def read_header(path, **options):
    if "early" in Path(path).name:
        os.kill(os.getpid(), signal.SIGSEGV)
    return _read_header(path, **options)


image.read, image.read_header = read, read_header
decoding.main()
