"""What a training run leaves that two equal runs must have in common."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """What must not depend on how often a run was interrupted."""
    kept = ["log.jsonl", "scores.jsonl", "weights.safetensors", "best.safetensors", "run.json"]
    files = [folder / name for name in kept] + sorted((folder / "checkpoints").iterdir())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
