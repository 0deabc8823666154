import pytest

from anyrestore.text.encoder import SentenceEncoder
from anyrestore.text.instructions import Instructions
from anyrestore.text.prompts import TASKS, tasks_named
from anyrestore.text.sentences import FIXED, sentence_for


def test_every_sentence_names_its_task() -> None:
    assert tuple(FIXED) == TASKS
    assert {task: tasks_named(sentence) for task, sentence in FIXED.items()} == {t: {t} for t in TASKS}


def test_the_head_that_ships_understands_them(encoder: SentenceEncoder) -> None:
    real = Instructions(encoder=encoder)
    assert [next(iter(real.understand(sentence))) for sentence in FIXED.values()] == list(TASKS)


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        (("noise",), FIXED["denoise"]),
        (("motion_blur",), FIXED["deblur"]),
        (("low_light",), FIXED["low_light"]),
        (("snow",), "Remove the snow from this picture."),
        (("haze", "rain"), "Remove the haze and the rain from this picture."),
        (("low_light", "haze"), "This picture is too dark, brighten it and remove the haze."),
        (
            ("rain", "noise", "jpeg"),
            "Remove the rain, the noise and the compression artefacts from this picture.",
        ),
    ],
)
def test_one_fault_is_its_task_and_several_are_all_named(faults: tuple[str, ...], sentence: str) -> None:
    assert sentence_for(faults) == sentence
