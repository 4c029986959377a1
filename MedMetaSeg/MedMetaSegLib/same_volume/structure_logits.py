"""What the network says of one structure, on a working grid that grows until it holds the structure."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..confidence.next_slice import NextSlice
from ..confidence.slice_place import next_plane
from ..imageio.volume import Volume
from ..network.adaptation import Adaptation, adapted_to_slices
from ..network.image_evidence import ImageEvidence, image_channels
from ..network.inference import EncodedImage, Predictor
from ..stages import stage
from ..support.search_region import SearchRegion
from ..support.structure import AnnotatedStructure, filled_slices
from ..support.support import Support
from ..working_grid.grid import DETAILS, Bounds, WorkingGrid, sampled_image, working_grid
from ..working_grid.intensity import IntensityNormalization
from ..working_grid.search_region import only_inside, region_on_grid
from .annotation_evidence import beyond_penalty, held_out_prompts, prompt_on
from .quality_features import quality_features

FirstLogits = Callable[[np.ndarray, WorkingGrid], None]
"""Called with logits (k, j, i) and their grid while better ones are still to come."""

FEATURE_MEMORY = 512 * 2**20
"""Bytes of features and of evidence that are kept between calls; the oldest go first."""
_GROWTH = 1.8
"""Factor by which the margin on a side grows when the structure reaches that side."""
_MAX_GROWTHS = 2
"""Times that a working grid grows, at most."""
_GROWTH_AREA = 0.05
"""Area on a side of the working grid over that on the mean annotated slice, above which the grid grows."""
_SURE = 2.0
"""Logit above which a voxel counts for that area."""


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
    are left out where no confidence is asked for. searched: bool (k, j, i), the voxels of the grid that lie
    in the region outside which nothing is looked for; None without one.
    """

    grid: WorkingGrid
    logits: np.ndarray
    seconds: float
    adaptation: Adaptation | None
    features: Mapping[str, float]
    to_paint: NextSlice | None
    searched: np.ndarray | None = None

    @property
    def searched_logits(self) -> np.ndarray:
        """The logits, surely negative outside the region."""
        return only_inside(self.logits, self.searched)


@dataclass(frozen=True, eq=False)
class _GridAnswer:
    """Logits (k, j, i) float32 on one working grid, and what the network read there.

    searched: see `StructureLogits`.
    """

    logits: np.ndarray
    adaptation: Adaptation | None
    evidence: ImageEvidence
    prompt: Tensor
    searched: np.ndarray | None

    @property
    def searched_logits(self) -> np.ndarray:
        """The logits, surely negative outside the region."""
        return only_inside(self.logits, self.searched)


class VolumeMemory:
    """Features and logits of the volume that was seen last, so that only what changed is computed anew."""

    def __init__(self) -> None:
        self._volume = b""
        self._grids: OrderedDict[tuple[object, ...], GridMemory] = OrderedDict()
        self.logits: dict[bytes, StructureLogits] = {}

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
        self._grids[grid.key] = known
        self._grids.move_to_end(grid.key)
        while len(self._grids) > 1 and sum(one.bytes for one in self._grids.values()) > FEATURE_MEMORY:
            self._grids.popitem(last=False)


@dataclass(frozen=True, eq=False)
class StructureRun:
    """What it takes to say where each structure of a support is in a volume.

    memory: of the same volume. volume: canonical; support: on the reference grid. quality: a key of DETAILS;
    with "best" the mirror image is asked as well, which brings at most 0.001 of Dice in twice the time.
    adapt: let the network's head take steps on the annotated slices first. cancelled: asked between pieces of
    work. confidence: gather what the answers show of their own quality. region: on the volume's grid, outside
    which nothing is looked for; None to look everywhere.
    """

    predictor: Predictor
    memory: VolumeMemory
    volume: Volume
    support: Support
    intensity: IntensityNormalization
    quality: str
    adapt: bool
    cancelled: Callable[[], bool]
    confidence: bool = True
    region: SearchRegion | None = None

    @property
    def _mirrored(self) -> bool:
        return self.quality == "best"

    def logits_of(self, annotated: AnnotatedStructure, first: FirstLogits) -> StructureLogits:
        """Logits of one structure of the support; its grid grows while the structure reaches the border.

        first: called with logits that are there while better ones are still to come. Raises Cancelled.
        """
        key = self._digest(annotated) + self.quality.encode() + bytes([self.adapt, self.confidence])
        if key in self.memory.logits:
            return self.memory.logits[key]
        begun = time.perf_counter()
        reference_grid = self.support.geometry
        bounds = Bounds.of(self.volume.geometry, reference_grid)
        factors = np.ones((2, 3))
        for growth in range(_MAX_GROWTHS + 1):
            grid = working_grid(annotated, reference_grid, bounds, factors, DETAILS[self.quality])
            answer = self._answer_on(grid, annotated, first)
            touched = touched_faces(answer.searched_logits, annotated, grid, bounds)
            if not touched.any() or growth == _MAX_GROWTHS:
                break
            first(answer.logits, grid)
            factors = np.where(touched, factors * _GROWTH, factors)
        features, to_paint = self._quality(grid, annotated, answer)
        seconds = time.perf_counter() - begun
        logits = answer.logits.astype(np.float16)
        found = StructureLogits(grid, logits, seconds, answer.adaptation, features, to_paint, answer.searched)
        self.memory.logits[key] = found
        return found

    def _searched(self, grid: WorkingGrid) -> np.ndarray | None:
        """Bool (k, j, i), the voxels of a working grid in which something is looked for; None for all."""
        return None if self.region is None else region_on_grid(self.region, self.volume.geometry, grid)

    @stage("confidence")
    def _quality(
        self, grid: WorkingGrid, annotated: AnnotatedStructure, answer: _GridAnswer
    ) -> tuple[dict[str, float], NextSlice | None]:
        """What an answer shows of its own quality, and the plane that is most worth painting."""
        if not self.confidence:
            return {}, None
        logits, prompt = answer.searched_logits, answer.prompt
        if answer.searched is not None:
            # No opinion of what is outside counts, either.
            prompt = torch.where(torch.from_numpy(answer.searched).to(prompt.device), prompt, -1.0)
        features = quality_features(grid, answer.evidence, annotated, prompt, logits)
        painted = None
        if annotated.axis is not None:
            painted = filled_slices(annotated.mask, annotated.axis) + annotated.offset[annotated.axis]
        bounds = Bounds.of(self.volume.geometry, self.support.geometry)
        return features, next_plane(logits, grid, bounds, painted)

    def _answer_on(self, grid: WorkingGrid, annotated: AnnotatedStructure, first: FirstLogits) -> _GridAnswer:
        """The answer on one working grid, with an adapted head where that was asked for."""
        known = self.memory.on_grid(grid)
        evidence, prompt = self.predictor.on_device_or_cpu(
            lambda device: self._evidence_and_prompt(grid, annotated, known, device)
        )
        image = evidence.channels
        encoded = None if known is None else known.encoded
        logits, encoded = self.predictor.segment(
            image, prompt, encoded, self.cancelled, mirrored=self._mirrored
        )
        adaptation = None
        if self.adapt:
            first(logits, grid)
            without = held_out_prompts(grid, evidence, annotated)
            adaptation = adapted_to_slices(self.predictor, image, without, encoded, self.cancelled)
            if adaptation is not None and adaptation.parameters is not None:
                logits, _ = self.predictor.segment(
                    image, prompt, encoded, self.cancelled, adaptation.parameters, mirrored=self._mirrored
                )
        self.memory.keep(grid, GridMemory(evidence, encoded))
        logits -= beyond_penalty(grid, annotated)
        return _GridAnswer(logits, adaptation, evidence, prompt, self._searched(grid))

    def _evidence_and_prompt(
        self, grid: WorkingGrid, annotated: AnnotatedStructure, known: GridMemory | None, device: torch.device
    ) -> tuple[ImageEvidence, Tensor]:
        """What the image says on a working grid, as kept if it lies on the device, and the prompt there."""
        if known is not None and known.evidence.device.type == device.type:
            evidence = known.evidence
        else:
            with stage("grid"):
                sampled = sampled_image(self.volume, grid, self.intensity)
                evidence = ImageEvidence(image_channels(sampled, device), grid.aspect)
        return evidence, prompt_on(grid, evidence, annotated, self._others(annotated))

    def _others(self, annotated: AnnotatedStructure) -> tuple[AnnotatedStructure, ...]:
        """What scribbles say a structure is not: the background, and the others unless they may overlap."""
        support = self.support
        if support.annotation != "scribbles":
            return ()
        background = () if support.background is None else (support.background,)
        others = () if support.overlapping else tuple(o for o in support.structures if o is not annotated)
        return (*background, *others)

    def _digest(self, annotated: AnnotatedStructure) -> bytes:
        """Of all that the logits of a structure depend on, besides the volume."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.support.geometry.digest_bytes)
        for one in (annotated, *self._others(annotated)):
            digest.update(repr((one.offset, one.mask.shape, one.planes)).encode())
            digest.update(np.packbits(one.mask).tobytes())
        if self.region is not None:
            digest.update(self.region.digest)
        return digest.digest()


def touched_faces(
    logits: np.ndarray, annotated: AnnotatedStructure, grid: WorkingGrid, bounds: Bounds
) -> np.ndarray:
    """(2, 3) bool: faces of the working grid that the structure surely reaches though the image goes on.

    A few or doubtful voxels are no reason: the network has to be sure of more than a twentieth of the area
    that the structure has on the average annotated slice.
    """
    drawn = np.count_nonzero(annotated.on_slices)
    area = drawn / max(1, len(annotated.slices) or annotated.mask.shape[0])
    enough = max(3.0, _GROWTH_AREA * area / (grid.step[1] * grid.step[2]))
    touched = np.zeros((2, 3), bool)
    for axis, reference_axis in enumerate(grid.order):
        planes = np.moveaxis(logits, axis, 0)
        ends = grid.to_reference(np.array([0, grid.shape[axis] - 1]), axis)
        goes_on = (ends[0] > bounds.low[reference_axis] + 0.5, ends[1] < bounds.high[reference_axis] - 0.5)
        for side in range(2):
            touched[side, axis] = goes_on[side] and np.count_nonzero(planes[-side] > _SURE) > enough
    return touched
