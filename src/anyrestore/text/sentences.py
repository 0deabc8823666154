"""What is said where scores are to be those of pictures, not of phrasings: one fixed sentence for each task.

Validation during training says them, and `evaluate` does, benchmark by benchmark. Where a picture has several
faults, or one that is none of the head's tasks, the sentence names them all.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FIXED", "sentence_for"]

FIXED = {
    "denoise": "Remove the noise from this picture.",
    "deblur": "This picture is blurry, make it sharp.",
    "dehaze": "Remove the haze from this picture.",
    "derain": "Remove the rain from this picture.",
    "low_light": "This picture is too dark, brighten it.",
    "super_resolution": "Increase the resolution of this picture.",
    "retouch": "Retouch the colours of this picture like a professional.",
}
"""By task of the text head."""

#: Faults and the tasks that mend them, where there is one.
_TASKS = {
    "noise": "denoise",
    "motion_blur": "deblur",
    "defocus_blur": "deblur",
    "gaussian_blur": "deblur",
    "haze": "dehaze",
    "rain": "derain",
    "low_light": "low_light",
    "low_resolution": "super_resolution",
    "colours": "retouch",
}

#: Faults as what is to be removed.
_WORDS = {
    "motion_blur": "motion blur",
    "defocus_blur": "blur",
    "gaussian_blur": "blur",
    "jpeg": "compression artefacts",
}


def sentence_for(faults: Sequence[str]) -> str:
    """The sentence for a picture with these faults.

    Args:
        faults: At least one; the names of degradations, and "raindrops", "low_resolution", "colours".
    """
    if len(faults) == 1 and faults[0] in _TASKS:
        return FIXED[_TASKS[faults[0]]]
    things = [f"the {_WORDS.get(fault, fault)}" for fault in faults if fault != "low_light"]
    listed = " and ".join(filter(None, (", ".join(things[:-1]), things[-1])))
    if "low_light" in faults:
        return f"This picture is too dark, brighten it and remove {listed}."
    return f"Remove {listed} from this picture."
