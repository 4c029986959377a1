"""How far one answer can be trusted, in the words of reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .calibration import DiceModel, PredictedDice, PresenceModel

DOUBTFUL_DICE = 0.7
"""Predicted Dice of an answer in the same volume below which it is doubtful."""


@dataclass(frozen=True)
class Confidence:
    """How far an answer can be trusted.

    present: probability that the structure is there; 1 where it was painted. predicted: the Dice to expect,
    None where nothing was found. absent: left out, unless the user asks for it; doubtful: to be looked at
    first.
    """

    present: float
    predicted: PredictedDice | None
    absent: bool = False
    doubtful: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The entries of a report; None for what cannot be told."""
        dice = self.predicted
        return {
            "present": round(self.present, 3),
            "predicted_dice": None if dice is None else round(dice.dice, 3),
            "predicted_dice_low": None if dice is None else round(dice.low, 3),
            "predicted_dice_high": None if dice is None else round(dice.high, 3),
            "doubtful": self.doubtful,
        }


def painted_confidence(features: Mapping[str, float], model: DiceModel) -> Confidence:
    """Of a structure that was painted in this volume. features: none where nothing was found."""
    if not features:
        return Confidence(1.0, None, doubtful=True)
    predicted = model.of(features)
    return Confidence(1.0, predicted, doubtful=predicted.dice < DOUBTFUL_DICE)


def applied_confidence(
    features: Mapping[str, float], dice: DiceModel, presence: PresenceModel, in_view: bool, found: bool
) -> Confidence:
    """Of a structure that a task looks for in another patient.

    in_view: its place lies in the image; found: the network finds voxels there.
    """
    if not in_view:
        probability = presence.outside
    elif not found:
        probability = presence.empty
    else:
        probability = presence.mean.of(features)
    absent = probability < presence.absent
    predicted = dice.of(features) if found else None
    return Confidence(probability, predicted, absent, not absent and probability < presence.sure)
