"""Every error that anyrestore raises on purpose, each with a stable code.

One small tree: a caller catches :class:`AnyRestoreError`, shows the sentence (``str(error)``)
to a person, and branches on ``error.code``, never on the sentence. Codes are snake_case words
that do not change between releases; sentences may. This file imports nothing.
"""

from typing import ClassVar

__all__ = [
    "AnyRestoreError",
    "DataError",
    "InputError",
    "ModelError",
    "OutputError",
    "RequestError",
    "ServiceError",
    "UsageError",
]


class AnyRestoreError(Exception):
    """The root of the tree: something went wrong that anyrestore foresaw.

    Codes of its own: ``error``, ``out_of_memory``, ``process_lost`` (a process of several ended by itself),
    ``internal`` (what was not foreseen happened in one).

    Args:
        message: One clear sentence: what was expected, what came, what to do.
        code: A stable snake_case word; the default is the class's `default_code`.

    Attributes:
        code: The stable word that programs branch on.
        message: The sentence, the same as ``str(error)``.
    """

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only `code` would be lost by Exception's own pickling (errors cross processes).
        return (_rebuild, (type(self), self.message, self.code))


class UsageError(AnyRestoreError):
    """The call itself is wrong: an option, a name or a combination that cannot work.

    Codes: ``usage``, ``format_cannot_hold`` (the chosen file format cannot hold the picture),
    ``results_differ`` (results to be compared were measured in different ways, or on different data),
    ``no_figures`` (matplotlib or scikit-learn is not installed), ``no_video`` (PyAV is not installed),
    ``no_server`` (what `anyrestore serve` needs is not installed),
    ``no_engine`` (Ray is not installed), ``no_store`` (what reaches a URL is not installed),
    ``settings_differ`` (a folder holds results that were made with other settings), ``newer_format`` (a file
    of a newer anyrestore), ``folder_in_use`` (another process is at work on the output folder).
    """

    default_code = "usage"


class InputError(AnyRestoreError):
    """An input (file or array) could not be used; nothing was written for it.

    Codes: ``empty_file``, ``not_an_image``, ``unsupported_format``, ``format_needs_extra`` (a package outside
    of anyrestore can convert it), ``truncated``, ``corrupt``,
    ``too_many_pixels``, ``file_too_large``, ``multi_page``, ``no_frames`` (a video without a picture),
    ``not_found``, ``not_a_regular_file``, ``permission``, ``unreadable``, ``bad_array``, ``non_finite``,
    ``out_of_memory``, ``memory_limit`` (no way to restore it fits the memory that was named),
    ``decoder_crashed`` (the process that decoded it died), ``time_limit`` (that process took too long),
    ``bad_input``; of an entry of a folder also ``link_broken``, ``link_outside`` (it leads out of the
    folder), ``duplicate`` (it leads to what is restored anyway), ``output_folder`` (it holds results).
    """

    default_code = "bad_input"


class OutputError(AnyRestoreError):
    """A result could not be stored; the old file, if there was one, is whole.

    Codes: ``output_exists``, ``output_unwritable``, ``output_unsupported``, ``disk_full``,
    ``output_storage``, ``output_encoding``.
    """

    default_code = "output_storage"


class ModelError(AnyRestoreError):
    """A model could not be found, built or loaded.

    Codes: ``model``, ``unknown_model``, ``no_weights``, ``bad_weights``, ``unsafe_format`` (a checkpoint
    that holds more than tensors), ``no_spandrel`` (other people's networks need the extra ``foreign``),
    ``not_restoration`` (a network for something else), ``no_lpips`` (what LPIPS needs is not installed),
    ``no_encoder`` (what instructions in words need is not installed), ``no_hub`` (the Hugging Face hub
    cannot be used), ``no_backend`` (what a backend needs is not installed), ``cannot_export`` (a network
    that no graph can hold), ``int8_loss`` (int8 would lose too much), ``bad_output`` (of another size than
    the input, or not finite), ``non_finite``.
    """

    default_code = "model"


class DataError(AnyRestoreError):
    """A data set, or the folder of a training run, is missing, incomplete or damaged.

    Codes: ``data``, ``run_differs``, ``data_differs`` (the folder holds another run, or one on other data),
    ``checkpoints_damaged``, ``checkpoint_foreign``, ``diverged``, ``bad_pictures``, ``bad_results`` (what
    `evaluate` stored cannot be read).
    """

    default_code = "data"


class RequestError(AnyRestoreError):
    """A request to the service is not one that it takes; the same request will not be taken later either.

    Codes: ``bad_request`` (not HTTP, or a form that breaks its own rules), ``foreign_host`` (a name that is
    not the service's), ``foreign_origin`` (a web page of somebody else), ``unauthorized`` (the token is
    missing or wrong), ``no_route``, ``wrong_method``, ``too_slow`` (it did not arrive in the time that it
    has), ``too_large`` (more bytes, or in more pieces, than are taken), ``unsupported_media`` (not a picture,
    nor a form with one).
    """

    default_code = "bad_request"


class ServiceError(AnyRestoreError):
    """The service cannot do it now, or could not finish it; the request itself may be fine.

    Codes: ``service``, ``busy`` (as much is waiting as may wait), ``stopping`` (the service is ending),
    ``not_ready`` (no worker can work yet, or again), ``time_limit`` (it took longer than a request may),
    ``worker_lost`` (the process that worked on it died).

    Args:
        message: as of `AnyRestoreError`.
        code: as of `AnyRestoreError`.
        retry_after: seconds after which to try again; None where it is not known.
    """

    default_code = "service"

    def __init__(self, message: str, *, code: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


def _rebuild(kind: type[AnyRestoreError], message: str, code: str) -> AnyRestoreError:
    return kind(message, code=code)
