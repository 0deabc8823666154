"""Low-rank assembly against its dense form and against loops over tokens."""

from __future__ import annotations

import torch

from anyrestore.conditioning.low_rank import LowRankAssembly, rank_norm


def factors(seed: int, rank: int = 3, channels: int = 6) -> torch.Tensor:
    return torch.randn(2, rank, channels, generator=torch.Generator().manual_seed(seed))


def features() -> torch.Tensor:
    return torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(9))


def test_assembly_equals_the_dense_matrix() -> None:
    x, bases, directions = features(), factors(1), factors(2)
    assembly = LowRankAssembly(3)
    dense = assembly.scale * bases.transpose(1, 2) @ directions  # b c c, the matrix that is never formed
    expected = torch.einsum("bchw,bcd->bdhw", x, dense)
    torch.testing.assert_close(assembly(x, bases, directions), expected)


def test_assembly_equals_loops_over_tokens_and_ranks() -> None:
    x, bases, directions = features(), factors(1), factors(2)
    result = LowRankAssembly(3)(x, bases, directions)
    for b in range(2):
        for row in range(4):
            for column in range(5):
                token = x[b, :, row, column]
                delta = torch.zeros(6)
                for r in range(3):
                    delta += 3**-0.5 * torch.dot(token, bases[b, r]) * directions[b, r]
                torch.testing.assert_close(result[b, :, row, column], delta)


def test_top2_routing_uses_the_two_largest_affinities_of_every_token() -> None:
    x, bases = features(), factors(1, rank=4)
    weights = LowRankAssembly(4, "top2").routing(x.flatten(2), bases)
    affinity = torch.einsum("brc,bcn->brn", bases, x.flatten(2))
    assert torch.equal((weights > 0).sum(dim=1), torch.full((2, 20), 2))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 20))
    used = affinity.masked_fill(weights == 0, float("inf")).amin(dim=1)
    unused = affinity.masked_fill(weights > 0, float("-inf")).amax(dim=1)
    assert (used >= unused).all()


def test_rank_norm_gives_rows_of_length_one_per_image() -> None:
    normed = rank_norm(factors(1) * torch.tensor([1.0, 100.0])[:, None, None])
    torch.testing.assert_close(normed.norm(dim=-1), torch.ones(2, 3))


def test_the_scale_is_a_parameter_only_on_request() -> None:
    assert list(LowRankAssembly(4).parameters()) == []
    assert list(LowRankAssembly(4).state_dict()) == []
    assert [p.item() for p in LowRankAssembly(4, learnable_scale=True).parameters()] == [0.5]
