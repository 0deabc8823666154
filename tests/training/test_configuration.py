"""Runs from JSON and from settings: every field can be set and comes back; nothing unknown gets in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyrestore.data.mixtures import MIXTURES, Mixture, Part
from anyrestore.errors import UsageError
from anyrestore.training.configuration import change, from_json
from anyrestore.training.reading import fields_of, read
from anyrestore.training.run import (
    Loss,
    Model,
    Optimizer,
    Phase,
    Run,
    Schedule,
)
from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG

RUN = Run(
    name="miniature",
    model=Model(name="tiny"),
    mixture=Mixture(
        name="two",
        parts=(
            Part(task="noise", sets=("clean:photos",), degrade="noise:25"),
            Part(task="pair", sets=("pairs:low|high",)),
        ),
        order="draw",
    ),
    epochs=4,
    phases=(Phase(until=0.5, crop=16, batch=4), Phase(until=1.0, crop=48, batch=2)),
)

#: A value for every field of the whole tree, by its path; another than RUN's.
VALUES = {
    "name": "other",
    "model.name": "cea-t",
    "model.start": "weights.safetensors",
    "model.options.width": "16",
    "model.options.encoder": "[1,2,1]",
    "model.options.latent": "2",
    "model.options.decoder": "[2,1,1]",
    "model.options.refinement": "2",
    "model.options.heads": "[1,1,2,4]",
    "model.options.expansion": "2.5",
    "model.options.stem_scale": "2",
    "model.options.rank": "8",
    "model.options.targets": "none",
    "model.options.factors": "static",
    "model.options.routing": "top2",
    "model.options.generator": "pooled",
    "model.options.rank_norm": "false",
    "model.options.learnable_scale": "true",
    "model.options.adapter_heads": "2",
    "model.options.adapter_stride": "2",
    "model.options.placement": "all",
    "mixture.name": "three",
    "mixture.parts.0.task": "grain",
    "mixture.parts.0.sets": '["clean:others","wed"]',
    "mixture.parts.0.repeat": "2.5",
    "mixture.parts.0.share": "0.25",
    "mixture.parts.0.degrade": "noise:50",
    "mixture.parts.0.weight": "3",
    "mixture.parts.0.instruction": "denoise",
    "mixture.order": "epoch",
    "mixture.epoch": "1000",
    "mixture.halve": "true",
    "mixture.eight_bits": "truncate",
    "mixture.layers.streaks": "streaks",
    "mixture.layers.snow_masks": "masks",
    "mixture.layers.kernels": "kernels.npz",
    "epochs": "2.5",
    "steps": "100",
    "phases.0.until": "0.25",
    "phases.0.crop": "32",
    "phases.0.batch": "8",
    "phases.0.shares": '{"noise":0.9,"pair":0.1}',
    "optimizer.name": "adamw",
    "optimizer.lr": "1e-4",
    "optimizer.betas": "[0.5,0.9]",
    "optimizer.eps": "1e-6",
    "optimizer.weight_decay": "0.01",
    "optimizer.clip": "1",
    "schedule.name": "constant",
    "schedule.warmup": "0.5",
    "schedule.start": "0.01",
    "schedule.floor": "0.02",
    "schedule.horizon": "8",
    "schedule.every": "epoch",
    "loss.l1": "0.5",
    "loss.charbonnier": "1",
    "loss.charbonnier_eps": "1e-4",
    "loss.fourier": "0.1",
    "loss.ms_ssim": "0.2",
    "loss.auxiliary": '{"importance":0.01}',
    "loss.balance": "log",
    "loss.floor": "0.5",
    "ema": "0.999",
    "precision": "bf16",
    "accumulate": "2",
    "instructions": "50",
    "patience": "9",
    "log_every": "7",
    "seed": "3",
    "validation.every": "10",
    "validation.held_out": "2",
    "validation.count": "4",
    "validation.crop": "64",
    "validation.sheet": "0",
    "checkpoints.every": "5",
    "checkpoints.keep": "3",
}


def leaves(kind: Any, path: str = "") -> Iterator[str]:
    """The path of every field that holds no further fields; the first entry stands for a list's."""
    for name, inner in fields_of(kind).items():
        here = f"{path}.{name}" if path else name
        if here == "model.options":
            yield from leaves(ARCHITECTURES["cea"].config, here)
        elif dataclasses.is_dataclass(inner):
            yield from leaves(inner, here)
        elif get_origin(inner) is tuple and dataclasses.is_dataclass(get_args(inner)[0]):
            yield from leaves(get_args(inner)[0], f"{here}.0")
        else:
            yield here


def at(tree: Any, path: str) -> Any:
    for step in path.split("."):
        tree = tree[int(step)] if isinstance(tree, (list, tuple)) else tree[step]
    return tree


def through_json(run: Run) -> Run:
    return from_json(json.loads(json.dumps(run.to_json())))


def test_the_table_has_every_field() -> None:
    # A decay alone is refused, as the schedule is a cosine: below.
    assert set(leaves(Run)) == set(VALUES) | {"schedule.decay"}


def test_a_decay_can_be_set_beside_a_constant_rate() -> None:
    changed = change(RUN, ["schedule.name=constant", "schedule.decay=0.25"])
    assert through_json(changed).schedule.decay == 0.25
    with pytest.raises(UsageError, match=r"schedule\.decay: expected 0"):
        change(RUN, ["schedule.decay=0.25"])


@pytest.mark.parametrize("path", VALUES)
def test_every_field_can_be_set_and_comes_back(path: str) -> None:
    text = VALUES[path]
    changed = change(RUN, [f"{path}={text}"])
    before, after = RUN.to_json(), changed.to_json()
    assert at(after, path) != at(before, path)
    written = json.loads(json.dumps(at(after, path)))
    expected = text if isinstance(written, str) else json.loads(text)
    assert written == expected
    assert through_json(changed) == changed
    # Nothing else moved, but what the docs say moves along.
    along = {"model.name": ("model.options.",), "steps": ("epochs",), "epochs": ("steps",)}.get(path, ())
    others = [p for p in VALUES if p != path and not p.startswith(along or ("-",))]
    assert [p for p in others if at(after, p) != at(before, p)] == []


@settings(max_examples=30, deadline=None)
@given(st.sets(st.sampled_from(sorted(set(VALUES) - {"steps", "mixture.order", "mixture.parts.0.task"}))))
def test_any_settings_together_come_back(paths: set[str]) -> None:
    changed = change(RUN, [f"{path}={VALUES[path]}" for path in sorted(paths)])
    assert through_json(changed) == changed
    assert json.dumps(through_json(changed).to_json()) == json.dumps(changed.to_json())


@settings(max_examples=50, deadline=None)
@given(
    lr=st.floats(1e-12, 1e3),
    beta=st.floats(0, 0.999),
    warmup=st.floats(0, 3.99),
    fourier=st.floats(0, 1e3),
    crops=st.lists(st.integers(2, 64).map(lambda n: 8 * n), min_size=1, max_size=5),
    ema=st.none() | st.floats(0, 0.9999),
    seed=st.integers(0, 2**31 - 1),
    start=st.none() | st.text(min_size=1, max_size=20),
)
def test_any_numbers_come_back(
    *,
    lr: float,
    beta: float,
    warmup: float,
    fourier: float,
    crops: list[int],
    ema: float | None,
    seed: int,
    start: str | None,
) -> None:
    run = dataclasses.replace(
        RUN,
        model=Model(name="cea-s", start=start, options={"rank": 4}),
        optimizer=Optimizer(lr=lr, betas=(beta, 0.9)),
        schedule=Schedule(warmup=warmup),
        loss=Loss(fourier=fourier, auxiliary={"load": fourier}),
        phases=tuple(Phase(until=(i + 1) / len(crops), crop=c) for i, c in enumerate(crops)),
        ema=ema,
        seed=seed,
    )
    assert through_json(run) == run


Spoil = Callable[[dict[str, Any]], None]


def _drop(path: str) -> Spoil:
    head, _, last = path.rpartition(".")
    return lambda tree: (at(tree, head) if head else tree).pop(last)


def _put(path: str, value: object) -> Spoil:
    head, _, last = path.rpartition(".")
    return lambda tree: (at(tree, head) if head else tree).__setitem__(last, value)


BAD_JSON: list[tuple[Spoil, str]] = [
    (_put("optimizer.lrr", 1), r"^optimizer\.lrr: no such field; optimizer has name, lr, .*did you mean lr"),
    (_put("speed", 1), r"^speed: no such field; a run has name, model, "),
    (_put("optimizer.lr", "fast"), r"^optimizer\.lr: expected a number, came 'fast'"),
    (_put("optimizer.lr", True), r"^optimizer\.lr: expected a number, came True"),
    (_put("optimizer.lr", float("nan")), r"^optimizer\.lr: expected a number, came nan"),
    (_put("optimizer.lr", 10**400), r"^optimizer\.lr: expected a number, came 1000.*\.\.\."),
    (_put("optimizer.lr", None), r"^optimizer\.lr: expected a number, came none"),
    (_put("seed", 1.0), r"^seed: expected a whole number, came 1\.0"),
    (_put("seed", True), r"^seed: expected a whole number, came True"),
    (_put("mixture.halve", 1), r"^mixture\.halve: expected true or false, came 1"),
    (_put("name", 3), r"^name: expected text, came 3"),
    (_put("precision", "fp8"), r"^precision: expected one of fp32, bf16, fp16, came 'fp8'"),
    (_put("optimizer.betas", [0.9]), r"^optimizer\.betas: expected 2 values, came \[0\.9\]"),
    (_put("optimizer.betas", 0.9), r"^optimizer\.betas: expected a list, came 0\.9"),
    (_put("phases.1.crop", "64"), r"^phases\.1\.crop: expected a whole number, came '64'"),
    (_put("phases", {}), r"^phases: expected a list, came \{\}"),
    (_put("phases.0.shares", [1]), r"^phases\.0\.shares: expected names with values, came \[1\]"),
    (_put("phases.0.shares", {"noise": "x"}), r"^phases\.0\.shares\.noise: expected a number"),
    (_put("mixture.parts.1.weigth", 2), r"^mixture\.parts\.1\.weigth: no such field; .*did you mean weight"),
    (_put("optimizer", 3), r"^optimizer: expected the fields of Optimizer, came 3"),
    (_put("model.options.widht", 3), r"^model\.options\.widht: no such option of tiny; .*did you mean width"),
    (_put("model.options.encoder", [1, 1]), r"^model\.options\.encoder: expected 3 values"),
    (_put("model.options.rank", "4"), r"^model\.options\.rank: expected a whole number, came '4'"),
    (_put("model.options.width", 0), r"^model\.options: expected widths in"),
    (_drop("model"), r"^model: missing"),
    (_drop("model.name"), r"^model\.name: missing"),
    (_drop("mixture.parts"), r"^mixture\.parts: missing"),
    (_drop("mixture.parts.0.sets"), r"^mixture\.parts\.0\.sets: missing"),
]


@pytest.mark.parametrize(("spoil", "sentence"), BAD_JSON, ids=[sentence for _, sentence in BAD_JSON])
def test_json_is_read_strictly(spoil: Spoil, sentence: str) -> None:
    tree = json.loads(json.dumps(RUN.to_json()))
    spoil(tree)
    with pytest.raises(UsageError, match=sentence):
        from_json(tree)


@pytest.mark.parametrize("whole", [None, 3, "run", [], [1]])
def test_a_whole_that_is_no_run(whole: object) -> None:
    with pytest.raises(UsageError, match=r"^a run: expected the fields of Run"):
        from_json(whole)


#: What makes no sense though its type is right.
SENSELESS = {
    "name=": "name: expected a name",
    "epochs=0": "epochs: expected a number above 0",
    "epochs=none": "exactly one of epochs and steps, came none",
    "steps=0": "steps: expected at least 1",
    "phases.0.until=0": "phases.0.until: expected a number above 0",
    "phases.1.until=0.9": r"phases: expected ends \(until\) that rise and end at 1",
    "phases.0.until=1": "phases: expected ends",
    "phases=[]": "phases: expected ends",
    "phases.batch=0": "phases.0.batch: expected at least 1",
    "phases.crop=33": "phases.0.crop: expected a multiple of 8 for tiny, came 33",
    "phases.1.crop=33": "phases.1.crop: expected a multiple of 8 for tiny, came 33",
    "validation.crop=33": "validation.crop: expected a multiple of 8 for tiny, came 33",
    "model.stem_scale=4": "phases.0.crop: expected a multiple of 32 for tiny, came 16",
    "mixture.parts.pair.sets=[]": r"mixture\.parts\.1\.sets: expected at least one data set",
    "mixture.parts.noise.repeat=0": r"mixture\.parts\.0\.repeat: expected a number above 0, came 0",
    "mixture.parts.share=0": "mixture.parts: expected a share above 0 for at least one part",
    "mixture.parts=[]": "mixture.parts: expected at least one part",
    "mixture.parts.0.task=two words": "mixture.parts.0.task: expected a name without spaces",
    "mixture.epoch=0": "mixture.epoch: expected none or at least 1 sample",
    "phases.crop=-1": "phases.0.crop: expected at least 1",
    'phases.1.shares={"nois":1}': r"phases.1.shares.nois: no such task; .*did you mean noise",
    "phases.0.shares.noise=-1": "phases.0.shares.noise: expected at least 0",
    "phases.0.shares.noise=0": "phases.0.shares: expected at least one share above 0",
    "optimizer.lr=0": "optimizer.lr: expected a number above 0",
    "optimizer.lr=nan": "optimizer.lr: expected a number",
    "optimizer.lr=inf": "optimizer.lr: expected a number",
    "optimizer.eps=0": "optimizer.eps: expected a number above 0",
    "optimizer.clip=0": "optimizer.clip: expected a number above 0",
    "optimizer.betas=[0.9,1]": "optimizer.betas: expected two numbers from 0 to below 1",
    "optimizer.weight_decay=-1": "optimizer.weight_decay: expected at least 0",
    "schedule.warmup=-1": "schedule.warmup: expected at least 0",
    "schedule.start=2": "schedule.start: expected a number from 0 to 1",
    "schedule.floor=-1": "schedule.floor: expected a number from 0 to 1",
    "schedule.horizon=0": "schedule.horizon: expected a number above 0",
    'schedule={"warmup":5,"horizon":5}': "schedule.horizon: expected more epochs than the warm-up's 5",
    "loss.l1=0": "loss.l1: expected a weight above 0 for at least one of",
    "loss.fourier=-0.1": "loss.fourier: expected at least 0",
    "loss.auxiliary.load=-1": "loss.auxiliary.load: expected at least 0",
    "loss.charbonnier_eps=0": "loss.charbonnier_eps: expected a number above 0",
    "loss.floor=0": "loss.floor: expected a number above 0",
    "ema=1": "ema: expected none or a number from 0 to below 1",
    "mixture.parts.0.instruction=denoize": (
        r"mixture\.parts\.0\.instruction: no task 'denoize'; .* did you mean denoise"
    ),
    "instructions=0": "instructions: expected at least 1",
    "instructions=1801": "instructions: expected at most 1800 sentences a task, came 1801",
    "accumulate=0": "accumulate: expected at least 1",
    "patience=0": "patience: expected at least 1",
    "log_every=0": "log_every: expected at least 1",
    "seed=-1": "seed: expected a whole number from 0",
    "seed=2147483648": "seed: expected a whole number from 0 to 2147483647, came 2147483648",
    "validation.held_out=0": "validation.held_out: expected at least 1 scene",
    "validation.every=-1": "validation.every: expected at least 0",
    "validation.count=0": "validation.count: expected at least 1",
    "validation.crop=0": "validation.crop: expected at least 1",
    "validation.sheet=9": "validation.sheet: expected at most count, which is 8, came 9",
    "checkpoints.every=0": "checkpoints.every: expected at least 1",
    "checkpoints.keep=1": "checkpoints.keep: expected at least 2",
}


@pytest.mark.parametrize("setting", SENSELESS)
def test_senseless_values_are_refused(setting: str) -> None:
    with pytest.raises(UsageError, match=SENSELESS[setting]):
        change(RUN, [setting])


def test_parts_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(UsageError, match=r"phases\.1\.shares: expected none.*shows every picture"):
        change(RUN, ["mixture.order=epoch", "phases.1.shares.noise=1"])
    with pytest.raises(UsageError, match=r"phases\.0\.crop: expected at least 11 px"):
        change(RUN, ["loss.ms_ssim=1", "phases.0.crop=10"])
    with pytest.raises(UsageError, match="came both"):
        change(RUN, ["epochs=1", "steps=1"])


def test_a_network_that_takes_instructions_is_told_one_for_every_part() -> None:
    name, noise, pair = (
        "model.name=instructir-tiny",
        "mixture.parts.noise.instruction=denoise",
        "mixture.parts.pair.instruction=low_light",
    )
    told = change(RUN, [name, noise, pair])
    assert [part.instruction for part in told.mixture.parts] == ["denoise", "low_light"]
    assert told.model.takes_instructions
    assert not change(RUN, [noise]).model.takes_instructions  # one that takes none ignores them
    sentence = r"^mixture\.parts\.pair\.instruction: .* instructir-tiny .* denoise, .*, came none for pair;"
    with pytest.raises(UsageError, match=sentence):
        change(RUN, [name, noise])
    with pytest.raises(UsageError, match="came none for noise, pair;"):
        change(RUN, [name])
    with pytest.raises(UsageError, match=r"^model\.instruction_width: expected 256, .*, came 64"):
        change(RUN, [name, noise, pair, "model.instruction_width=64"])


def test_crops_are_those_that_the_network_takes() -> None:
    assert change(RUN, ["validation.crop=33", "validation.every=0"]).validation.crop == 33
    assert change(RUN, ["model.stem_scale=2", "phases.crop=48"]).phases[0].crop == 48
    foreign = dataclasses.replace(RUN, model=Model(name="later"), phases=(Phase(crop=33),))
    assert through_json(foreign) == foreign


UNKNOWN = {
    "steps": "expected a setting like",
    "=3": "expected a setting like",
    "lr=1": "lr: no such field; a run has",
    "optimizer.lrr=1": "optimizer.lrr: no such field; .*did you mean lr",
    "optimizer.lr.x=1": "optimizer.lr.x: no such field; optimizer.lr is one value",
    "model.rnk=1": "model.rnk: no such field; model has name, .*rank.*did you mean rank",
    "model.options.rnk=1": "model.rnk: no such field",
    "model.name=cea-l": "model.name: no network named 'cea-l'; there are",
    "mixture=cdd12": "mixture: no mixture named 'cdd12'; .*did you mean cdd11",
    "phases.2.crop=1": "phases.2: no such entry; phases has 0 to 1, until",
    "phases.-1.crop=1": "phases.-1: no such entry",
    "phases.corp=1": "phases.corp: no such entry; .*did you mean crop",
    "mixture.parts.nois.weight=1": "mixture.parts.nois: no such entry; .*did you mean noise",
    "mixture.parts.noise.wieght=1": "mixture.parts.noise.wieght: no such field; .*did you mean weight",
}


@pytest.mark.parametrize("setting", UNKNOWN)
def test_unknown_names_are_refused(setting: str) -> None:
    with pytest.raises(UsageError, match=UNKNOWN[setting]):
        change(RUN, [setting])


def test_short_forms() -> None:
    assert {p.crop for p in change(RUN, ["phases.crop=40"]).phases} == {40}
    assert [p.crop for p in change(RUN, ["phases.crop=40", "phases.0.crop=16"]).phases] == [16, 40]
    assert change(RUN, ["mixture.parts.pair.weight=2"]).mixture.parts[1].weight == 2
    assert {p.share for p in change(RUN, ["mixture.parts.share=3"]).mixture.parts} == {3}
    assert change(RUN, ["model.rank=7"]).model.options["rank"] == 7
    assert change(RUN, ["loss.auxiliary.importance=0.01"]).loss.auxiliary == {"importance": 0.01}
    assert change(RUN, ["phases.0.shares.noise=1"]).phases[0].shares == {"noise": 1}
    assert change(RUN, ["ema=0.9", "ema=none"]).ema is None
    assert change(RUN, ["optimizer.lr=.5"]).optimizer.lr == 0.5
    assert change(RUN, ["model.start=1"]).model.start == "1"  # text stays text


def test_parts_of_one_task_are_set_together() -> None:
    part = Part(task="noise", sets=("wed",))
    two = dataclasses.replace(RUN, mixture=Mixture(name="m", parts=(part, part, RUN.mixture.parts[1])))
    assert [p.repeat for p in change(two, ["mixture.parts.noise.repeat=5"]).mixture.parts] == [5, 5, 1]


def test_length_is_in_epochs_or_steps() -> None:
    in_steps = change(RUN, ["steps=9"])
    assert (in_steps.steps, in_steps.epochs) == (9, None)
    assert change(in_steps, ["epochs=2"]).steps is None


def test_a_mixture_by_name_comes_whole_and_first() -> None:
    shares = dataclasses.replace(RUN, phases=(Phase(shares={"noise": 1.0}),))
    changed = change(shares, ["mixture.parts.haze.weight=2", "mixture=cdd11"])
    haze = dataclasses.replace(
        next(p for p in MIXTURES["cdd11"].parts if p.task == "haze"),
        weight=2,
    )
    assert changed.mixture.name == "cdd11"
    assert haze in changed.mixture.parts
    assert changed.phases[0].shares == {}
    given_whole = json.dumps(dataclasses.asdict(MIXTURES["allweather"]))
    assert change(RUN, [f"mixture={given_whole}"]).mixture == MIXTURES["allweather"]


def test_another_network_comes_with_its_own_options() -> None:
    rich = change(RUN, ["model.rank=3", "loss.auxiliary.load=1"])
    changed = change(rich, ["model.width=24", "model.name=cea-s"])
    preset = ARCHITECTURES["cea"].presets["cea-s"]
    assert changed.model.options == dataclasses.asdict(dataclasses.replace(preset, width=24))
    assert changed.loss.auxiliary == {}


@pytest.mark.parametrize("name", CATALOG)
def test_options_are_written_out_in_full(name: str) -> None:
    architecture = ARCHITECTURES[CATALOG[name].architecture]
    options = Model(name=name).options
    assert set(options) == set(fields_of(architecture.config))
    assert architecture.config(**options) == architecture.presets[name]


def test_a_network_of_another_version_can_be_read_not_changed() -> None:
    foreign = dataclasses.replace(RUN, model=Model(name="later", options={"depth": 3}))
    assert not foreign.model.known
    assert through_json(foreign) == foreign
    with pytest.raises(UsageError, match="no network later"):
        change(foreign, ["model.depth=4"])
    assert change(foreign, ["model.name=tiny"]).model == RUN.model


def test_a_type_that_cannot_be_read_is_a_defect() -> None:
    with pytest.raises(TypeError, match="cannot read"):
        read(int | str, 3, "x")
