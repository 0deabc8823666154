"""A batch on a Ray cluster: Ray Data over names, an actor for each GPU or core, each with one `Restorer`.

What travels are names and rows, never pictures: an actor reads and stores them itself.

Unusual: what a dead worker costs is counted here. Ray Data starts a dead actor anew and gives it the task
again, without end, and its options to bound that (`max_task_retries` as a keyword of `map_batches`) are
deprecated in Ray 2.60 and gone in 2.64. So a small actor beside the driver, `_Ledger`, remembers which names
were begun and not ended. A task that comes back is done name by name; a name that has killed its worker once
more than it may is reported as `process_lost`, and the rest of the batch goes on. Errors that a picture
raises are rows, not exceptions: they are final.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from anyrestore import errors
from anyrestore.batch.settings import Settings
from anyrestore.batch.staging import Row, describe, failed, restore_names
from anyrestore.batch.stores import open_store
from anyrestore.errors import AnyRestoreError, UsageError

_LARGEST_TASK = 32
"""Names in one task at most: what a dead worker makes be done again."""
_TASKS_PER_WORKER = 8
"""Tasks that a worker gets at least, where there are enough names: so that all end at about the same time."""
_STARTS = 3
"""So many starts of workers, for each of them, may end in their death before the batch is given up."""
_OBJECTS = 2**28
"""Bytes of shared memory that a Ray started here takes: only names and rows go through it."""


def restore_with_ray(
    names: Sequence[str],
    source: str,
    target: str,
    settings: Settings,
    *,
    workers: int | None = None,
    retries: int = 2,
) -> Generator[Row]:
    """As `restore_names`, by actors of the cluster that `ray.init` finds, or else starts on this machine.

    Every machine of the cluster must have anyrestore installed and reach both places under these names.

    Args:
        names: relative to `source`.
        source: as for `open_store`.
        target: likewise.
        settings: with `threads` None an actor has as many threads as its share of the cores.
        workers: actors; None for one per GPU of the cluster, or per core (per `settings.threads` cores).
        retries: how often a picture whose worker died is tried again, alone; at least 1.

    Yields:
        A row per name, as they are done; fewer where a disk is full, the last of which says so.

    Raises:
        UsageError: ``no_engine``: Ray is not installed; or the cluster has not so many cores or GPUs.
        AnyRestoreError: what the model raised when a worker loaded it, or ``process_lost`` if workers keep
            dying before they have loaded it.
    """
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        _start(ray)
    try:
        resources = ray.cluster_resources()
        size, threads, on_gpu = share_out(resources, settings, workers)
        ledger = _ledger(ray)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        task = min(max(len(names) // (size * _TASKS_PER_WORKER), 1), _LARGEST_TASK)
        plan = {"source": source, "target": target, "settings": settings, "threads": threads}
        rows = (
            ray.data.from_items(list(names), override_num_blocks=-(-len(names) // task))
            .map_batches(
                Worker,
                fn_constructor_args=(plan, ledger, size * _STARTS, retries),
                batch_size=task,
                compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
                num_cpus=None if on_gpu else threads,
                num_gpus=1 if on_gpu else None,
            )
            .iter_rows()
        )
        for item in rows:
            row: Row = json.loads(item["row"])
            if "fatal" in row:
                raise _revived(row["fatal"])
            yield row
            if row["code"] == "disk_full":
                return
    finally:
        if started:
            ray.shutdown()


def share_out(
    resources: Mapping[str, float], settings: Settings, workers: int | None
) -> tuple[int, int, bool]:
    """How many actors, with how many threads each, and whether each has a GPU.

    Args:
        resources: what the cluster has: "CPU" and "GPU".
        settings: `device` and `threads`.
        workers: as asked for; None for as many as there is room for.

    Raises:
        UsageError: there are not so many cores or GPUs: Ray would wait for them without end.
    """
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    on_gpu = settings.device == "cuda" or (settings.device == "auto" and gpus > 0)
    if on_gpu:
        size = workers or max(gpus, 1)
        threads = settings.threads or max(cores // size, 1)
        fits = size <= gpus
    else:
        size = workers or max(cores // (settings.threads or 1), 1)
        threads = settings.threads or max(cores // size, 1)
        fits = size * threads <= cores
    if not fits:
        raise UsageError(
            f"{size} workers with {'a GPU' if on_gpu else f'{threads} cores'} each do not fit a cluster of "
            f"{cores} cores and {gpus} GPUs; ask for fewer with --workers or --threads"
        )
    return size, threads, on_gpu


class Worker:
    """What an actor does with a task's names; Ray Data makes one for each actor and calls it.

    Args:
        plan: source, target, settings and threads.
        ledger: a handle of `_Ledger`.
        deaths: how many starts of workers may have come to nothing.
        retries: as in `restore_with_ray`.
    """

    def __init__(self, plan: Mapping[str, Any], ledger: Any, deaths: int, retries: int) -> None:
        self._get = _ray().get
        self._ledger = ledger
        self._retries = retries
        self._settings: Settings = plan["settings"]
        self._fatal: AnyRestoreError | None = None
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does, see cli/main.py
        if self._get(ledger.born.remote()) > deaths:
            self._fatal = AnyRestoreError(
                "the workers' processes ended while they loaded the model, again and again; give them more "
                "memory, or use fewer with --workers",
                code="process_lost",
            )
            return
        try:
            self._source, self._target = open_store(plan["source"]), open_store(plan["target"])
            self._restorer = self._settings.restorer(threads=plan["threads"])
        except AnyRestoreError as error:
            self._fatal = error
        self._get(ledger.ready.remote())

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
        """Restore a task's names; each row is JSON, since Arrow would want one type for a column."""
        if self._fatal is not None:
            yield {"row": [json.dumps({"fatal": [type(self._fatal).__name__, *describe(self._fatal)]})]}
            return
        names = [str(name) for name in batch["item"]]
        if not self._get(self._ledger.begin.remote(names)):
            yield from self._restored(names)
            return
        # Begun before and not ended: this task has killed a worker, and one of its names may do so again.
        for name in names:
            if self._get(self._ledger.again.remote(name)) <= self._retries:
                yield from self._restored([name])
            else:
                lost = AnyRestoreError(
                    f"the process that restored it ended by itself, {self._retries + 1} times; memory may "
                    "have run out, or the file brings down a library",
                    code="process_lost",
                )
                yield _boxed(failed(self._source, self._target, name, lost))

    def _restored(self, names: Sequence[str]) -> Iterator[dict[str, list[str]]]:
        left = dict.fromkeys(names)
        try:
            for row in restore_names(
                names,
                self._source,
                self._target,
                self._restorer,
                self._settings,
                scratch=self._restorer.scratch,
            ):
                del left[row["name"]]
                self._get(self._ledger.end.remote(row["name"]))
                yield _boxed(row)
        # Whatever a library raises must not end the batch: the names say that it happened, and where.
        except Exception as error:  # noqa: BLE001
            for name in left:
                self._get(self._ledger.end.remote(name))
                yield _boxed(failed(self._source, self._target, name, error))


class _Ledger:
    """Names that were begun and not ended, with how often; and workers that were born and never ready."""

    def __init__(self) -> None:
        self._begun = dict[str, int]()
        self._unborn = 0

    def begin(self, names: Sequence[str]) -> bool:
        """Begin a task, unless one of its names was begun before: that is the answer."""
        if any(name in self._begun for name in names):
            return True
        self._begun.update(dict.fromkeys(names, 1))
        return False

    def again(self, name: str) -> int:
        """Begin one name of a task that came back; how often it was begun before and not ended."""
        before = self._begun.get(name, 0)
        self._begun[name] = before + 1
        return before

    def end(self, name: str) -> None:
        """Forget a name that has its row."""
        self._begun.pop(name, None)

    def born(self) -> int:
        """Count a worker that is starting; how many of all never got ready, or are not yet."""
        self._unborn += 1
        return self._unborn

    def ready(self) -> None:
        """A worker has started."""
        self._unborn -= 1


def _boxed(row: Row) -> dict[str, list[str]]:
    return {"row": [json.dumps(row)]}


def _ledger(ray: Any) -> Any:
    """The ledger's actor, on this machine: it is lost only with the driver."""
    here = ray.get_runtime_context().get_node_id()
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id=here, soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=strategy)(_Ledger).remote()


def _start(ray: Any) -> None:
    """Join the cluster that RAY_ADDRESS names, or one that runs on this machine, or start one."""
    # Nothing is told to anybody unless the user wants it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with _own_sigterm():
        _init(ray)


def _init(ray: Any) -> None:
    try:
        ray.init(address="auto", logging_level="WARNING")
    except ConnectionError as error:
        address = os.environ.get("RAY_ADDRESS")
        if address:
            raise UsageError(f"no Ray cluster answers at RAY_ADDRESS={address}: {error}") from error
        ray.init(
            address="local", include_dashboard=False, object_store_memory=_OBJECTS, logging_level="WARNING"
        )


@contextmanager
def _own_sigterm() -> Generator[None]:
    """Keep the handler of SIGTERM, in whose place Ray puts one that ends the program with code 15."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _ray() -> Any:
    try:
        importlib.import_module("ray.data")
        importlib.import_module("ray.util.scheduling_strategies")
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError(
            f'--engine ray needs packages that are not there ({error}); pip install "anyrestore[scale]"',
            code="no_engine",
        ) from error


def _revived(fatal: Sequence[str]) -> AnyRestoreError:
    """The error that a worker met before it had a model."""
    kind, code, message = fatal
    return getattr(errors, kind, AnyRestoreError)(message, code=code)
