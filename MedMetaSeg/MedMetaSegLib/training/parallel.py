"""Several processes that learn together, one a GPU (or on the CPU), as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run: `rank` of `size`. The first one writes; a lone one is the first."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def agreed(self, seconds: float, device: torch.device) -> float:
        """The first rank's `seconds`, on every rank, so that all learn at one rate and stop at one step."""
        if self.size == 1:
            return seconds
        agreed = torch.tensor([seconds], dtype=torch.float64, device=device)
        distributed.broadcast(agreed, 0)
        return agreed.item()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first rank runs the block before the others do."""
        if self.size > 1 and not self.first:
            distributed.barrier()
        try:
            yield
        finally:
            if self.size > 1 and self.first:
                distributed.barrier()


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the run that torchrun's environment variables name, for as long as the block lasts.

    Gives this process's place in it and its own device. Without torchrun: alone, on `device`.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), size), device
    finally:
        distributed.destroy_process_group()
