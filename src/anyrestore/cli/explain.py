"""`anyrestore explain`: what a model sees in a picture, and whether it tells degradations apart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrestore.cli import terminal
from anyrestore.cli.options import positive
from anyrestore.errors import ModelError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from anyrestore.cli.options import Subparsers

DEVICES = ("auto", "cpu", "cuda", "mps")
FORMAT = 1
EPILOG = """\
anyrestore explain photo.jpg --model cea-t -o sheet.png
anyrestore explain --embeddings CLEAN --degrade noise:0.5,rain:0.6,haze:0.5 --model cea-t -o plot.pdf
anyrestore explain --embeddings noise=CBSD68@noise:0.5 rain=Rain100L/input --model cea-t -o plot.png

docs/inside.md says what is shown of which model.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "explain",
        help="look inside a model",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", metavar="IMAGE", nargs="?", type=Path, help="the picture to look at")
    parser.add_argument(
        "--embeddings",
        metavar="DIR",
        nargs="+",
        help="instead of one picture, a labelled set: a folder whose subfolders are the labels, a folder of "
        "clean pictures with --degrade, or LABEL=DIR or LABEL=DIR@RECIPE for each label",
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="a model, or a .safetensors file")
    parser.add_argument("--random", action="store_true", help="the model untrained, with random weights")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="OUT", help="a .png, .pdf or .svg file"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument(
        "--max-side", type=positive, metavar="N", default=512, help="longest side in pixels (default: 512)"
    )
    parser.add_argument(
        "--fit",
        choices=("crop", "scale"),
        default="crop",
        help="of larger pictures take the middle (default), or make them smaller, which averages noise away",
    )
    parser.add_argument(
        "--look", action="append", metavar="NAME", help="show only this; repeatable (default: what fits)"
    )
    parser.add_argument(
        "--layers",
        metavar="WHICH",
        default="last",
        help='blocks to show: "last" of each stage (default), "all", or a pattern such as "decoder.*"',
    )
    parser.add_argument("--instruction", metavar="WORDS", help="for a model that takes instructions")
    parser.add_argument(
        "--degrade", metavar="R,R", help="recipes that make the labels: noise:0.5,rain:0.6+haze:0.5,clean"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="first N pictures of each label")
    parser.add_argument(
        "--method", choices=("tsne", "pca"), default="tsne", help="how to draw the set (default: tsne)"
    )
    parser.add_argument(
        "--embedding",
        choices=("own", "latent"),
        default="own",
        help="the architecture's own vector (default), or pooled latent features, which all have",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to compute (default: auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")
    return parser


def run(args: argparse.Namespace) -> int:
    """Look, draw, store; what is shown is listed on stdout."""
    from anyrestore import provenance, storage  # noqa: PLC0415
    from anyrestore.inspection import figures  # noqa: PLC0415

    _check(args)
    suffix = figures.check_suffix(args.output)
    figures.check_installed()  # now, not after the computing
    for path in (args.output, args.json):
        if path is not None:
            storage.check_storable(path, overwrite=args.overwrite)
    model = _model(args.model, args.seed, untrained=args.random).to(_device(args.device))
    condition = _condition(args.instruction, model)
    drawn, numbers = (_picture if args.image else _set)(args, model, condition, suffix)
    storage.store_bytes(drawn, args.output, overwrite=args.overwrite)
    if args.json is not None:
        about = {"format": FORMAT, "model": args.model, "trained": not args.random, "seed": args.seed}
        text = json.dumps(
            about | {"versions": provenance.versions(), "machine": provenance.machine()} | numbers,
            indent=1,
            allow_nan=False,
        )
        storage.store_bytes(text.encode(), args.json, overwrite=args.overwrite)
    terminal.say(terminal.escape(args.output))
    return terminal.OK


def _check(args: argparse.Namespace) -> None:
    """Refuse options that cannot be meant together."""
    if (args.image is None) == (args.embeddings is None):
        raise UsageError("expected either a picture or --embeddings DIR; see anyrestore explain --help")
    if args.image is not None and (args.degrade or args.limit):
        raise UsageError(
            "--degrade and --limit belong to --embeddings; degrade one picture with anyrestore degrade"
        )
    if args.embeddings is not None and (args.look or args.layers != "last"):
        raise UsageError("--look and --layers belong to a picture; leave them out with --embeddings")
    if args.json is not None and args.json.absolute() == args.output.absolute():
        raise UsageError(f"--json and -o are the same file, {args.json}; choose another name for one")


def _picture(
    args: argparse.Namespace, model: nn.Module, condition: Tensor | None, suffix: str
) -> tuple[bytes, dict[str, Any]]:
    """The sheet of one picture, and its numbers."""
    from anyrestore.inspection import figures, look, pictures  # noqa: PLC0415
    from anyrestore.inspection.views import Maps, Matrices, summarise  # noqa: PLC0415

    image, fitted = pictures.read(args.image, args.max_side, args.fit)
    device = next(model.parameters()).device
    findings = look(model, image.to(device), looks=args.look, layers=args.layers, condition=condition)
    height, width = image.shape[-2:]
    lines = [
        _weights(args),
        f"Picture: {fitted or f'all of its {width} x {height} pixels'}.",
        *_heard(args, model),
        _blocks(args.layers),
    ]
    caption = figures.Caption(
        title=f"{_short(args.model)} on {args.image.name}", lines=tuple(lines), untrained=args.random
    )
    for name, (shown, there) in findings.places.items():
        terminal.say(f"{name}: {shown} of {there} places")
    for view in findings.views:
        if isinstance(view, (Maps, Matrices)):
            size = " x ".join(str(side) for side in reversed(view.values.shape[1:]))
            terminal.say(f"  {view.look:12} {view.place:18} {len(view.labels)} of {size}")
    numbers = {
        "image": args.image.name,
        "height": height,
        "width": width,
        "fitted": fitted,
        "instruction": args.instruction,
        "views": [summarise(view) for view in findings.views],
    }
    return figures.draw_sheet(findings, caption, suffix), numbers


def _set(
    args: argparse.Namespace, model: nn.Module, condition: Tensor | None, suffix: str
) -> tuple[bytes, dict[str, Any]]:
    """The plot of a labelled set, and its numbers."""
    from tqdm import tqdm  # noqa: PLC0415

    from anyrestore.inspection import clusters, embedding, figures, pictures  # noqa: PLC0415
    from anyrestore.inspection.views import as_list  # noqa: PLC0415

    found = pictures.labelled(args.embeddings, args.degrade, args.limit)
    device = next(model.parameters()).device
    images = (image.to(device) for image in pictures.load(found, args.max_side, args.fit, args.seed))
    # None: a bar where stderr is a terminal.
    shown = tqdm(images, total=len(found), delay=1, unit="picture", leave=False, disable=None)
    embedded = embedding.embed(model, iter(shown), kind=args.embedding, condition=condition)
    separation = clusters.separate(
        embedded.vectors, [one.label for one in found], method=args.method, seed=args.seed
    )
    count, width = embedded.vectors.shape
    terminal.say(f"{count} pictures, {len(separation.names)} labels, embeddings of {width} numbers")
    terminal.say(f"embedding: {embedded.about}")
    terminal.say(f"NMI {separation.nmi:.4f}  ARI {separation.ari:.4f}")
    how = "middle cut out" if args.fit == "crop" else "scaled"
    lines = [
        _weights(args),
        f"Embedding: {embedded.about} ({width} numbers, each standardised over the set).",
        f"Clusters: k-means, k = {len(separation.names)}, in all numbers.",
        f"Pictures: at most {args.max_side} pixels a side ({how}), then degraded where a recipe says so.",
        *_heard(args, model),
    ]
    caption = figures.Caption(
        title=f"{_short(args.model)}: {count} pictures under {len(separation.names)} labels",
        lines=tuple(lines),
        untrained=args.random,
    )
    numbers: dict[str, Any] = {
        "embedding": embedded.about,
        "dimensions": width,
        "method": args.method,
        "max_side": args.max_side,
        "fit": args.fit,
        "instruction": args.instruction,
        "labels": {name: separation.labels.count(i) for i, name in enumerate(separation.names)},
        "nmi": separation.nmi,
        "ari": separation.ari,
        "points": [
            {"name": one.path.name, "label": one.label, "cluster": cluster, "x": x, "y": y}
            for one, cluster, (x, y) in zip(
                found, separation.clusters, as_list(separation.plane), strict=True
            )
        ],
    }
    return figures.draw_separation(separation, caption, suffix), numbers


def _model(name: str, seed: int, *, untrained: bool) -> nn.Module:
    """With trained weights, or on request with random ones."""
    from anyrestore import zoo  # noqa: PLC0415

    if not untrained:
        try:
            return zoo.load_model(name)
        except ModelError as error:
            if error.code != "no_weights":
                raise
            raise ModelError(f"{error}; --random shows it untrained", code="no_weights") from None
    import torch  # noqa: PLC0415

    if name.endswith(".safetensors"):
        raise UsageError(f"--random takes a model's name, not a file with weights, came {name}")
    # torch's own initialisation draws from the global generator, which is put back.
    fork: Any = torch.random
    with fork.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return zoo.create_model(name).eval().requires_grad_(requires_grad=False)


def _device(name: str) -> Any:
    from anyrestore.inference.restorer import choose_device  # noqa: PLC0415

    return choose_device(name)


def _condition(instruction: str | None, model: nn.Module) -> Tensor | None:
    """The vector of the words, for a model that takes them."""
    if instruction is None:
        return None
    if not hasattr(model, "instruction_width"):
        raise UsageError(f"instruction: {type(model).__name__} takes none; leave it out, or use instructir")
    from anyrestore.text.instructions import Instructions  # noqa: PLC0415

    return Instructions()([instruction]).vectors.to(next(model.parameters()).device)


def _weights(args: argparse.Namespace) -> str:
    if args.random:
        return f"Weights: random (seed {args.seed}); this network has learnt nothing."
    return "Weights: " + (
        "those that ship." if not args.model.endswith(".safetensors") else f"{Path(args.model).name}."
    )


def _heard(args: argparse.Namespace, model: nn.Module) -> list[str]:
    if not hasattr(model, "instruction_width"):
        return []
    return [
        f'Instruction: "{args.instruction}"' if args.instruction else "Instruction: none (a vector of zeros)."
    ]


def _blocks(layers: str) -> str:
    if layers == "last":
        return "Blocks: the last of each stage that has what is shown; --layers all shows every one."
    return "Blocks: all." if layers == "all" else f"Blocks: those named like {layers}."


def _short(model: str) -> str:
    return Path(model).stem if model.endswith(".safetensors") else model
