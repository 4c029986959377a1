"""What is known of every voxel of an image, as labels to train with.

Structures are counted from 1 in an order that all cases share, 0 is background, and the label after the last
structure is nnU-Net's *ignore*: such a voxel has no say in training. A voxel that was given to no structure
is background only where every structure is known to be absent:

- "complete": everywhere. A label map of a part of the image says nothing of the rest, which is ignored.
- "slices": on slices that are complete for all structures. Where one of them was not annotated, the voxel may
  be of that one, and is ignored.
- "scribbles": where the structure called background was painted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..results.merge import complete_slices
from ..support.label_values import SupportProblem
from ..support.structure import AnnotatedStructure, region
from ..support.support import Support


@dataclass(frozen=True)
class LabelScheme:
    """The labels that all cases share; structures: names, the first of which has label 1."""

    structures: tuple[str, ...]

    @property
    def ignore(self) -> int:
        """The label of voxels of which too little is known."""
        return len(self.structures) + 1

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest type that holds all labels."""
        return np.uint8 if self.ignore <= 255 else np.uint16

    def as_dict(self, with_ignore: bool) -> dict[str, int]:
        """Labels by name, as dataset.json has them."""
        named = {name: label for label, name in enumerate(self.structures, start=1)}
        return {"background": 0, **named, **({"ignore": self.ignore} if with_ignore else {})}


@dataclass(frozen=True, eq=False)
class TrainingLabels:
    """Labels (k, j, i) of one image, uint8 or uint16, and sentences about them.

    counts: voxels of each label, background first, ignore last.
    """

    labels: np.ndarray
    counts: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> float:
        """The share of voxels that are not ignored, 0 to 1."""
        return 1 - self.counts[-1] / self.labels.size


def training_labels(support: Support, scheme: LabelScheme) -> TrainingLabels:
    """The labels of an image whose annotation is given on its own grid.

    Structures that the scheme does not have are passed over. Raises SupportProblem, an InputError, where two
    structures share voxels, and where no voxel is known.
    """
    there = {one.structure.name: one for one in support.structures}
    annotated = [there.get(name) for name in scheme.structures]
    labels = np.full(support.geometry.shape, scheme.ignore, scheme.dtype)
    labels[_known_background(support, annotated)] = 0
    notes = _paint(labels, support, annotated, scheme)
    counts = np.bincount(labels.reshape(-1), minlength=scheme.ignore + 1)
    if counts[-1] == labels.size:
        raise SupportProblem(f"Nothing is known of {', '.join(scheme.structures)}; paint one of them.")
    return TrainingLabels(labels, tuple(map(int, counts)), tuple(notes))


def _known_background(support: Support, annotated: list[AnnotatedStructure | None]) -> np.ndarray:
    """Bool (k, j, i): where all structures are known, so that what was given to none is background."""
    shape = support.geometry.shape
    if support.background is not None:
        known = np.zeros(shape, bool)
        known[support.background.region] = support.background.mask
        return known
    if support.annotation == "complete":
        return np.ones(shape, bool)
    known = np.ones(shape, bool)
    whole = region((0, 0, 0), shape)
    for one in annotated:
        known &= False if one is None else complete_slices(one, shape, whole)
    return known


def _paint(
    labels: np.ndarray, support: Support, annotated: list[AnnotatedStructure | None], scheme: LabelScheme
) -> list[str]:
    """Write the annotated voxels into the labels; sentences about those that were given away twice.

    Raises SupportProblem where the annotation itself gives a voxel to two structures.
    """
    owner = np.zeros(labels.shape, scheme.dtype)
    contested = np.zeros(labels.shape, bool)
    for label, one in enumerate(annotated, start=1):
        if one is None:
            continue
        owned = owner[one.region]
        twice = one.mask & (owned > 0)
        if twice.any():
            if support.overlapping:
                raise _overlap(one, twice, scheme.structures[int(owned[twice].min()) - 1])
            contested[one.region] |= twice
        owned[one.mask] = label
    if support.annotation == "scribbles" and support.background is not None:
        where = support.background.region
        contested[where] |= support.background.mask & (owner[where] > 0)
    painted = owner > 0
    labels[painted] = owner[painted]
    labels[contested] = scheme.ignore
    count = int(np.count_nonzero(contested))
    return [f"{_voxels(count)} annotated as two things in one place, and ignored."] if count else []


def _overlap(one: AnnotatedStructure, twice: np.ndarray, other: str) -> SupportProblem:
    slices = np.flatnonzero(twice.any((1, 2))) + one.offset[0]
    where = f"slice {slices[0]}" if len(slices) == 1 else f"slices {slices[0]} to {slices[-1]}"
    return SupportProblem(
        f"{other} and {one.structure.name} overlap, on {where} of the image (counted from 0), and a label "
        "map gives a voxel to one; export them one by one with --structure, or take one out of the other."
    )


def _voxels(count: int) -> str:
    return "1 voxel was" if count == 1 else f"{count} voxels were"
