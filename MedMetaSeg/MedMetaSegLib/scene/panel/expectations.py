"""How good each answer is expected to be, as a light, a number and words."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from ...confidence.confidence import DOUBTFUL_DICE

if TYPE_CHECKING:
    from ..answer_quality import AnswerQuality, NextSlice
    from ..segment_content import SegmentContent

GOOD_DICE = 0.85
"""Expected Dice from which the light is green; below DOUBTFUL_DICE it is red, between them amber."""
_LIGHT_PIXELS = 12


class Light(enum.Enum):
    """How far an answer can be trusted at a glance; the values are colours."""

    GOOD = "#2e9e44"
    FAIR = "#e69f00"
    POOR = "#d0312d"
    STALE = "#9a9a9a"

    def icon(self) -> Any:
        """A disc of the colour."""
        pixmap = qt.QPixmap(_LIGHT_PIXELS, _LIGHT_PIXELS)
        pixmap.fill(qt.QColor(0, 0, 0, 0))
        painter = qt.QPainter()
        painter.begin(pixmap)
        painter.setRenderHint(qt.QPainter.Antialiasing)
        painter.setPen(qt.QPen(qt.QColor(self.value)))
        painter.setBrush(qt.QBrush(qt.QColor(self.value)))
        painter.drawEllipse(1, 1, _LIGHT_PIXELS - 3, _LIGHT_PIXELS - 3)
        painter.end()
        return qt.QIcon(pixmap)


@dataclass(frozen=True)
class Expectation:
    """What the panel shows of an answer.

    text: a number or a word or two. details: in sentences. dice: expected, 0 where nothing was found.
    nextSlice: the slice to paint next, None where that is not known or the answer is out of date.
    """

    light: Light
    text: str
    details: str
    dice: float
    nextSlice: NextSlice | None = None


class Expectations:
    """Of the answers to what is painted, for the Segment tab; they lie in the scene, with the answers."""

    def __init__(self) -> None:
        self._painted: dict[str, SegmentContent] = {}

    def onPainted(self) -> None:
        """Something may have been painted since it was looked at."""
        self._painted = {}

    def of(self, resultNode: Any, paintedNode: Any, paintedIds: Sequence[str]) -> dict[str, Expectation]:
        """By id of the painted segment; without those that have no answer, or one that tells nothing."""
        if resultNode is None or paintedNode is None:
            return {}
        # They bring scipy, which the opening of the panel does not wait for.
        from ..answer_quality import qualities
        from ..segment_content import contentOf

        told = qualities(resultNode, paintedNode)
        wanted = {one: told[one] for one in paintedIds if one in told}
        unread = [one for one in wanted if one not in self._painted]
        if unread:
            self._painted |= contentOf(paintedNode.GetSegmentation(), unread)
        return {
            one: expectation(quality, quality.painted.is_same_as(self._painted[one]))
            for one, quality in wanted.items()
            # A segment that was removed a moment ago is still in the table.
            if one in self._painted
        }


def expectation(quality: AnswerQuality, upToDate: bool) -> Expectation:
    """What to show of an answer. upToDate: it was made from what is painted now."""
    predicted = quality.predicted
    dice = 0.0 if predicted is None else predicted.dice
    if predicted is None:
        text, details = _("none"), _("Nothing was found: paint one more slice, and press Update.")
    else:
        text = f"{dice:.2f}"
        details = _("About {dice:.2f}, between {low:.2f} and {high:.2f} (nine times out of ten).").format(
            dice=dice, low=predicted.low, high=predicted.high
        )
    if upToDate:
        return Expectation(_light(dice), text, details, dice, quality.nextSlice)
    before = _("Painted since: press Update for a new figure. It was: {before}").format(before=details)
    return Expectation(Light.STALE, _("old"), before, dice)


def nextToPaint(expectations: Mapping[str, Expectation]) -> str | None:
    """Id of the painted segment with the worst answer that says which slice to paint; None without one."""
    known = [one for one, expected in expectations.items() if expected.nextSlice is not None]
    return min(known, key=lambda one: expectations[one].dice, default=None)


def _light(dice: float) -> Light:
    """By the number that is shown, which has two digits."""
    shown = round(dice, 2)
    if shown >= GOOD_DICE:
        return Light.GOOD
    return Light.FAIR if shown >= DOUBTFUL_DICE else Light.POOR
