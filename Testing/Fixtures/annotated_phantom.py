"""Annotated slices of the phantom patient."""

from __future__ import annotations

from typing import Any

from MedMetaSegLib.demo.phantom import LABEL, STRUCTURES, painted
from MedMetaSegLib.support.support import Support


def support_of(patient: Any, *names: str, slices: int = 3) -> Support:
    """These structures, each annotated on a few slices."""
    labels = tuple(LABEL[name] for name in names)
    called = {one.label: one.name for one in STRUCTURES}
    return Support.from_labels(
        painted(patient.truth, labels, slices=slices), patient.volume.geometry, names=called
    )
