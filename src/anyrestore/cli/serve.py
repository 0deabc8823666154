"""`anyrestore serve`: a page for the browser and an HTTP service, for this machine unless told.

See docs/server.md.
"""

from __future__ import annotations

import argparse
import os
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli.options import memory_size, positive
from anyrestore.cli.restore import DEVICES
from anyrestore.cli.terminal import OK, complain, say
from anyrestore.errors import UsageError
from anyrestore.server.settings import Settings

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers

TOKEN_VARIABLE = "ANYRESTORE_TOKEN"  # noqa: S105 (the variable's name)
_EXTRA = {"fastapi", "prometheus_client", "python_multipart", "starlette", "uvicorn", "h11", "pydantic"}
_DEFAULT = Settings()
_MiB = 2**20


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("serve", help="a page and an HTTP service", description=__doc__)
    where = parser.add_argument_group("where, and for whom")
    where.add_argument(
        "--host",
        metavar="ADDRESS",
        default=_DEFAULT.host,
        help=f"to listen on (default: {_DEFAULT.host}, this machine alone); any other needs a token",
    )
    where.add_argument(
        "--port",
        metavar="N",
        type=_port,
        default=_DEFAULT.port,
        help=f"(default: {_DEFAULT.port}); 0 takes a free one",
    )
    where.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help=f"holds the token that clients must show (default: of the variable {TOKEN_VARIABLE})",
    )
    where.add_argument("--insecure", action="store_true", help="let others in without a token")
    where.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="a name under which the service may be called, beside localhost; may be repeated",
    )
    where.add_argument(
        "--cors-origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="web pages that may call it, as https://example.org; may be repeated",
    )
    where.add_argument("--no-page", action="store_true", help="the HTTP service alone")
    where.add_argument("--open", action="store_true", help="open the page in a browser")
    where.add_argument("--no-access-log", action="store_true", help="no line for every request")
    work = parser.add_argument_group("what computes")
    work.add_argument(
        "--model",
        metavar="NAME",
        action="append",
        help="a model that clients may choose, or a weights file; may be repeated, the first is the default",
    )
    work.add_argument("--device", choices=DEVICES, default="auto", help="where to compute (default: auto)")
    work.add_argument("--threads", metavar="N", type=positive, help="of one worker (default: all cores)")
    _count(work, "--workers", _DEFAULT.workers, "processes that compute")
    work.add_argument(
        "--memory",
        metavar="SIZE",
        type=memory_size,
        default=_DEFAULT.worker_memory,
        help=f"that one worker may occupy (default: {_DEFAULT.worker_memory // _MiB}M)",
    )
    limits = parser.add_argument_group("limits")
    _count(limits, "--queue", _DEFAULT.queue, "pictures that may wait")
    limits.add_argument(
        "--max-bytes",
        metavar="SIZE",
        type=memory_size,
        default=_DEFAULT.max_bytes,
        help=f"of one upload (default: {_DEFAULT.max_bytes // _MiB}M)",
    )
    _count(limits, "--max-pixels", _DEFAULT.max_pixels, "of one picture")
    _count(limits, "--connections", _DEFAULT.connections, "that may be open at once")
    _count(
        limits,
        "--timeout",
        round(_DEFAULT.request_seconds),
        "seconds from a picture's admission to its end...",
    )
    limits.add_argument(
        "--timeout-per-megapixel",
        metavar="N",
        type=_seconds,
        default=_DEFAULT.seconds_per_megapixel,
        help=f"...and so many for each million of its pixels (default: {_DEFAULT.seconds_per_megapixel:g})",
    )
    _count(
        limits,
        "--transfer",
        round(_DEFAULT.body_seconds),
        "seconds in which a client must have sent a picture, and again must have read the result",
    )
    _count(limits, "--drain", round(_DEFAULT.drain_seconds), "seconds that accepted pictures have at the end")
    return parser


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    try:
        from anyrestore.server import running  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _EXTRA:
            raise UsageError(
                "the service needs more packages: pip install 'anyrestore[serve]'", code="no_server"
            ) from error
        raise
    settings = _settings(args)
    running.check_exposure(settings)
    from anyrestore.server.engine import Workers  # noqa: PLC0415

    running.write_log(requests=not args.no_access_log)

    def tell(event: str, where: str) -> None:
        if event == "listening":
            say(f"{where}  (loading {', '.join(settings.models)}; Ctrl-C ends it)")
        elif event == "ready":
            say(f"{where}  ready")
            if args.open and settings.page:
                webbrowser.open(where)

    if settings.token is None and settings.insecure:
        complain("--insecure: whoever reaches this machine can use the service")
    engine = Workers(settings)
    running.run(settings, running.build(settings, engine), engine, tell=tell)
    return OK


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        host=args.host,
        port=args.port,
        token=_token(args.token_file),
        insecure=args.insecure,
        hosts=tuple(args.allow_host),
        origins=tuple(_origin(one) for one in args.cors_origin),
        page=not args.no_page,
        models=tuple(args.model or _DEFAULT.models),
        device=args.device,
        threads=args.threads,
        workers=args.workers,
        queue=args.queue,
        max_bytes=args.max_bytes,
        max_pixels=args.max_pixels,
        pixels_in_flight=max(_DEFAULT.pixels_in_flight, args.max_pixels),
        bytes_in_flight=max(_DEFAULT.bytes_in_flight, 2 * args.max_bytes),
        worker_memory=args.memory,
        body_seconds=float(args.transfer),
        send_seconds=float(args.transfer),
        request_seconds=float(args.timeout),
        seconds_per_megapixel=args.timeout_per_megapixel,
        drain_seconds=float(args.drain),
        connections=args.connections,
    )


def _token(path: Path | None) -> str | None:
    """The token, never from the command line: everybody on the machine can read that."""
    from anyrestore.server.running import check_token, read_token  # noqa: PLC0415

    if path is not None:
        return read_token(path)
    token = os.environ.pop(TOKEN_VARIABLE, None)  # the workers need not have it
    if token is not None:
        check_token(token)
    return token


def _origin(text: str) -> str:
    """An origin as browsers send it.

    Raises:
        UsageError: it is none, or stands for all.
    """
    scheme, _, rest = text.rstrip("/").partition("://")
    if scheme not in ("http", "https") or not rest or set(rest) & set("/*?# @"):
        raise UsageError(
            f"--cors-origin: expected one as https://example.org, got {text!r}; * is not offered"
        )
    return text.rstrip("/")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected 0 or more seconds, got {text!r}")
    return seconds


def _count(group: argparse._ArgumentGroup, option: str, default: int, meaning: str) -> None:  # pyright: ignore[reportPrivateUsage] (it has no public name)
    group.add_argument(
        option, metavar="N", type=positive, default=default, help=f"{meaning} (default: {default:,})"
    )
