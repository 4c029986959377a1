"""What is kept of a patient's images between calls, so that only what changed is computed anew."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..confidence.next_slice import NextSlice
from ..imageio.volume import Volume
from ..network.adaptation import Adaptation
from ..network.image_evidence import ImageEvidence
from ..network.inference import EncodedImage
from ..working_grid.grid import WorkingGrid
from ..working_grid.search_region import only_inside

FEATURE_MEMORY = 512 * 2**20
"""Bytes of features and of evidence that are kept between calls; the oldest go first."""


@dataclass(frozen=True, eq=False)
class GridMemory:
    """What the image alone says on one working grid: evidence, and the encoder's features."""

    evidence: ImageEvidence
    encoded: EncodedImage

    @property
    def bytes(self) -> int:
        """Memory held."""
        return self.evidence.bytes + self.encoded.bytes


@dataclass(frozen=True, eq=False)
class StructureLogits:
    """What the network said of one structure: logits float16 on the last working grid it needed.

    seconds: that it took. adaptation: of the network's head, None without. features: see `quality_features`,
    empty where the answer is. to_paint: the plane of the grid most worth painting, None where none is. Both
    are left out where no confidence is asked for. votes: logits on that grid of the image by
    itself and of each channel, surely not where it shows nothing, None for one that shows nothing of what was
    annotated; empty without channels. searched: bool (k, j, i), the voxels of the grid that lie in the region
    outside which nothing is looked for; None without one.
    """

    grid: WorkingGrid
    logits: np.ndarray
    seconds: float
    adaptation: Adaptation | None
    features: Mapping[str, float]
    to_paint: NextSlice | None
    votes: tuple[np.ndarray | None, ...] = ()
    searched: np.ndarray | None = None

    @property
    def searched_logits(self) -> np.ndarray:
        """The logits, surely negative outside the region."""
        return only_inside(self.logits, self.searched)


class VolumeMemory:
    """Features and logits of the volume that was seen last, so that only what changed is computed anew.

    Several threads may ask and keep, each another structure of that volume.
    """

    def __init__(self, limit: int = FEATURE_MEMORY) -> None:
        """limit: bytes of features and of evidence that are kept."""
        self.limit = limit
        self._lock = threading.Lock()
        self._volume = b""
        self._grids: OrderedDict[tuple[object, ...], GridMemory] = OrderedDict()
        self.logits: dict[bytes, StructureLogits] = {}

    @property
    def digest(self) -> bytes:
        """That of the volume, see `Volume.digest`."""
        return self._volume

    def recognise(self, volume: Volume) -> None:
        """Forget what was kept when this is another volume."""
        digest = volume.digest()
        if digest != self._volume:
            self._volume = digest
            self._grids.clear()
            self.logits.clear()

    def on_grid(self, grid: WorkingGrid) -> GridMemory | None:
        """What is known of the image on a working grid, None when nothing is kept."""
        return self._grids.get(grid.key)

    def keep(self, grid: WorkingGrid, known: GridMemory) -> None:
        """Keep it, and let go of the oldest when there is too much."""
        with self._lock:
            self._grids[grid.key] = known
            self._grids.move_to_end(grid.key)
            while len(self._grids) > 1 and sum(one.bytes for one in self._grids.values()) > self.limit:
                self._grids.popitem(last=False)


class PatientMemory:
    """What is kept of an image and of its channels, each by itself, within one limit for all."""

    def __init__(self) -> None:
        self.image = VolumeMemory()
        self._channels: dict[str, VolumeMemory] = {}

    def of_channels(self, names: Sequence[str]) -> list[VolumeMemory]:
        """The memory of each channel; those of channels that are not named are let go."""
        limit = FEATURE_MEMORY // (1 + len(names))
        self._channels = {name: self._channels.get(name) or VolumeMemory() for name in names}
        for memory in (self.image, *self._channels.values()):
            memory.limit = limit
        return list(self._channels.values())
