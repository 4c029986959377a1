"""Counts what a device has to hand over while something runs: arrays, single numbers, and lists of places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_NUMBER, _PLACES = "aten._local_scalar_dense", "aten.nonzero"
_INDEX = "aten.index"
_COPIES = ("aten._to_copy", "aten.copy_")
_HANDED_OVER = ("cpu", "numpy", "tolist")


class Crossings(TorchDispatchMode):
    """What crossed, or on a CPU would have crossed, from the network's device to the program.

    numbers: read one by one (`item`, `bool`, `float`); places: results whose size only the device knows
    (`nonzero`, masks as indices); arrays: calls of `cpu`, `numpy` and `tolist`, however large; copied: bytes
    that really were copied from a GPU. Each makes a GPU stop until it has done all it was given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(func).rsplit(".", 1)[0]
        if name == _NUMBER:
            self.counts["numbers"] += 1
        elif name.startswith(_PLACES) or (name.startswith(_INDEX) and _by_mask(args[1])):
            self.counts["places"] += 1
        result = func(*args, **(kwargs or {}))
        if name in _COPIES and isinstance(result, Tensor) and result.device.type == "cpu":
            sources = [one for one in args if isinstance(one, Tensor) and one.device.type != "cpu"]
            self.counts["copied"] += sum(one.numel() * one.element_size() for one in sources)
        return result


def _by_mask(indices: Any) -> bool:
    """Whether an index is made of masks, whose true voxels have to be counted first."""
    return isinstance(indices, list) and any(one is not None and one.dtype == torch.bool for one in indices)


@contextmanager
def crossings() -> Iterator[Counter[str]]:
    """The counts of everything inside, in this thread."""
    mode = Crossings()

    def counted(method: Any) -> Any:
        def call(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            mode.counts["arrays"] += 1
            return method(tensor, *args, **kwargs)

        return call

    with mock.patch.multiple(Tensor, **{name: counted(getattr(Tensor, name)) for name in _HANDED_OVER}), mode:
        yield mode.counts
