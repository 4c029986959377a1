"""What the network says of one structure, on a working grid that grows until it holds the structure."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..confidence.next_slice import NextSlice
from ..confidence.slice_place import next_plane
from ..imageio.volume import Volume
from ..network.adaptation import Adaptation, adapted_to_slices
from ..network.image_evidence import ImageEvidence, image_channels
from ..network.inference import Predictor
from ..network.prompt_channels import FOREGROUND
from ..stages import stage
from ..support.search_region import SearchRegion
from ..support.structure import AnnotatedStructure, filled_slices
from ..support.support import Support
from ..working_grid.channels import PlacedChannel, mean_logits, shown_part
from ..working_grid.grid import OUTSIDE_LOGIT, Bounds, WorkingGrid, detail_of, sampled_image, working_grid
from ..working_grid.intensity import IntensityNormalization
from ..working_grid.search_region import only_inside, region_on_grid
from .annotation_evidence import beyond_penalty, held_out_prompts, prompt_on
from .quality_features import quality_features
from .volume_memory import GridMemory, StructureLogits, VolumeMemory

FirstLogits = Callable[[np.ndarray, WorkingGrid], None]
"""Called with logits (k, j, i) and their grid while better ones are still to come."""

_GROWTH = 1.8
"""Factor by which the margin on a side grows when the structure reaches that side."""
_MAX_GROWTHS = 2
"""Times that a working grid grows, at most."""
_GROWTH_AREA = 0.05
"""Area on a side of the working grid over that on the mean annotated slice, above which the grid grows."""
_SURE = 2.0
"""Logit above which a voxel counts for that area."""


@dataclass(frozen=True, eq=False)
class _GridAnswer:
    """Logits (k, j, i) float32 on one working grid, and what the network read there in the image.

    votes, searched: see `StructureLogits`.
    """

    logits: np.ndarray
    adaptation: Adaptation | None
    evidence: ImageEvidence
    prompt: Tensor
    votes: tuple[np.ndarray | None, ...] = ()
    searched: np.ndarray | None = None

    @property
    def searched_logits(self) -> np.ndarray:
        """The logits, surely negative outside the region."""
        return only_inside(self.logits, self.searched)


@dataclass(frozen=True, eq=False)
class SeenImage:
    """One image that the network is asked about. memory: of the same volume, which is canonical."""

    volume: Volume
    intensity: IntensityNormalization
    memory: VolumeMemory

    @classmethod
    def of(cls, channel: PlacedChannel, memory: VolumeMemory) -> SeenImage:
        """A channel, recognised by its memory."""
        memory.recognise(channel.volume)
        return cls(channel.volume, channel.intensity, memory)


@dataclass(frozen=True, eq=False)
class StructureRun:
    """What it takes to say where each structure of a support is in a volume.

    memory: of the same volume. volume: canonical; support: on the reference grid. quality: as in `detail_of`;
    with "best" the mirror image is asked as well, which brings at most 0.001 of Dice in twice the time.
    adapt: let the network's head take steps on the annotated slices first. cancelled: asked between pieces of
    work. confidence: gather what the answers show of their own quality. region: on the volume's grid, outside
    which nothing is looked for; None to look everywhere. channels: further images, each of which is asked by
    itself; the answer is the mean probability of all.
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
    channels: tuple[SeenImage, ...] = ()

    @property
    def _mirrored(self) -> bool:
        return self.quality == "best"

    def logits_of(self, annotated: AnnotatedStructure, first: FirstLogits) -> StructureLogits:
        """Logits of one structure of the support; its grid grows while the structure reaches the border.

        first: called with logits that are there while better ones are still to come. Raises Cancelled.
        """
        key = self._digest(annotated) + self.quality.encode() + bytes([self.adapt, self.confidence])
        key += b"".join(one.memory.digest for one in self.channels)
        if key in self.memory.logits:
            return self.memory.logits[key]
        begun = time.perf_counter()
        reference_grid = self.support.geometry
        bounds = Bounds.of(self.volume.geometry, reference_grid)
        factors = np.ones((2, 3))
        detail = detail_of(annotated, self.quality)
        for growth in range(_MAX_GROWTHS + 1):
            grid = working_grid(annotated, reference_grid, bounds, factors, detail)
            answer = replace(self._answer_on(grid, annotated, first), searched=self._searched(grid))
            touched = touched_faces(answer.searched_logits, annotated, grid, bounds)
            if not touched.any() or growth == _MAX_GROWTHS:
                break
            first(answer.logits, grid)
            factors = np.where(touched, factors * _GROWTH, factors)
        features, to_paint = self._quality(grid, annotated, answer)
        seconds = time.perf_counter() - begun
        logits = answer.logits.astype(np.float16)
        quality = (features, to_paint)
        found = StructureLogits(
            grid, logits, seconds, answer.adaptation, *quality, answer.votes, answer.searched
        )
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
        """The answer on one working grid: of the image, or the mean of all images."""
        image = SeenImage(self.volume, self.intensity, self.memory)
        if not self.channels:
            return self._image_answer(image, grid, annotated, first)
        # What is shown first is the mean, too.
        answer = self._image_answer(image, grid, annotated, _unseen)
        logits, shown = [answer.logits], [np.ones(grid.shape, bool)]
        votes: list[np.ndarray | None] = [answer.logits.astype(np.float16)]
        for channel in self.channels:
            voted = self._channel_logits(channel, grid, annotated)
            votes.append(None if voted is None else voted[0].astype(np.float16))
            if voted is not None:
                logits.append(voted[0])
                shown.append(voted[1])
        return replace(answer, logits=mean_logits(logits, shown), votes=tuple(votes))

    def _channel_logits(
        self, channel: SeenImage, grid: WorkingGrid, annotated: AnnotatedStructure
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Logits (k, j, i) float32 of a channel on a working grid of the image, and where it shows something.

        None when it shows nothing of what was annotated of the structure.
        """
        part = shown_part(grid, channel.volume.geometry, self.volume.geometry)
        if part is None:
            return None
        answer = self._image_answer(channel, part.grid, annotated, _unseen)
        known = answer.prompt[FOREGROUND].cpu().numpy() > 0
        if not (known & part.shown[part.where]).any():
            return None
        logits = np.full(grid.shape, OUTSIDE_LOGIT, np.float32)
        logits[part.where] = answer.logits
        logits[~part.shown] = OUTSIDE_LOGIT
        return logits, part.shown

    def _image_answer(
        self, image: SeenImage, grid: WorkingGrid, annotated: AnnotatedStructure, first: FirstLogits
    ) -> _GridAnswer:
        """The answer of one image on one working grid, with an adapted head where that was asked for."""
        known = image.memory.on_grid(grid)
        evidence, prompt = self.predictor.on_device_or_cpu(
            lambda device: self._evidence_and_prompt(image, grid, annotated, known, device)
        )
        channels = evidence.channels
        encoded = None if known is None else known.encoded
        logits, encoded = self.predictor.segment(
            channels, prompt, encoded, self.cancelled, mirrored=self._mirrored
        )
        adaptation = None
        if self.adapt:
            first(logits, grid)
            without = held_out_prompts(grid, evidence, annotated)
            adaptation = adapted_to_slices(self.predictor, channels, without, encoded, self.cancelled)
            if adaptation is not None and adaptation.parameters is not None:
                logits, _ = self.predictor.segment(
                    channels, prompt, encoded, self.cancelled, adaptation.parameters, mirrored=self._mirrored
                )
        image.memory.keep(grid, GridMemory(evidence, encoded))
        logits -= beyond_penalty(grid, annotated)
        return _GridAnswer(logits, adaptation, evidence, prompt)

    def _evidence_and_prompt(
        self,
        image: SeenImage,
        grid: WorkingGrid,
        annotated: AnnotatedStructure,
        known: GridMemory | None,
        device: torch.device,
    ) -> tuple[ImageEvidence, Tensor]:
        """What an image says on a working grid, as kept if it lies on the device, and the prompt there."""
        if known is not None and known.evidence.device.type == device.type:
            evidence = known.evidence
        else:
            with stage("grid"):
                sampled = sampled_image(image.volume, grid, image.intensity)
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


def _unseen(logits: np.ndarray, grid: WorkingGrid) -> None:
    """First logits of one image of several, which are shown to nobody."""


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
