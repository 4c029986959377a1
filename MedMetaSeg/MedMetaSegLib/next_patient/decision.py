"""Whether a structure that was looked for is kept, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..confidence.calibration import shipped_calibration
from ..confidence.confidence import Confidence, applied_confidence
from ..support.search_region import SearchRegion
from ..support.structure import Structure
from .search import Prediction

OUTSIDE = "its place lies outside the image"
"""The reason for a structure that is not where the image is."""
_CUT = 0.8
"""Share of a structure's volume in the image below which it is said to be cut off."""
_REASONS = {
    "the image around its place does not look like the supports": ("global_ncc", "log_scale"),
    "what lies at its place does not look like the supports": ("local_ncc", "mean_ncc", "pose_ncc"),
    "the task's prototypes do not find it there": ("prototype_logit", "prototype_agreement"),
    "the atlases do not agree where it is": ("disagreement", "volume_ratio_after_warp", "swelling"),
    "little of its place lies in the image": ("fov",),
    "the network finds no clear outline at its place": ("expected_dice", "entropy", "place_agreement"),
}
"""Why a structure is absent, by the features that speak most against it; every one of the model's has one."""


@dataclass(frozen=True)
class ApplyOptions:
    """What is left out of a result; see `Segmenter.apply`."""

    keep_doubtful: bool = True
    force: tuple[str, ...] = ()
    confidence: bool = True
    within: np.ndarray | SearchRegion | None = None


@dataclass(frozen=True, eq=False)
class Decision:
    """What becomes of a prediction. reason: why it is left out, the end of a sentence, "" where it is kept.

    confidence: None where none was asked for; what is left out has no Dice to expect.
    """

    prediction: Prediction
    confidence: Confidence | None
    reason: str

    @property
    def left_out(self) -> bool:
        """Whether the user can have it anyway: what has no place in the image cannot be forced."""
        return bool(self.reason) and self.prediction.grid is not None


def decided(structure: Structure, prediction: Prediction, options: ApplyOptions) -> Decision:
    """Keep a structure or leave it out: what is hardly there, and the doubtful if the user says so."""
    in_view = prediction.grid is not None
    if not options.confidence:
        return Decision(prediction, None, "" if in_view else OUTSIDE)
    calibration = shipped_calibration()
    found = in_view and bool(prediction.features)
    confidence = applied_confidence(
        prediction.features, calibration.next_patient, calibration.presence, in_view, found
    )
    if not in_view:
        return Decision(prediction, confidence, OUTSIDE)
    left_out = confidence.absent or (confidence.doubtful and not options.keep_doubtful)
    if structure.name in options.force:
        unsure = confidence.absent or confidence.doubtful
        return Decision(prediction, replace(confidence, absent=False, doubtful=unsure), "")
    if not found or not left_out:
        return Decision(prediction, confidence, "")
    weakest = calibration.presence.mean.weakest(prediction.features)
    why = next(reason for reason, features in _REASONS.items() if weakest in features)
    reason = f"{why} (probability {confidence.present:.2f})"
    return Decision(prediction, replace(confidence, predicted=None), reason)


def remarks(
    decisions: Sequence[Decision], structures: Sequence[Structure], options: ApplyOptions
) -> list[str]:
    """In what way an image is unlike those that a task was learned from, in sentences."""
    if not options.confidence:
        return []
    said = []
    if all(one.reason or (one.confidence and one.confidence.doubtful) for one in decisions):
        said.append("The image looks unlike those the task was learned from: nothing of it is surely there.")
    cut = [
        structure.name
        for structure, one in zip(structures, decisions, strict=True)
        if not one.reason and one.prediction.evidence and one.prediction.evidence.fov_fraction < _CUT
    ]
    if cut:
        said.append(f"Cut off by the image's border: {', '.join(cut)}.")
    return said
