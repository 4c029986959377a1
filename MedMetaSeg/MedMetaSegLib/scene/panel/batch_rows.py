"""The rows of the batch's table: an image, its state, and whether to accept, review or paint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from ...confidence.triage import ACCEPT, PAINT, REVIEW, WORST_FIRST
from ...confidence.words import dice_text, share_text
from ...results.millilitres import millilitres_text
from .expectations import Light

if TYPE_CHECKING:
    from ...batch.request import BatchProgress
    from ...batch.states import StructureRow

_LIGHTS = {ACCEPT: Light.GOOD, REVIEW: Light.FAIR, PAINT: Light.POOR}


def rowItems(event: BatchProgress) -> list[Any]:
    """The cells of an image's row, from left to right."""
    texts = event.item, stateText(event), triageText(event)
    image, state, triage = (qt.QTableWidgetItem(text) for text in texts)
    if triageText(event):
        triage.setIcon(_LIGHTS[_triage(event)].icon())
    details = detailsText(event)
    for item in (image, state, triage):
        item.setToolTip(details)
    return [image, state, triage]


def worstFirst(rows: Sequence[BatchProgress]) -> list[BatchProgress]:
    """Images that failed, those to paint, to review and to accept, and all else; otherwise as they were."""
    order = ["failed", *WORST_FIRST]

    def place(event: BatchProgress) -> int:
        kind = _triage(event) or event.state
        return order.index(kind) if kind in order else len(order)

    return sorted(rows, key=place)


def stateText(event: BatchProgress) -> str:
    """The state of an image in words."""
    words = {
        "waiting": _("waiting"),
        "reading": _("reading ..."),
        "segmenting": _("segmenting ..."),
        "skipped": _("left out: {reason}"),
        "failed": _("failed: {reason}"),
        "there already": _("was there"),
        "done": _("done"),
    }
    text = words.get(event.state, event.state).format(reason=event.reason)
    found = [f"{name} {millilitres_text(volume)}\N{NO-BREAK SPACE}ml" for name, volume in event.found]
    return ": ".join([text, ", ".join(found)]) if found else text


def triageText(event: BatchProgress) -> str:
    """What to do with the result, in a word; "" where nothing is known of it."""
    return {ACCEPT: _("accept"), REVIEW: _("review"), PAINT: _("paint")}.get(_triage(event), "")


def detailsText(event: BatchProgress) -> str:
    """Everything about an image in lines."""
    lines = [event.reason or stateText(event)]
    if event.row is not None:
        lines += [*event.row.unlike, *event.row.notes, *map(_structureText, event.row.structures)]
    return "\n".join(dict.fromkeys(lines))


def _structureText(one: StructureRow) -> str:
    if not one.found:
        return _("{name}: not found ({reason})").format(name=one.name, reason=one.reason)
    texts = [f"{one.name}: {millilitres_text(one.millilitres)}\N{NO-BREAK SPACE}ml"]
    dice = dice_text(one.predicted_dice, one.predicted_dice_low, one.predicted_dice_high)
    if dice:
        texts.append(_("expected Dice {dice}").format(dice=dice))
    if one.doubtful and one.present is not None:
        texts.append(_("doubtful (probability {p})").format(p=share_text(one.present)))
    if one.next_slice:
        texts.append(_("paint {slice} next").format(slice=one.next_slice))
    return ", ".join(texts)


def _triage(event: BatchProgress) -> str:
    return "" if event.row is None else event.row.triage
