"""What is seen is what the networks compute, and looking changes nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn

from anyrestore.conditioning.hyper_adapter import HyperAdapter
from anyrestore.conditioning.spatial_tokens import SpatialTokens
from anyrestore.errors import UsageError
from anyrestore.inspection import Findings, Maps, Matrices, Shares, Spectrum, Strip, View, look
from anyrestore.inspection.looking import LOOKS
from anyrestore.inspection.views import summarise
from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.zoo import create_model
from anyrestore.zoo.catalog import ARCHITECTURES

TINY = {"cea": "tiny", **{name: f"{name}-tiny" for name in ARCHITECTURES if name != "cea"}}
SHOWN = {
    "cea": {"routing", "spectra"},
    "exda": {"tokens", "spectra"},
    "anyir": {"gating", "spectra"},
    "moce": {"experts", "attention", "spectra"},
    "restormer": {"attention", "spectra"},
    "nafnet": {"factors", "spectra"},
    "promptir": {"prompts", "attention", "spectra"},
    "instructir": {"instruction", "factors", "spectra"},
}


def make(name: str, **changes: Any) -> nn.Module:
    """A tiny network in which every parameter has a say."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model(name, **changes)
        for parameter in model.parameters():
            if parameter.ndim < 2 or "scale" in name:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def picture(height: int = 37, width: int = 50) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def view(findings: Findings, name: str, place: str) -> Any:
    (found,) = (one for one in findings.views if (one.look, one.place) == (name, place))
    return found


def plain(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    padded, size = pad_to_multiple(x, int(model.size_multiple))  # type: ignore[arg-type] # every model has one
    with torch.no_grad():
        return crop_to(model(padded), size)


def heard(module: nn.Module, model: nn.Module, x: torch.Tensor) -> tuple[Any, Any]:
    """Input and output of a module, by a hook of this test's own."""
    calls: list[tuple[Any, Any]] = []
    handle = module.register_forward_hook(lambda _module, inputs, output: calls.append((inputs, output)))
    plain(model, x)
    handle.remove()
    return calls[0]


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("architecture", TINY)
def test_looking_shows_what_there_is_and_changes_no_bit(architecture: str, layers: str) -> None:
    model, x = make(TINY[architecture]), picture()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    expected = plain(model, x)
    findings = look(model, x, layers=layers)
    assert torch.equal(findings.restored, expected)
    assert torch.equal(plain(model, x), expected)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(not module._forward_hooks for module in model.modules())
    assert {one.look for one in findings.views} == SHOWN[architecture] == set(findings.places)
    assert all(shown <= there for shown, there in findings.places.values())
    for one in findings.views:
        check(one)


def check(one: View) -> None:
    """What holds for every view of its kind."""
    if isinstance(one, Maps):
        assert len(one.values) == len(one.labels)
        assert 37 / 8 <= one.values.shape[1] <= 37
        assert 50 / 8 <= one.values.shape[2] <= 50
        assert one.signed or bool((one.values >= 0).all())
    elif isinstance(one, Matrices):
        torch.testing.assert_close(one.values.sum(dim=-1), torch.ones(one.values.shape[:2]))
    elif isinstance(one, Shares):
        assert float(one.values.sum()) == pytest.approx(1)
    elif isinstance(one, Strip):
        assert one.signed or bool(((one.values > 0) & (one.values < 1)).all())
    else:
        assert isinstance(one, Spectrum)
        assert bool((one.singular.diff() <= 0).all())
        assert float(one.cumulative[-1]) == pytest.approx(1)
    assert summarise(one)["look"] == one.look


def test_modes_are_put_back_and_training_is_not_looked_at() -> None:
    model = make("moce-tiny").train()
    model.unet.stem.eval()  # type: ignore[operator, union-attr] # a module of the U-Net
    modes = [module.training for module in model.modules()]
    first, second = (look(model, picture(16, 16), looks=["experts"]) for _ in range(2))
    assert torch.equal(first.restored, second.restored)  # the routers' noise is training's
    assert [module.training for module in model.modules()] == modes


def test_routing_maps_are_tokens_times_bases() -> None:
    model, x = make("tiny"), picture(32, 48)
    block: Any = model.unet.decoder[2][0]  # type: ignore[index, union-attr] # CEA's own layout
    (normed,), _ = heard(block.adapter, model, x)
    bases = nn.functional.normalize(block.adapter(normed)["q"][0], dim=-1)
    by_hand = torch.einsum("brc,bchw->brhw", bases, normed)[0]
    found = view(look(model, x), "routing", "decoder.2.0.q")
    assert found.signed
    torch.testing.assert_close(found.values, by_hand.detach())
    maps = model.routing_maps(x)  # type: ignore[operator] # CEA's method
    assert {one.place for one in look(model, x, looks=["routing"], layers="all").views} == set(maps)


def test_padding_is_cut_off_maps() -> None:
    model = make("tiny")
    whole = look(model, picture(40, 56), looks=["routing"])
    cut = look(model, picture(37, 50), looks=["routing"])
    assert view(whole, "routing", "decoder.2.0.k").values.shape == (4, 40, 56)
    assert view(cut, "routing", "decoder.2.0.k").values.shape == (4, 37, 50)
    assert view(cut, "routing", "decoder.0.0.k").values.shape == (4, 10, 13)  # 37 / 4 and 50 / 4, rounded up


def test_top2_routing_is_not_signed() -> None:
    found = view(look(make("tiny", routing="top2"), picture(16, 16)), "routing", "decoder.2.0.q")
    assert not found.signed
    torch.testing.assert_close(found.values.sum(dim=0), torch.ones(16, 16))


def test_token_maps_are_relative_to_the_even_one() -> None:
    model, x = make("exda-tiny"), picture(32, 32)
    (module, *_) = (one for one in model.modules() if isinstance(one, SpatialTokens))
    _, maps = heard(module, model, x)
    found = view(look(model, x), "tokens", "encoder.0.0").values
    assert float(found.mean()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found[0].flatten() / 1024, (maps / maps.sum())[0, 0, 0])


def test_the_parts_of_a_gated_block_are_its_own() -> None:
    model, x = make("anyir-tiny"), picture(32, 32)
    block: Any = model.unet.refinement.blocks[0]  # type: ignore[union-attr, index] # AnyIR's own layout
    (features, *_), _ = heard(block.gate, model, x)
    normed = block.gate.norm(features)
    assert normed.shape[1] == 8
    gamma, beta, alpha = block.gate.expand(normed).detach().split(block.gate.widths, dim=1)
    found = view(look(model, x), "gating", "refinement.0")
    parts = dict(zip(found.labels, found.values, strict=True))
    assert list(parts) == ["split 1", "attention", "split 2", "GatedDA", "α", "β", "γ", "gate(γ)", "fused"]
    for name, part in {"α": alpha, "β": beta, "γ": gamma, "gate(γ)": gamma.sigmoid()}.items():
        torch.testing.assert_close(parts[name], part[0].abs().mean(dim=0))


def test_experts_are_those_that_the_model_says() -> None:
    model, x = make("moce-tiny"), picture(32, 32)
    gates = model.gates(x)  # type: ignore[operator] # MoCE's method
    findings = look(model, x, looks=["experts"])
    assert {one.place for one in findings.views} == set(gates)
    for one in findings.views:
        assert isinstance(one, Shares)
        (best,) = one.chosen
        assert best == int(one.values.argmax()) == int(gates[one.place][0].argmax())
        assert float(one.values[best]) == pytest.approx(float(gates[one.place].max()))


def test_an_instruction_moves_the_masks() -> None:
    model, x = make("instructir-tiny"), picture(16, 16)
    vector = torch.ones(1, 256)
    block: Any = model.unet.decoder[0].condition  # type: ignore[index, union-attr] # InstructIR's own layout
    found = view(look(model, x, condition=vector), "instruction", "decoder.0.condition")
    torch.testing.assert_close(found.values, block.mask(vector)[0].detach())
    silent = view(look(model, x), "instruction", "decoder.0.condition")
    assert not torch.allclose(found.values, silent.values)


def test_attention_matrices_multiply_the_values() -> None:
    model, x = make("restormer-tiny"), picture(16, 16)
    attention: Any = model.unet.encoder[1][0].attention  # type: ignore[index, union-attr] # the U-Net's layout
    (normed, _), output = heard(attention, model, x)
    with torch.no_grad():
        value = attention.split_heads(attention.refine(*attention.project(normed))[2])
        weights = view(look(model, x), "attention", "encoder.1.0").values
        torch.testing.assert_close(attention.to_out((weights[None] @ value).reshape(normed.shape)), output)


def test_layers_can_be_chosen() -> None:
    model = make("restormer-tiny", encoder=(2, 1, 1))

    def blocks(layers: str) -> list[str]:
        return [one.block for one in look(model, picture(8, 8), looks=["attention"], layers=layers).views]

    assert blocks("all")[:3] == ["encoder.0.0", "encoder.0.1", "encoder.1.0"]
    assert blocks("last") == [name for name in blocks("all") if name != "encoder.0.0"]
    assert blocks("encoder.0.*") == ["encoder.0.0", "encoder.0.1"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"looks": ["auras"]}, "expected one of routing"),
        ({"looks": ["tokens"]}, "CEA has nothing to show for 'tokens'"),
        ({"layers": "cellar.*"}, "no block is named like 'cellar"),
    ],
)
def test_what_cannot_be_seen_is_told(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        look(make("tiny"), picture(8, 8), **options)


def test_a_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="one by one"):
        look(make("tiny"), torch.rand(2, 3, 8, 8))


def test_other_threads_are_not_heard() -> None:
    """The same model restores another picture meanwhile, from inside the first hook."""
    model, x = make("tiny"), picture(16, 16)
    expected = view(look(model, x), "routing", "decoder.2.0.q").values
    (adapter, *_) = (module for module in model.modules() if isinstance(module, HyperAdapter))
    done: list[int] = []

    def meanwhile(*_: object) -> None:
        if not done:
            done.append(1)
            thread = threading.Thread(target=plain, args=(model, picture(32, 32)))
            thread.start()
            thread.join()

    with adapter.register_forward_hook(meanwhile):
        found = view(look(model, x), "routing", "decoder.2.0.q").values
    assert done
    assert torch.equal(found, expected)


def test_every_look_says_what_it_shows() -> None:
    assert all(one.about and one.name == name for name, one in LOOKS.items())
