"""`anyrestore export`: a model as one ONNX file for any picture size, in float32 or int8."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import terminal
from anyrestore.errors import ModelError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from anyrestore.backends.contract import Card
    from anyrestore.cli.options import Subparsers


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("export", help="write a model as an ONNX file", description=__doc__)
    parser.add_argument(
        "--model", metavar="NAME", help="a model with weights, or a weights file (default: the default)"
    )
    parser.add_argument("--weights", metavar="FILE", type=Path, help="a weights file, as for restore")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="the .onnx file to write"
    )
    parser.add_argument("--int8", action="store_true", help="8-bit convolutions where the loss allows it")
    parser.add_argument(
        "--calibrate",
        metavar="FOLDER",
        type=Path,
        help="clean pictures for --int8; half of them measure the loss",
    )
    parser.add_argument(
        "--all", action="store_true", help="with --int8: every convolution (default: those that lose little)"
    )
    parser.add_argument("--force", action="store_true", help="write it although int8 loses more than 0.2 dB")
    parser.add_argument("--overwrite", action="store_true", help="replace a result that exists")
    return parser


def run(args: argparse.Namespace) -> int:
    """Export one model, check it, and say what it is."""
    if args.output.suffix != ".onnx":
        raise UsageError(f"expected an output that ends in .onnx, came {args.output}")
    if args.int8 != (args.calibrate is not None):
        raise UsageError("--int8 and --calibrate FOLDER go together: int8 needs pictures to find its scales")
    if (args.all or args.force) and not args.int8:
        raise UsageError("--all and --force belong to --int8")
    if args.model is not None and args.weights is not None:
        raise UsageError("expected --model or --weights, not both; a weights file says what it is")

    from anyrestore.backends import contract, graph, onnxruntime  # noqa: PLC0415
    from anyrestore.inference import memory  # noqa: PLC0415
    from anyrestore.storage import check_storable, store_bytes  # noqa: PLC0415

    contract.package("onnx", onnxruntime.EXTRA)
    contract.package("onnxruntime", onnxruntime.EXTRA)
    check_storable(args.output, overwrite=args.overwrite)
    memory.keep_freed_memory()
    network, card = _load(args.weights or args.model)
    recorded = graph.record(network)
    difference = graph.check(onnxruntime.runner(recorded), network)
    terminal.say(
        f"{card.name}: at most {difference:.1e} from torch at {len(graph.SIZES)} sizes (ONNX Runtime"
        f"{_openvino(recorded, network)})"
    )
    if args.int8:
        recorded, card = _to_int8(args, recorded, network, card)
    data = graph.sign(recorded, card)
    store_bytes(data, args.output, overwrite=args.overwrite)
    licence = card.license or "the one they came with"
    terminal.say(
        f"{terminal.escape(args.output)}: {len(data) / 1e6:.1f} MB, {card.precision}, opset {graph.OPSET}, "
        f"any size in multiples of {card.size_multiple}; licence of the weights: {licence}"
    )
    return terminal.OK


def _load(what: str | Path | None) -> tuple[nn.Module, Card]:
    """A network and its card."""
    from anyrestore import backends, zoo  # noqa: PLC0415
    from anyrestore.backends.contract import describe  # noqa: PLC0415

    name = zoo.default_model() if what is None else what
    if backends.is_graph(name):
        raise UsageError(f"{name} is an exported file already; give the weights")
    if zoo.is_file(name):
        network, digest = zoo.load_file(Path(name))
        known = {"name": zoo.called(name), "weights_sha256": digest}
    else:
        network = zoo.load_model(name)
        entry = zoo.CATALOG[str(name)]
        known = {"name": entry.name, "weights_sha256": entry.sha256, "license": entry.license}
    return network.eval(), describe(network, **known)


def _openvino(recorded: bytes, network: nn.Module) -> str:
    """What OpenVINO makes of the graph, for the sentence; nothing where it is not installed."""
    from anyrestore.backends import graph, openvino  # noqa: PLC0415

    if not graph.installed("openvino"):
        return ""
    return f"; OpenVINO {graph.largest_difference(openvino.runner(recorded), network):.1e}"


def _to_int8(args: argparse.Namespace, recorded: bytes, network: nn.Module, card: Card) -> tuple[bytes, Card]:
    """The int8 graph and its card, if it does not lose too much."""
    import dataclasses  # noqa: PLC0415

    from anyrestore.backends import graph, int8, onnxruntime  # noqa: PLC0415

    rest = graph.example(network, card.size_multiple, card.size_multiple)[1:]
    calibration, held_out = int8.pairs(args.calibrate, rest)
    if args.all:
        result = int8.quantise_all(recorded, calibration)
    else:
        result = int8.quantise(recorded, calibration, onnxruntime.runner, say=terminal.say)
    before = int8.mean_psnr(onnxruntime.runner(recorded), held_out)
    after = int8.mean_psnr(onnxruntime.runner(result), held_out)
    terminal.say(
        f"int8 on {len(held_out)} held-out crops, noise sigma 25: {after:.2f} dB, float32 {before:.2f} dB, "
        f"loss {before - after:.3f} dB"
    )
    if not before - after <= int8.LARGEST_LOSS and not args.force:
        raise ModelError(
            f"int8 would lose {before - after:.2f} dB, more than {int8.LARGEST_LOSS} dB, so nothing was "
            "written; leave out --all, or write it all the same with --force",
            code="int8_loss",
        )
    return result, dataclasses.replace(card, precision="int8")
