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
from ..working_grid.grid import OUTSIDE_LOGIT, WorkingGrid, sampled_image
from .absence import AbsenceEvidence
from .atlas_placement import AtlasPlacement
from .position_prior import Prior, prior_prompt
from .query_places import Place, QueryPlaces

_NETWORK_SHARE = (0.5, 0.9)
"""Share of the network in the logits, at least and at most; the place that atlases expect has the rest."""


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
        self.places = QueryPlaces(task, placement)

    def look_for(self, number: int, cancelled: Callable[[], bool] = never) -> Prediction:
        """The prediction for structure `number` of the task, in any thread. Raises Cancelled."""
        begun = time.perf_counter()
        if self.places.close is None:
            return Prediction(None, None, None, {}, 0.0)
        evidence = self.places.evidence[number]
        place = self.places.place_of(number)
        if place is None:
            return Prediction(None, None, evidence, {}, time.perf_counter() - begun)
        answer = self._answer(number, place, cancelled)
        features: dict[str, float] = {}
        if self.confidence:
            with stage("confidence"):
                evidence, features = self._features(answer, place.prior, evidence)
        logits = answer.logits.astype(np.float16)
        return Prediction(place.grid, logits, evidence, features, time.perf_counter() - begun, answer.votes)

    def _answer(self, number: int, place: Place, cancelled: Callable[[], bool]) -> _Answer:
        """What is said of a structure on its working grid, by the network and by its place."""
        prior = place.prior
        sampled = self.places.image_on(place.grid)

        def image_and_prompt(device: torch.device) -> tuple[Tensor, Tensor]:
            evidence = ImageEvidence(image_channels(sampled, device), place.grid.aspect)
            return evidence.channels, prior_prompt(evidence, prior, place.other_structures)

        image, prompt = self.predictor.on_device_or_cpu(image_and_prompt)
        # Another modality looks otherwise: prototypes say nothing there.
        learned = _prototypes(self.task.prototypes[number]) if self.places.same_modality else None
        by_network, encoded = self.predictor.segment(image, prompt, None, cancelled, task=learned)
        network = float(np.clip(1 - place.local_ncc**2, *_NETWORK_SHARE))
        votes: tuple[np.ndarray | None, ...] = ()
        if self.channels:
            by_image = by_network
            by_network, shown = self._with_channels(number, by_image, place, cancelled)
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
        place: Place,
        cancelled: Callable[[], bool],
    ) -> tuple[np.ndarray, list[_Shown | None]]:
        """Logits (k, j, i) of the mean probability of the image and all channels, and those of each."""
        each: list[_Shown | None] = [(by_image, np.ones(place.grid.shape, bool))]
        each += [self._by_channel(number, *one, place, cancelled) for one in self.channels]
        logits, shown = zip(*(one for one in each if one is not None), strict=True)
        return mean_logits(logits, shown), each

    def _by_channel(
        self,
        number: int,
        learned: TaskChannel,
        channel: PlacedChannel,
        place: Place,
        cancelled: Callable[[], bool],
    ) -> _Shown | None:
        """What the network says of a structure in a channel; None where that shows nothing of its place."""
        part = shown_part(place.grid, channel.volume.geometry, self.places.volume.geometry)
        if part is None:
            return None
        sampled = sampled_image(channel.volume, part.grid, channel.intensity)
        expected = replace(place.prior, distance=place.prior.distance[part.where])
        others = place.other_structures[part.where]

        def image_and_prompt(device: torch.device) -> tuple[Tensor, Tensor]:
            evidence = ImageEvidence(image_channels(sampled, device), part.grid.aspect)
            return evidence.channels, prior_prompt(evidence, expected, others)

        image, prompt = self.predictor.on_device_or_cpu(image_and_prompt)
        if not ((prompt[FOREGROUND].cpu().numpy() > 0) & part.shown[part.where]).any():
            return None
        same_modality = channel.intensity.modality == learned.modality
        prototypes = _prototypes(learned.prototypes[number]) if same_modality else None
        by_network, _ = self.predictor.segment(image, prompt, None, cancelled, task=prototypes)
        logits = np.full(place.grid.shape, OUTSIDE_LOGIT, np.float32)
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


def _vote(logits: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Logits (k, j, i) as float16, surely not where the image shows nothing."""
    return np.where(shown, logits, OUTSIDE_LOGIT).astype(np.float16)


def doubled(values: np.ndarray) -> np.ndarray:
    """(2k, 2j, 2i): every value of (k, j, i) twice along each axis."""
    return values.repeat(2, 0).repeat(2, 1).repeat(2, 2)


def _prototypes(learned: LearnedPrototypes) -> Prototypes:
    return Prototypes(*(torch.from_numpy(getattr(learned, name)) for name in Prototypes._fields))
