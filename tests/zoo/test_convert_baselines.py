"""State dicts under public names become ours; made here by a table written the other way round."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anyrestore.architectures import nafnet, promptir, restormer
from anyrestore.errors import ModelError
from anyrestore.zoo.convert import CONVERTERS, recognise

TRANSFORMER = {
    "norm_attention": "norm1.body",
    "attention.temperature": "attn.temperature",
    "attention.to_qkv": "attn.qkv",
    "attention.depthwise": "attn.qkv_dwconv",
    "attention.to_out": "attn.project_out",
    "norm_feedforward": "norm2.body",
    "feedforward.to_branches": "ffn.project_in",
    "feedforward.depthwise": "ffn.dwconv",
    "feedforward.to_out": "ffn.project_out",
}
NAF = {
    "norm_mixing": "norm1",
    "to_mixing": "conv1",
    "depthwise": "conv2",
    "attention.conv": "sca.1",
    "from_mixing": "conv3",
    "norm_feedforward": "norm2",
    "to_feedforward": "conv4",
    "from_feedforward": "conv5",
    "scale_mixing": "beta",
    "scale_feedforward": "gamma",
}
STAGES = {
    "encoder.0": "encoder_level1",
    "encoder.1": "encoder_level2",
    "encoder.2": "encoder_level3",
    "encoder.3": "latent",
    "decoder.0": "decoder_level3",
    "decoder.1": "decoder_level2",
    "decoder.2": "decoder_level1",
    "refinement": "refinement",
}
OTHERS = {
    "stem.conv": "patch_embed.proj",
    "head.conv": "output",
    **{f"down.{i}.0": f"down{i + 1}_{i + 2}.body.0" for i in range(3)},
    **{f"up.{i}.0": f"up{4 - i}_{3 - i}.body.0" for i in range(3)},
    **{f"fuse.{i}": f"reduce_chan_level{3 - i}" for i in range(2)},
}
PROMPTS = {
    f"{stage}.{ours}": public.format(i)
    for stage, i in (("encoder.3", 3), ("decoder.0", 2), ("decoder.1", 1))
    for ours, public in (
        ("pool.components", "prompt{}.prompt_param"),
        ("pool.to_weights", "prompt{}.linear_layer"),
        ("pool.conv", "prompt{}.conv3x3"),
        ("mixing", "noise_level{}"),
        ("reduce", "reduce_noise_level{}"),
    )
}
NAF_OTHERS = {"stem": "intro", "head": "ending", "encoder": "encoders", "decoder": "decoders"}
NAF_OTHERS |= {"middle": "middle_blks", "down": "downs", "up": "ups"}


def public_name(ours: str, table: dict[str, str], blocks: dict[str, str]) -> str:
    """The longest prefix in ``table`` translated, and the suffix (before weight, bias) in ``blocks``."""
    name = ours.removeprefix("unet.")
    start = max((k for k in table if name == k or name.startswith(k + ".")), key=len)
    rest = name[len(start) :].removeprefix(".").removeprefix("stage.")
    for suffix, public in blocks.items():
        for kind in ("", ".weight", ".bias"):
            if rest == suffix + kind or rest.endswith(f".{suffix}{kind}"):
                rest = rest[: len(rest) - len(suffix + kind)] + public + kind
                return f"{table[start]}.{rest}"
    return f"{table[start]}.{rest}".rstrip(".")


def as_public(model: nn.Module, table: dict[str, str], blocks: dict[str, str]) -> dict[str, Tensor]:
    state = {public_name(k, table, blocks): v for k, v in model.state_dict().items()}
    assert len(state) == len(model.state_dict())
    return {k: v[None] if k.endswith("prompt_param") else v for k, v in state.items()}


RESTORMER = dataclasses.replace(restormer.PRESETS["restormer-tiny"], encoder=(2, 1, 1), decoder=(1, 2, 1))
CASES: dict[str, tuple[str, Any, dict[str, str], dict[str, str]]] = {
    "restormer": ("restormer", restormer.Restormer(RESTORMER), STAGES | OTHERS, TRANSFORMER),
    "restormer bias-free": (
        "restormer",
        restormer.Restormer(dataclasses.replace(RESTORMER, norm="bias_free", heads=(2, 2, 4, 4))),
        STAGES | OTHERS,
        TRANSFORMER,
    ),
    "nafnet": (
        "nafnet",
        nafnet.NAFNet(nafnet.Config(width=4, encoder=(1, 2), decoder=(2, 1))),
        NAF_OTHERS,
        NAF,
    ),
    "promptir": (
        "promptir",
        promptir.PromptIR(promptir.PRESETS["promptir-tiny"]),
        STAGES | OTHERS | PROMPTS,
        TRANSFORMER,
    ),
}
# Made by the public code, used by nothing.
LEFTOVERS = {
    **{f"chnl_reduce{i}.weight": torch.zeros(4, 4, 1, 1) for i in (1, 2, 3)},
    **{f"reduce_noise_channel_{i}.weight": torch.zeros(4, 4, 1, 1) for i in (1, 2, 3)},
}


def public_state(case: str) -> dict[str, Tensor]:
    _, model, table, blocks = CASES[case]
    return as_public(model, table, blocks) | (LEFTOVERS if case == "promptir" else {})


@pytest.mark.parametrize("case", CASES)
def test_public_names_and_shapes_give_the_network_back(case: str) -> None:
    name, model, _, _ = CASES[case]
    state = public_state(case)
    assert recognise(state) == name
    architecture, config, tensors = CONVERTERS[name].convert(state)
    assert architecture == name
    assert type(model.config)(**config) == model.config
    expected = model.state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], expected[key]) for key in expected)


def test_known_public_names_are_the_tables() -> None:
    """A few names as the public repositories have them, so that both tables cannot be wrong together."""
    assert {
        "patch_embed.proj.weight",
        "encoder_level1.1.attn.qkv_dwconv.weight",
        "latent.0.norm2.body.bias",
        "up4_3.body.0.weight",
        "reduce_chan_level3.weight",
        "refinement.0.ffn.project_in.weight",
        "output.weight",
    } <= public_state("restormer").keys()
    assert {
        "intro.bias",
        "encoders.1.1.sca.1.bias",
        "middle_blks.0.beta",
        "ups.0.0.weight",
        "downs.1.bias",
        "decoders.0.1.conv5.weight",
    } <= public_state("nafnet").keys()
    assert {
        "prompt1.prompt_param",
        "prompt3.linear_layer.bias",
        "noise_level2.attn.temperature",
        "reduce_noise_level1.weight",
        "latent.0.ffn.dwconv.weight",
    } <= public_state("promptir").keys()


@pytest.mark.parametrize("case", CASES)
def test_a_tensor_too_many_is_not_recognised_and_refused(case: str) -> None:
    state = public_state(case) | {"surprise.weight": torch.zeros(1)}
    assert recognise(state) is None
    with pytest.raises(ModelError, match=r"no place is known for the tensor 'surprise\.weight'"):
        CONVERTERS[CASES[case][0]].convert(state)


def test_a_missing_tensor_is_named() -> None:
    state = public_state("restormer")
    del state["output.weight"]
    assert recognise(state) is None
    with pytest.raises(ModelError, match=r"'output\.weight' is missing"):
        CONVERTERS["restormer"].convert(state)
    state = {k: v for k, v in public_state("restormer").items() if not k.startswith("decoder_level2")}
    with pytest.raises(ModelError, match="no tensors of decoder_level2"):
        CONVERTERS["restormer"].convert(state)


@pytest.mark.parametrize(
    ("case", "key"), [("restormer", "patch_embed.proj.weight"), ("nafnet", "intro.weight")]
)
def test_networks_for_grey_pictures_are_refused(case: str, key: str) -> None:
    state = public_state(case)
    state[key] = state[key][:, :1]
    with pytest.raises(ModelError, match="only RGB"):
        CONVERTERS[case].convert(state)


def test_a_feed_forward_that_no_one_expansion_gives_is_refused() -> None:
    state = public_state("restormer")
    weight = state["latent.0.ffn.project_out.weight"]
    state["latent.0.ffn.project_out.weight"] = weight[:, :-30]
    with pytest.raises(ModelError, match="no one expansion"):
        CONVERTERS["restormer"].convert(state)


def test_nothing_is_recognised_in_an_empty_state() -> None:
    assert recognise({}) is None
