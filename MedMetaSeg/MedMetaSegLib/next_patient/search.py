"""Looks for the structures of a task in one query: by the network, where the atlases expect them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..confidence.answer_features import answer_features
from ..network.image_evidence import ImageEvidence, image_channels
from ..network.inference import Predictor
from ..network.prompt_channels import FOREGROUND
from ..network.prototypes import Prototypes
from ..progress import never
from ..stages import stage
from ..task.task_file import LearnedPrototypes, Task, TaskChannel
from ..working_grid.channels import PlacedChannel, mean_logits, shown_part
from ..working_grid.grid import OUTSIDE_LOGIT, Bounds, WorkingGrid, sampled_image, working_grid
from .absence import AbsenceEvidence, absence_evidence
from .atlas_placement import AtlasPlacement
from .fusion import grown
from .position_prior import (
    Prior,
    expected_structure,
    occupancy_thresholds,
    prior_on,
    prior_prompt,
    sampled_on_grid,
)

_NETWORK_SHARE = (0.5, 0.9)
"""Share of the network in the logits, at least and at most; the place that atlases expect has the rest."""
_MAX_MISREGISTRATION_VOXELS = 1.5
"""Voxels of the close image by which a boundary is off where the images do not look alike at all."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is found of one structure, whether it is there or not.

    logits: float16 (k, j, i) on grid, its working grid; both None where its place lies outside the image.
    evidence: None where the whole task does. features: what the answer shows of its own quality, with what
    the evidence says; empty where nothing was found. seconds: that it took. votes: logits on that grid of the
    image by itself and of each channel, surely not where it shows nothing, None for one that shows nothing of
    the place; empty without channels.
    """

    grid: WorkingGrid | None
    logits: np.ndarray | None
    evidence: AbsenceEvidence | None
    features: Mapping[str, float]
    seconds: float
    votes: tuple[np.ndarray | None, ...] = ()


@dataclass(frozen=True, eq=False)
class _Answer:
    """Logits (k, j, i) on a working grid, those of the network alone, and (k/2, j/2, i/2) those of the task's
    prototypes, None where they say nothing; image: (C, k, j, i), its channels. votes: see `Prediction`.
    """

    logits: np.ndarray
    by_network: np.ndarray
    prototype_logits: np.ndarray | None
    image: Tensor
    votes: tuple[np.ndarray | None, ...] = ()


_Shown = tuple[np.ndarray, np.ndarray]
"""Logits (k, j, i) float32 on a working grid, and bool, where the image they come from shows anything."""


class PlaceSearch:
    """Looks for one structure after another in one query."""

    def __init__(
        self,
        task: Task,
        placement: AtlasPlacement,
        predictor: Predictor,
        confidence: bool = True,
        channels: Sequence[PlacedChannel] = (),
    ) -> None:
        """confidence: gather what the answers show of their own quality.

        channels: those of the task, in its order, in the space of the placement's volume.
        """
        self.channels = tuple(zip(task.channels, channels, strict=True))
        self.confidence = confidence
        self.task, self.predictor = task, predictor
        self.volume, self.normalization = placement.volume, placement.normalization
        self.close = placement.close
        self.same_modality = self.normalization.modality == task.modality
        self.occupancies, self.sure = np.zeros((0, 1, 1, 1), np.float32), np.zeros((1, 1, 1), np.uint8)
        self.evidence: list[AbsenceEvidence] = []
        fused = placement.fused
        if placement.close is not None and fused is not None:
            with stage("fuse"):
                self.evidence = absence_evidence(
                    placement.registered, fused, placement.close, self.same_modality
                )
                self.occupancies = fused.by_all.cpu().numpy()
                self.sure = _sure_places(fused.by_all).cpu().numpy()

    def look_for(self, number: int, cancelled: Callable[[], bool] = never) -> Prediction:
        """The prediction for structure `number` of the task, in any thread. Raises Cancelled."""
        begun = time.perf_counter()
        if self.close is None:
            return Prediction(None, None, None, {}, 0.0)
        evidence = self.evidence[number]
        structure, reference = self.task.structures[number], self.volume.geometry
        occupancy = self.occupancies[number]
        expected = None
        if evidence.is_in_view:
            expected = expected_structure(structure, occupancy, self.close, reference)
        if expected is None:
            return Prediction(None, None, evidence, {}, time.perf_counter() - begun)
        grid = working_grid(expected, reference, Bounds.of(reference, reference))
        local_ncc = evidence.local_ncc or 0.0
        prior = prior_on(grid, occupancy, self.close, _MAX_MISREGISTRATION_VOXELS - local_ncc)
        answer = self._answer(number, grid, prior, local_ncc, cancelled)
        logits = answer.logits
        features: dict[str, float] = {}
        if self.confidence:
            with stage("confidence"):
                evidence, features = self._features(answer, prior, evidence)
        logits = logits.astype(np.float16)
        return Prediction(grid, logits, evidence, features, time.perf_counter() - begun, answer.votes)

    def _answer(
        self,
        number: int,
        grid: WorkingGrid,
        prior: Prior,
        local_ncc: float,
        cancelled: Callable[[], bool],
    ) -> _Answer:
        """What is said of a structure on its working grid, by the network and by its place."""
        sampled = sampled_image(self.volume, grid, self.normalization)
        others = self._other_structures(grid, number)

        def image_and_prompt(device: torch.device) -> tuple[Tensor, Tensor]:
            evidence = ImageEvidence(image_channels(sampled, device), grid.aspect)
            return evidence.channels, prior_prompt(evidence, prior, others)

        image, prompt = self.predictor.on_device_or_cpu(image_and_prompt)
        # Another modality looks otherwise: prototypes say nothing there.
        learned = _prototypes(self.task.prototypes[number]) if self.same_modality else None
        by_network, encoded = self.predictor.segment(image, prompt, None, cancelled, task=learned)
        network = float(np.clip(1 - local_ncc**2, *_NETWORK_SHARE))
        votes: tuple[np.ndarray | None, ...] = ()
        if self.channels:
            by_image = by_network
            by_network, shown = self._with_channels(number, by_image, grid, prior, others, cancelled)
            votes = tuple(
                None if one is None else _vote(network * one[0] + (1 - network) * prior.logits, one[1])
                for one in shown
            )
        logits = network * by_network + (1 - network) * prior.logits
        prototype_logits = None
        if learned is not None and self.confidence:
            prototype_logits = self.predictor.prototype_logits(encoded, learned)
        return _Answer(logits, by_network, prototype_logits, image, votes)

    def _with_channels(
        self,
        number: int,
        by_image: np.ndarray,
        grid: WorkingGrid,
        prior: Prior,
        others: np.ndarray,
        cancelled: Callable[[], bool],
    ) -> tuple[np.ndarray, list[_Shown | None]]:
        """Logits (k, j, i) of the mean probability of the image and all channels, and those of each."""
        each: list[_Shown | None] = [(by_image, np.ones(grid.shape, bool))]
        each += [self._by_channel(number, *one, grid, prior, others, cancelled) for one in self.channels]
        logits, shown = zip(*(one for one in each if one is not None), strict=True)
        return mean_logits(logits, shown), each

    def _by_channel(
        self,
        number: int,
        learned: TaskChannel,
        channel: PlacedChannel,
        grid: WorkingGrid,
        prior: Prior,
        others: np.ndarray,
        cancelled: Callable[[], bool],
    ) -> _Shown | None:
        """What the network says of a structure in a channel; None where that shows nothing of its place."""
        part = shown_part(grid, channel.volume.geometry, self.volume.geometry)
        if part is None:
            return None
        sampled = sampled_image(channel.volume, part.grid, channel.intensity)
        expected = replace(prior, distance=prior.distance[part.where])

        def image_and_prompt(device: torch.device) -> tuple[Tensor, Tensor]:
            evidence = ImageEvidence(image_channels(sampled, device), part.grid.aspect)
            return evidence.channels, prior_prompt(evidence, expected, others[part.where])

        image, prompt = self.predictor.on_device_or_cpu(image_and_prompt)
        if not ((prompt[FOREGROUND].cpu().numpy() > 0) & part.shown[part.where]).any():
            return None
        same_modality = channel.intensity.modality == learned.modality
        prototypes = _prototypes(learned.prototypes[number]) if same_modality else None
        by_network, _ = self.predictor.segment(image, prompt, None, cancelled, task=prototypes)
        logits = np.full(grid.shape, OUTSIDE_LOGIT, np.float32)
        logits[part.where] = by_network
        return logits, part.shown

    def _features(
        self, answer: _Answer, prior: Prior, evidence: AbsenceEvidence
    ) -> tuple[AbsenceEvidence, dict[str, float]]:
        """What an answer shows of its own quality, and the evidence with what prototypes say of it."""
        opinions = {"network": answer.by_network, "place": prior.distance}
        if answer.prototype_logits is not None:
            opinions["prototype"] = doubled(answer.prototype_logits)
            inside = answer.logits[::2, ::2, ::2] > 0
            if inside.any():
                mean = float(answer.prototype_logits[inside].mean())
                evidence = replace(evidence, prototype_logit=mean)
        device = answer.image.device
        logits, *others = (torch.from_numpy(one).to(device) for one in (answer.logits, *opinions.values()))
        features = answer_features(logits, answer.image, dict(zip(opinions, others, strict=True)))
        return evidence, {**evidence.features, **features} if features else {}

    def _other_structures(self, grid: WorkingGrid, number: int) -> np.ndarray:
        """Bool (k, j, i) on a working grid: surely another structure, by place."""
        if self.task.overlapping or self.close is None:
            return np.zeros(grid.shape, bool)
        others = (self.sure > 0) & (self.sure != number + 1)
        if not others.any():
            return np.zeros(grid.shape, bool)
        return sampled_on_grid(others, self.close, grid) > 0.5


def _vote(logits: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Logits (k, j, i) as float16, surely not where the image shows nothing."""
    return np.where(shown, logits, OUTSIDE_LOGIT).astype(np.float16)


def doubled(values: np.ndarray) -> np.ndarray:
    """(2k, 2j, 2i): every value of (k, j, i) twice along each axis."""
    return values.repeat(2, 0).repeat(2, 1).repeat(2, 2)


def _prototypes(learned: LearnedPrototypes) -> Prototypes:
    return Prototypes(*(torch.from_numpy(getattr(learned, name)) for name in Prototypes._fields))


def _sure_places(occupancies: Tensor) -> Tensor:
    """uint8 (k, j, i): number + 1 of the structure that a voxel surely belongs to; of several, the last.

    occupancies: (S, k, j, i). Surely is what no voxel beside it contradicts.
    """
    sure = torch.zeros_like(occupancies[0], dtype=torch.uint8)
    thresholds = occupancy_thresholds(occupancies).clamp(min=0.5)
    for number, occupancy in enumerate(occupancies):
        sure[~grown(~(occupancy > thresholds[number]), 1)] = number + 1
    return sure
