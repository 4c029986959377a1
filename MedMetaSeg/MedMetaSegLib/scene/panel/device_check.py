"""Asking the worker on which device the network runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...worker.client import WorkerClient
from ...worker.messages import Finished


class DeviceCheckJob:
    """Loads the network and calls onDevice(device, why)."""

    def __init__(self, device: str, onDevice: Callable[[str, str], None]) -> None:
        self._device, self._onDevice = device, onDevice

    @property
    def nodes(self) -> Sequence[Any]:
        return ()

    def send(self, client: WorkerClient) -> None:
        client.check_device(self._device)

    def handle_event(self, event: Any) -> None:
        """No event concerns this job alone."""

    def work(self) -> None:
        """Nothing to do meanwhile."""

    def end(self) -> None:
        """Nothing to take away."""

    def finish(self, finished: Finished, seconds: float) -> None:
        self._onDevice(*finished.report["device"])
