"""The tensors of a run where FSDP has split them: gathered, put back, and the next step is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anyrestore.training import state
from anyrestore.zoo import create_model
from children import two_together


def split_and_whole() -> None:
    """In each of two processes."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    from anyrestore.training.state import average_in, collect, copy_of, restore, weights_of

    dist.init_process_group("gloo")
    torch.manual_seed(0)
    network = create_model("tiny")
    fully_shard(network, mesh=init_device_mesh("cpu", (2,)))
    assert all(isinstance(p, DTensor) for p in network.parameters())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(dist.get_rank())

    def step():
        x = torch.rand(2, 3, 16, 16, generator=generator)
        (network(x) - x * 0.5).abs().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    def everything():
        return {k: v.clone() for k, v in collect(network, average, optimizer).items()}

    def same(one, other):
        return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)

    step()
    average = copy_of(network)
    step()
    average_in(average, network, 0.5)
    kept, seed = everything(), generator.get_state()
    assert not any(isinstance(v, DTensor) for v in kept.values())
    step()
    after = everything()
    restore(kept, network, average, optimizer)
    assert same(everything(), kept)
    generator.set_state(seed)
    step()
    assert same(everything(), after)
    with weights_of(average, network):
        swapped = everything()
    name = "unet.stem.conv.weight"
    assert torch.equal(swapped["model." + name], after["average." + name])
    assert same(everything(), after)
    dist.destroy_process_group()


def test_split_tensors_are_stored_whole_and_split_again(tmp_path: Path) -> None:
    two_together(tmp_path, split_and_whole)


def test_tensors_that_are_missing_or_too_many_are_refused() -> None:
    network = create_model("tiny")
    optimizer = torch.optim.Adam(network.parameters())
    tensors = state.collect(network, None, optimizer)
    first = next(iter(tensors))
    for wrong in ({k: v for k, v in tensors.items() if k != first}, tensors | {"model.extra": torch.ones(1)}):
        with pytest.raises(KeyError):
            state.restore(wrong, network, None, optimizer)
    with pytest.raises(RuntimeError):
        state.restore(tensors | {first: torch.ones(1, 2, 3, 7)}, network, None, optimizer)
