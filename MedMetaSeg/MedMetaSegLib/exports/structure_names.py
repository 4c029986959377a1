"""One order of structures for many cases: names that mean the same are the same, or nothing is exported."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import InputError
from .training_labels import LabelScheme

_UNNAMED = re.compile(r"Label (\d+)")
"""What a label of a label map is called that has no name."""
_RESERVED = ("background", "ignore")
"""Names that nnU-Net gives a meaning."""

Named = tuple[str, Sequence[str]]
"""A case's name, and the names of its structures in their order."""


def label_scheme(cases: Sequence[Named], chosen: Sequence[str] = ()) -> LabelScheme:
    """Labels for the structures of all cases: those chosen, in that order, else as they come up first.

    Labels without a name are known by their values, and ordered by them. Raises InputError for a chosen
    structure that no case has, for names that only spelling tells apart, for label maps beside named
    structures, and for names that nnU-Net reserves.
    """
    _check_all_named_or_none(cases)
    found = dict.fromkeys(name for _, names in cases for name in names)
    _check_spelling(list(found))
    if not found:
        raise InputError("No case has a structure; there is nothing to train with.")
    structures = _chosen(list(found), chosen) if chosen else sorted(found, key=_value)
    reserved = next((name for name in structures if _plain(name) in _RESERVED), None)
    if reserved is not None:
        raise InputError(
            f"A structure is called {reserved}, which nnU-Net has another use for; rename it, leave it out "
            "with --structure, or give scribbles with --annotation scribbles."
        )
    return LabelScheme(tuple(structures))


def _chosen(found: list[str], chosen: Sequence[str]) -> list[str]:
    missing = [name for name in chosen if name not in found]
    if missing:
        raise InputError(
            f"No case has a structure called {', '.join(missing)}; there are {', '.join(found)}."
        )
    return list(dict.fromkeys(chosen))


def _check_all_named_or_none(cases: Sequence[Named]) -> None:
    """Raise InputError where structures of one case are known by names and of another by label values."""
    unnamed = next((case for case, names in cases if names and all(map(_UNNAMED.fullmatch, names))), None)
    named = next(((case, names) for case, names in cases if not all(map(_UNNAMED.fullmatch, names))), None)
    if unnamed is not None and named is not None:
        raise InputError(
            f"Case {unnamed} has a label map, whose labels have no names, and case {named[0]} has "
            f"{', '.join(named[1])}; give segmentations with names for all, or label maps for all."
        )


def _check_spelling(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_plain(name), name)
        if other != name:
            raise InputError(f"Structures are called {other!r} and {name!r}; give them one name, or two.")


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _value(name: str) -> int:
    """Label values sort labels without a name; all others stay in their order."""
    unnamed = _UNNAMED.fullmatch(name)
    return int(unnamed[1]) if unnamed else 0
