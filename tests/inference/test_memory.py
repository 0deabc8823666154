"""Free memory is read from the right places; tiles follow from it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from anyrestore.inference import memory

CPU = torch.device("cpu")
GIB = 1 << 30


class Stated(nn.Module):
    bytes_per_pixel = 1000.0


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def meminfo(available: int) -> dict[str, str]:
    return {"proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable: {available // 1024} kB\n"}


def test_without_limits_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert memory.free_memory(CPU, lay_out(tmp_path, meminfo(8 * GIB))) == 8 * GIB


def test_control_group_version_2_and_its_parents_limit_it(tmp_path: Path) -> None:
    files = meminfo(8 * GIB) | {
        "proc/self/cgroup": "0::/jobs/one\n",
        "sys/fs/cgroup/jobs/one/memory.max": "max\n",
        "sys/fs/cgroup/jobs/one/memory.current": "5\n",
        "sys/fs/cgroup/jobs/memory.max": f"{3 * GIB}\n",
        "sys/fs/cgroup/jobs/memory.current": f"{2 * GIB}\n",
        "sys/fs/cgroup/jobs/memory.stat": f"anon 7\ninactive_file {GIB // 2}\n",
    }
    assert memory.free_memory(CPU, lay_out(tmp_path, files)) == GIB + GIB // 2


def test_control_group_version_1_limits_it(tmp_path: Path) -> None:
    files = meminfo(8 * GIB) | {
        "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/box\n",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{GIB}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{4 * GIB}\n",
    }
    assert memory.free_memory(CPU, lay_out(tmp_path, files)) == GIB


def test_a_container_that_sees_the_path_of_its_host(tmp_path: Path) -> None:
    files = meminfo(8 * GIB) | {
        "proc/self/cgroup": "4:memory:/docker/0123\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
    }
    assert memory.free_memory(CPU, lay_out(tmp_path, files)) == GIB


def test_a_limit_that_is_exceeded_leaves_nothing(tmp_path: Path) -> None:
    files = meminfo(8 * GIB) | {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "100\n",
        "sys/fs/cgroup/memory.current": "200\n",
    }
    assert memory.free_memory(CPU, lay_out(tmp_path, files)) == 0


def test_this_machine_has_some() -> None:
    assert 0 < memory.default_budget(CPU) <= memory.CPU_BUDGET


def test_whole_picture_where_it_fits_tiles_where_not() -> None:
    model = Stated()
    assert memory.choose_tile(1000, 1000, model, CPU, budget=10**9) is None
    assert memory.choose_tile(1000, 1001, model, CPU, budget=10**9) == 1000
    assert memory.choose_tile(20_000, 20_000, model, CPU, budget=2 * 10**9) == memory.LARGEST_TILE
    assert memory.choose_tile(20_000, 20_000, model, CPU, budget=1) == memory.SMALLEST_TILE


def test_a_model_that_states_nothing_is_thought_large() -> None:
    assert memory.choose_tile(1000, 1000, nn.Identity(), CPU, budget=10**9) is not None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (
            RuntimeError("The following operation failed in the TorchScript interpreter.\nstd::bad_alloc"),
            True,
        ),
        (RuntimeError("sizes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_is_recognised(error: BaseException, expected: bool) -> None:
    assert memory.is_out_of_memory(error) is expected
