"""From features to figures that can be believed: whether a structure is there, and the Dice to expect.

Each figure is one number between 0 and 1: a logistic function of a weighted sum of features (for Dice a
fractional logit: Papke and Wooldridge, J. Appl. Econometrics 1996). The weights are fitted on patients none
of whom the network was trained on (`evaluation.confidence_fit`) and lie beside its weights as JSON. Intervals
are conformal, of residuals of collections that were left out of the fit, scaled by how much is at stake (Lei
et al., JASA 2018).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..models import MODELS

CALIBRATION = MODELS / "confidence.json"
"""The shipped calibration."""
VERSION = 1
LOGIT_RANGE = (0.02, 0.995)
"""Shares, such as Dice, are cut to this before their logit is taken."""
FAR = 3.0
"""Scales by which a feature counts as away from its centre, at most: beyond it nothing is known."""


@dataclass(frozen=True)
class Term:
    """One feature in a sum: weight * (value - centre) / scale, cut where it is far away; 0 where missing.

    logit: of the value, a share, the logit is taken first.
    """

    name: str
    centre: float
    scale: float
    weight: float
    logit: bool = False

    def of(self, features: Mapping[str, float]) -> float:
        """What the feature adds."""
        value = features.get(self.name)
        if value is None or math.isnan(value):
            return 0.0
        if self.logit:
            share = min(max(value, LOGIT_RANGE[0]), LOGIT_RANGE[1])
            value = math.log(share / (1 - share))
        return self.weight * min(max((value - self.centre) / self.scale, -FAR), FAR)


@dataclass(frozen=True)
class LogisticModel:
    """A number between 0 and 1 from features."""

    terms: tuple[Term, ...]
    offset: float

    def of(self, features: Mapping[str, float]) -> float:
        """The number for these features."""
        return 1 / (1 + math.exp(-self.offset - sum(term.of(features) for term in self.terms)))

    def weakest(self, features: Mapping[str, float]) -> str:
        """The feature that lowers the number most."""
        return min(self.terms, key=lambda term: term.of(features)).name


@dataclass(frozen=True)
class PredictedDice:
    """The Dice to expect, and an interval that holds the true one nine times out of ten; 0 to 1 each."""

    dice: float
    low: float
    high: float


@dataclass(frozen=True)
class DiceModel:
    """The Dice to expect. A residual counts in units of floor + slope * (1 - Dice); low and high are its
    quantiles, by which the interval reaches down and up.
    """

    mean: LogisticModel
    floor: float
    slope: float
    low: float
    high: float

    def of(self, features: Mapping[str, float]) -> PredictedDice:
        """What to expect of an answer with these features."""
        dice = self.mean.of(features)
        unit = self.floor + self.slope * (1 - dice)
        return PredictedDice(dice, max(0.0, dice + self.low * unit), min(1.0, dice + self.high * unit))


@dataclass(frozen=True)
class PresenceModel:
    """The probability that a structure is there.

    outside: where its place lies outside the image; empty: where the network finds nothing at its place.
    Below absent it is left out, below sure it is doubtful.
    """

    mean: LogisticModel
    outside: float
    empty: float
    absent: float
    sure: float


@dataclass(frozen=True)
class Calibration:
    """All that is fitted. same_volume: of structures painted on several slices, or scribbled; single_slice:
    of those painted on one. made: on what, and with which weights of the network.
    """

    same_volume: DiceModel
    single_slice: DiceModel
    next_patient: DiceModel
    presence: PresenceModel
    made: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"version": VERSION, **asdict(self)}

    def cautions(self, weights_sha256: str) -> list[str]:
        """What has to be said of its figures when the network has these weights."""
        if weights_sha256 == self.made.get("weights_sha256"):
            return []
        return ["How sure it is was fitted for other weights of the network: take these figures with care."]

    def painted(self, features: Mapping[str, float]) -> DiceModel:
        """The model for a structure that was painted in the same volume."""
        return self.single_slice if features.get("slices") == 0 else self.same_volume

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Calibration:
        """From what `as_dict` made. Raises KeyError, TypeError and ValueError for anything else."""
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']}, not {VERSION}")
        return cls(
            _read(DiceModel, content["same_volume"]),
            _read(DiceModel, content["single_slice"]),
            _read(DiceModel, content["next_patient"]),
            _read(PresenceModel, content["presence"]),
            content["made"],
        )


Model = TypeVar("Model", DiceModel, PresenceModel)


def _read(kind: type[Model], content: Mapping[str, Any]) -> Model:
    """A model from its fields: `mean`, and numbers."""
    numbers = {one.name: float(content[one.name]) for one in fields(kind) if one.name != "mean"}
    mean = content["mean"]
    terms = tuple(Term(**term) for term in mean["terms"])
    return kind(LogisticModel(terms, float(mean["offset"])), **numbers)


@cache
def shipped_calibration(path: Path = CALIBRATION) -> Calibration:
    """The calibration that lies beside the network's weights. Raises InputError when it cannot be read."""
    try:
        return Calibration.read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a calibration ({error!r}): reinstall MedMetaSeg."
        ) from error
