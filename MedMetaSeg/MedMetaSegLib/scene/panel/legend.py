"""What the lights mean: what they are made of, and on which data they were checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from ...confidence.calibration import shipped_calibration
from ...confidence.confidence import DOUBTFUL_DICE
from ...errors import InputError
from .expectations import GOOD_DICE


class Legend:
    """A box below the table, filled when it is opened."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        ui.legendBox.connect("contentsCollapsed(bool)", self._onCollapsed)

    def _onCollapsed(self, collapsed: bool) -> None:
        if collapsed:
            return
        try:
            text = legendText(shipped_calibration().made)
        except InputError as error:
            text = str(error)
        self._ui.legendLabel.setText(text)


def legendText(made: Mapping[str, Any]) -> str:
    """What the user reads. made: how the calibration was made; see `Calibration`."""
    meaning = _(
        "The number is the Dice to expect: how far the answer overlaps with what an expert would paint, from "
        "0 (not at all) to 1 (the same). Green: from {good}. Amber: from {fair}. Red, and none: below, "
        "or nothing was found. Grey, and old: you have painted since."
    ).format(good=GOOD_DICE, fair=DOUBTFUL_DICE)
    made_of = _(
        "It is made of what the answer shows of itself: how sure the network is, how sharp the border is, "
        "how far other methods agree with it that know the image in another way, and how the painted slices "
        "lie."
    )
    caution = _("It is an estimate, not a measurement: it can be wrong for your images. Look at the answer.")
    return "\n\n".join([meaning, made_of, _checked(made), caution])


def _checked(made: Mapping[str, Any]) -> str:
    patients, collections = made.get("patients"), made.get("collections")
    if not isinstance(patients, int) or not isinstance(collections, list):
        return _("This calibration does not say on which data it was checked.")
    return _(
        "It was checked on {patients} patients of {count} collections, each left out of the fit in turn: "
        "{names}."
    ).format(patients=patients, count=len(collections), names=", ".join(collections))
