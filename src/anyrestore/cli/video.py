"""The part of `anyrestore restore` that is about videos: its options, and the doing."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli.terminal import (
    ALL_FAILED,
    OK,
    OUTPUT_FAILED,
    SOME_FAILED,
    complain,
    describe,
    escape,
    exit_code,
    say,
)
from anyrestore.errors import UsageError

if TYPE_CHECKING:
    from anyrestore.inference.restorer import Restorer
    from anyrestore.video import Options

_FOR_PICTURES = (
    *("compare", "quality", "report", "isolate"),
    *("strip_metadata", "allow_truncated", "fix_nonfinite"),
)
"""Options that would be without effect on a video."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what holds for videos only."""
    group = parser.add_argument_group(
        "videos", "a video is restored frame by frame; sound and the rest are copied"
    )
    group.add_argument(
        "--smooth",
        metavar="S",
        type=_share,
        default=0.0,
        help="smooth the hyper-adapter's factors over time, 0 (off) to 1; less flicker of brightness",
    )
    group.add_argument("--video-codec", metavar="NAME", help="FFmpeg's encoder (default: the source's codec)")
    group.add_argument(
        "--crf", metavar="Q", type=_crf, help="the encoder's quality, 0 (best) to 63 (default: 16)"
    )


def are_videos(inputs: Sequence[str]) -> bool:
    """Whether the inputs are videos, by suffix, or by content where the suffix is no picture's.

    Raises:
        UsageError: some are, and others are not.
    """
    from anyrestore import image, video  # noqa: PLC0415

    def is_video(path: Path) -> bool:
        suffix = path.suffix.lower()
        if path.is_dir() or suffix in image.SUFFIXES:
            return False
        return suffix in video.SUFFIXES or video.recognise(path) is not None

    found = [is_video(Path(name)) for name in inputs]
    if any(found) and not all(found):
        raise UsageError("expected pictures or videos, got both; restore them by two commands")
    return all(found)


def restore_videos(args: argparse.Namespace, restorer: Restorer) -> int:
    """Restore videos one after another; a line for each on stdout, a sentence for each that fails.

    Only a full disk ends it before its time.
    """
    from anyrestore import video  # noqa: PLC0415

    for name in _FOR_PICTURES:
        if getattr(args, name) not in (None, False):
            raise UsageError(
                f"--{name.replace('_', '-')} is for pictures; leave it out (a video's quality is --crf)"
            )
    jobs = _targets([Path(name) for name in args.inputs], args.output)
    limit = {} if args.max_pixels is None else {"max_pixels": args.max_pixels}
    options = video.Options(
        overwrite=args.overwrite,
        resume=args.resume,
        smooth=args.smooth,
        keep_gps=args.keep_gps,
        codec=args.video_codec,
        crf=args.crf,
        settings=_settings(args, restorer.device.type),
        **limit,
    )
    complain("frames are restored one by one; what differs between them may flicker")
    errors = list[Exception]()
    for source, target in jobs:
        if os.path.lexists(target) and (args.skip_existing or (args.resume and not args.overwrite)):
            complain(f"skipped: {escape(target)} exists; --overwrite makes it anew", about=source)
            continue
        try:
            _restore(source, target, restorer, options)
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not end the other videos' turn)
            if args.debug:
                traceback.print_exception(error, file=sys.stderr)
            complain(describe(error), about=source)
            errors.append(error)
            if getattr(error, "code", "") == "disk_full":
                break
    codes = {exit_code(error) for error in errors}
    if len(errors) == len(jobs) and len(codes) == 1:
        return codes.pop()
    if not errors:
        return OK
    return OUTPUT_FAILED if OUTPUT_FAILED in codes else SOME_FAILED if len(errors) < len(jobs) else ALL_FAILED


def _restore(source: Path, target: Path, restorer: Restorer, options: Options) -> None:
    from tqdm import tqdm  # noqa: PLC0415

    from anyrestore import video  # noqa: PLC0415

    began = time.monotonic()
    with tqdm(unit="frame", leave=False, disable=None) as bar:

        def advance(done: int, of: int | None) -> None:
            bar.total = of
            bar.update(done - bar.n)

        try:
            made = video.restore(source, target, restorer, options, advance=advance)
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C and SIGTERM
                complain("what is finished is kept; go on with --resume", about=source)
            raise
    for warning in made.warnings:
        complain(f"warning: {warning}", about=source)
    kept = f", {made.kept} of them kept from before" if made.kept else ""
    say(
        f"{escape(source)} -> {escape(target)}  {made.width}x{made.height}  {made.frames} frames{kept}  "
        f"{made.codec}  {time.monotonic() - began:.1f} s"
    )


def _settings(args: argparse.Namespace, device: str) -> str:
    """All that changes the result and is not among the options of videos."""
    from anyrestore import zoo  # noqa: PLC0415
    from anyrestore.batch.manifest import describe_settings  # noqa: PLC0415

    options = {key: getattr(args, key) for key in ("tile", "backend", "instruction", "instruction_head")}
    model = args.weights or args.model or zoo.default_model(device)
    return json.dumps(describe_settings(model, {"device": device, **options}), sort_keys=True)


def _targets(sources: Sequence[Path], output: str | None) -> list[tuple[Path, Path]]:
    """Which file each becomes."""
    if output is None:
        if len(sources) > 1:
            raise UsageError("several videos need a folder to go to: name it with -o FOLDER")
        return [(sources[0], sources[0].with_name(f"{sources[0].stem}.restored{sources[0].suffix}"))]
    folder = Path(output)
    if not folder.is_dir() and not output.endswith("/"):
        if len(sources) > 1:
            raise UsageError(f"several videos need a folder to go to; {folder} is none, make it first")
        return [(sources[0], folder)]
    targets = [folder / source.name for source in sources]
    if len(set(targets)) < len(targets):
        raise UsageError("two of the videos have the same name; restore them by two commands")
    folder.mkdir(parents=True, exist_ok=True)
    return list(zip(sources, targets, strict=True))


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text!r}")
    return value


def _crf(text: str) -> int:
    if not text.isdecimal() or int(text) > 63:
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 to 63, got {text!r}")
    return int(text)
