"""How work is asked to stop, and how it is noticed that memory ran out."""

from __future__ import annotations

import pytest

from MedMetaSegLib.errors import Cancelled, is_out_of_memory
from MedMetaSegLib.progress import check_cancelled, never


class OutOfMemoryError(RuntimeError):
    """Stands in for torch's, whose message may be empty."""


def test_cancelled_work_stops_with_its_own_error_and_other_work_goes_on() -> None:
    check_cancelled(never)
    with pytest.raises(Cancelled, match="nothing was written"):
        check_cancelled(lambda: True)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("ITK ERROR: Failed to allocate memory for image."),
    ],
)
def test_every_way_of_running_out_of_memory_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access was encountered"), ValueError("out of memory")],
)
def test_other_errors_are_no_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
