"""Arrays in nameless files: what they keep, what they give back."""

import gc
import mmap
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from anyrestore import scratch
from anyrestore.errors import OutputError

MIB = 2**20


def resident():
    """Mapped bytes of files and memory in this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def files_in(folder):
    """The status of this process's open files that lie, or lay, in the folder."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            name, status = entry.readlink(), entry.stat()
        except OSError:
            continue  # the one that listed them
        if name.is_relative_to(folder):
            found.append(status)
    return found


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_it_is_an_ordinary_array_of_zeros_in_a_file_without_a_name(tmp_path, dtype):
    array = scratch.allocate((300, 200, 3), dtype, tmp_path)
    assert (array.shape, array.dtype) == ((300, 200, 3), np.dtype(dtype))
    assert array.flags.c_contiguous
    assert not array.any()
    assert list(tmp_path.iterdir()) == []
    (status,) = files_in(tmp_path)
    assert status.st_nlink == 0
    assert status.st_blocks * 512 >= array.nbytes  # the room is taken, not only promised


def test_dropping_the_last_reference_gives_the_room_back(tmp_path):
    array = scratch.allocate((1000, 1000), np.float32, tmp_path)
    tensor = torch.from_numpy(array[10:20])
    del array
    gc.collect()
    assert len(files_in(tmp_path)) == 1  # a tensor is a reference
    tensor += 1
    del tensor
    gc.collect()
    assert files_in(tmp_path) == []


def test_torch_works_on_the_same_memory(tmp_path):
    array = scratch.allocate((4, 5), np.float32, tmp_path)
    tensor = torch.from_numpy(array)
    assert tensor.data_ptr() == array.ctypes.data
    tensor.fill_(3)
    scratch.release(array)
    assert (array == 3).all()


def test_released_rows_leave_memory_and_keep_their_values(tmp_path):
    rows = np.arange(64, dtype=np.uint8)[:, np.newaxis]
    array = scratch.allocate((64, MIB), np.uint8, tmp_path)
    before = resident()
    array[:] = rows
    assert resident() - before > 60 * MIB
    scratch.release(array, 0, 48)
    assert 10 * MIB < resident() - before < 24 * MIB  # 16 rows are still there
    scratch.release(array)
    assert resident() - before < 4 * MIB
    assert (array == rows).all()
    scratch.release(array[:, :4096])  # a block of columns spans nearly all of the rows
    assert resident() - before < 6 * MIB


@pytest.mark.parametrize(
    "view", [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.swapaxes(0, 1), lambda a: a[3:9, 100:7000]]
)
def test_views_are_released_too(tmp_path, view):
    array = scratch.allocate((40, 9999), np.uint16, tmp_path)
    values = np.arange(array.size, dtype=np.uint16).reshape(array.shape)
    array[:] = values
    before = resident()
    scratch.release(view(array), 1, 5)
    assert resident() < before
    scratch.release(view(array), 7, 7)  # no rows
    assert np.array_equal(array, values)
    assert scratch.is_backed(view(array))


def test_other_arrays_are_left_as_they_are():
    plain = np.arange(10)
    scratch.release(plain, 2, 5)
    assert plain.tolist() == list(range(10))
    assert not scratch.is_backed(plain)


def test_a_system_without_these_calls_takes_the_room_too(tmp_path, monkeypatch):
    """macOS cannot ask for room, Windows cannot let pages go."""
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.delattr(mmap, "MADV_DONTNEED")
    monkeypatch.setattr(scratch, "_PIECE", 1000)
    array = scratch.allocate((300, 200), np.uint16, tmp_path)
    (status,) = files_in(tmp_path)
    assert status.st_size == array.nbytes <= status.st_blocks * 512
    assert not array.any()
    array += 1
    scratch.release(array)
    assert (array == 1).all()


def test_a_full_disk_is_an_error_at_once(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
        with pytest.raises(OutputError, match=r"cannot take 1,048,577 bytes.*name another folder") as caught:
            scratch.allocate((MIB + 1,), np.uint8, tmp_path)
        assert scratch.allocate((MIB,), np.uint8, tmp_path).nbytes == MIB
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []
    free = os.statvfs(tmp_path)
    with pytest.raises(OutputError) as caught:
        scratch.allocate((free.f_bavail * free.f_frsize * 2,), np.uint8, tmp_path)
    assert caught.value.code == "disk_full"


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for name in ("missing", "file"):
        with pytest.raises(OutputError, match=name) as caught:
            scratch.allocate((1,), np.uint8, tmp_path / name)
        assert caught.value.code == "output_unwritable"
