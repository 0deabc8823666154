"""Reading files in a process of its own: the time, the memory and the child processes that each took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"

# Reading loads no PyTorch, which takes seconds, and would hide the memory of what is measured.
CHILD = """
import json, os, resource, sys, time
from anyrestore import image
from anyrestore.errors import InputError
assert "torch" not in sys.modules
warm, options, *paths = sys.argv[1:]
def peak():  # (ru_maxrss would be that of the process which started this one, where that was larger)
    found = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(found.split()[1]) / 1024
def once(path, **options):
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before, start = peak(), time.process_time()
    try:
        picture = image.read(path, **options)
        end, warnings = "ok", list(picture.warnings)
    except InputError as error:
        end, warnings = error.code, []
    seconds = time.process_time() - start
    return {"end": end, "seconds": seconds, "mebibytes": peak() - before, "warnings": warnings}
once(warm)
print(json.dumps([once(path, **json.loads(options)) for path in paths]))
reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
assert reaped.ru_minflt == 0 and reaped.ru_utime == 0, "a child process ran"
for task in os.listdir("/proc/self/task"):
    assert open(f"/proc/self/task/{task}/children").read() == "", "a child process runs"
"""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What reading one file came to: "ok" or a code, CPU seconds, growth of the peak of memory."""

    end: str
    seconds: float
    mebibytes: float
    warnings: list[str]


def read_apart(warm: Path, paths: Sequence[Path], **options: object) -> list[Reading]:
    """Read files one after another in a child, which first reads `warm`; it must start no process itself."""
    command = [sys.executable, "-c", CHILD, str(warm), json.dumps(options), *map(str, paths)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [Reading(**found) for found in json.loads(done.stdout)]
