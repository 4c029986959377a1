"""What came of applying a task, in words: what was found, how good it may be, and what was left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from slicer.i18n import tr as _

from ...confidence.words import share_text
from ...results.millilitres import millilitres_text

Report = dict[str, Any]


def appliedText(volume: str, reports: Sequence[Report], forced: Collection[str] = ()) -> str:
    """Lines about one volume; warnings come first.

    reports: of the volume, or of each item of its sequence. forced: names of structures that had been left
    out; only these are told of then.
    """
    entries = [_entries(report, forced) for report in reports]
    if len(reports) == 1:
        texts = [_entryText(one, bool(forced)) for one in entries[0]]
    else:
        texts = [_itemsText(list(of_items)) for of_items in zip(*entries, strict=True)]
    warnings = [] if forced else _warnings(reports)
    lines = [_("{volume}, warning: {sentence}").format(volume=volume, sentence=one) for one in warnings]
    return "\n".join([*lines, f"{volume}: {'; '.join(texts)}"])


def _entries(report: Report, names: Collection[str]) -> list[Report]:
    """Of these structures, or of all when there is no name."""
    return [one for one in report["structures"] if not names or one["name"] in names]


def _entryText(entry: Report, forced: bool) -> str:
    """One structure in one volume."""
    name = entry["name"]
    if not entry["found"]:
        return _("{name} not found ({reason})").format(name=name, reason=entry["reason"])
    volume = millilitres_text(entry["millilitres"])
    texts = [_("{name} {volume}\N{NO-BREAK SPACE}ml").format(name=name, volume=volume)]
    dice = entry.get("predicted_dice")
    if dice is not None:
        texts.append(_("expected {dice:.2f}").format(dice=dice))
    if forced:
        texts.append(_("segmented anyway (probability {p})").format(p=share_text(entry["present"])))
    elif entry.get("doubtful"):
        texts.append(_("doubtful (probability {p})").format(p=share_text(entry["present"])))
    return ", ".join(texts)


def _itemsText(entries: Sequence[Report]) -> str:
    """One structure in the items of a sequence: in how many, and between which volumes."""
    name, total = entries[0]["name"], len(entries)
    found = [one for one in entries if one["found"]]
    if not found:
        return _("{name} in none of {total} items").format(name=name, total=total)
    volumes = [one["millilitres"] for one in found]
    texts = [
        _("{name} in {count} of {total} items, {least} to {most}\N{NO-BREAK SPACE}ml").format(
            name=name,
            count=len(found),
            total=total,
            least=millilitres_text(min(volumes)),
            most=millilitres_text(max(volumes)),
        )
    ]
    dice = [one["predicted_dice"] for one in found if one.get("predicted_dice") is not None]
    if dice:
        texts.append(_("expected {low:.2f} to {high:.2f}").format(low=min(dice), high=max(dice)))
    doubtful = sum(bool(one.get("doubtful")) for one in found)
    if doubtful:
        texts.append(_("doubtful in {count}").format(count=doubtful))
    return ", ".join(texts)


def _warnings(reports: Sequence[Report]) -> list[str]:
    """In what way images are unlike those of the task; of a sequence, in how many items."""
    sentences = [sentence for report in reports for sentence in report.get("unlike", [])]
    if len(reports) == 1:
        return sentences
    counted = _("{sentence} ({count} of {total} items)")
    return [
        counted.format(sentence=one, count=sentences.count(one), total=len(reports))
        for one in dict.fromkeys(sentences)
    ]
