"""Protocol A, same volume: who annotates what, and what is scored (docs/architecture.md says it in words).

A structure takes part with K annotated slices when it has at least 300 voxels on at least K + 4 axial
slices. Its K slices are equally spaced over its extent, 8 % in from both ends (K = 1: the middle), and
given whole. The score is over all other slices of the volume; of a structure that was contoured over part of
its length, over those of that part. Label maps must be on a canonical grid: axis 0 is axial.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy import ndimage

from ..datasets.cases import Case
from ..errors import InputError
from ..imageio.geometry import Geometry
from ..support.structure import Structure, StructureMask, default_color, filled_slices
from ..support.support import Support
from .metrics import Score, score_other_slices

MINIMUM_VOXELS = 300
"""Voxels of a structure at least."""
SPARE_SLICES = 4
"""Slices of a structure beyond the annotated ones at least."""
INSET = 0.08
"""Fraction of the extent by which the outermost annotated slices lie inside it."""


def qualifies(mask: np.ndarray, count: int) -> bool:
    """Whether a structure, bool (k, j, i), takes part in protocol A with count annotated slices."""
    per_slice = mask.sum(axis=(1, 2))
    filled = int(np.count_nonzero(per_slice))
    return int(per_slice.sum()) >= MINIMUM_VOXELS and filled >= count + SPARE_SLICES


def annotated_slices(filled: Sequence[int], count: int) -> tuple[int, ...]:
    """The axial slices to annotate: count distinct ones out of the filled, ascending.

    filled: ascending indices of the slices that hold the structure. Where a place falls on a slice without
    the structure, or on one already taken, the nearest free slice that holds it is taken, the lower of two
    as near. Raises ValueError when fewer than count slices hold the structure.
    """
    if len(filled) < count:
        raise ValueError(f"{count} slices asked for, {len(filled)} hold the structure")
    first, last = filled[0], filled[-1]
    inset = INSET * (last - first)
    places = np.linspace(first + inset, last - inset, count) if count > 1 else [(first + last) / 2]
    chosen: list[int] = []
    for place in places:
        # A slice index is whole: round as a person would, to the slice the place falls on.
        target = int(np.floor(place + 0.5))
        chosen.append(
            min((index for index in filled if index not in chosen), key=lambda k: (abs(k - target), k))
        )
    return tuple(int(index) for index in sorted(chosen))


def same_volume_support(
    labels: np.ndarray, geometry: Geometry, names: Mapping[int, str], count: int
) -> Support:
    """Protocol A's support: every structure that qualifies, each annotated on its own count slices.

    labels: integers (k, j, i) on a canonical grid; names: label value to structure name. On a slice annotated
    for one structure nothing is said of another. Structures the support itself leaves out as too small (see
    Support.skipped) are not scored. Raises InputError when no structure qualifies.
    """
    masks: list[StructureMask] = []
    boxes = ndimage.find_objects(labels, max_label=max(names))
    for label, name in sorted(names.items()):
        box = boxes[label - 1]
        if box is None:
            continue
        mask = labels[box] == label
        if not qualifies(mask, count):
            continue
        filled = filled_slices(mask, 0)
        annotated = np.zeros_like(mask)
        chosen = list(annotated_slices(filled.tolist(), count))
        annotated[chosen] = mask[chosen]
        structure = Structure(name=name, label=label, color=default_color(label))
        masks.append(StructureMask(structure, (box[0].start, box[1].start, box[2].start), annotated))
    if not masks:
        raise InputError(f"no structure has {MINIMUM_VOXELS} voxels on {count + SPARE_SLICES} slices or more")
    return Support.from_masks(masks, geometry, "slices", plane="axial")


def with_one_more_slice(support: Support, labels: np.ndarray, name: str) -> Support:
    """The support with one structure annotated on one slice more, in the middle of its widest gap.

    What a user does before a second run. labels: the true label map on the support's grid. Raises
    ValueError when the structure has a single slice or no slice left in any gap.
    """
    edited = []
    for annotated in support.structures:
        mask, offset = annotated.mask, annotated.offset
        if annotated.structure.name == name:
            truth = labels == annotated.structure.label
            filled = filled_slices(truth, 0)
            gaps = sorted(
                zip(annotated.slices, annotated.slices[1:], strict=False), key=lambda gap: gap[0] - gap[1]
            )
            if not gaps:
                raise ValueError(f"{name}: one slice has no gap to annotate in")
            between = filled[(filled > gaps[0][0]) & (filled < gaps[0][1])]
            if between.size == 0:
                raise ValueError(f"{name}: no slice between {gaps[0][0]} and {gaps[0][1]} holds it")
            slices = [*annotated.slices, int(between[len(between) // 2])]
            mask = np.zeros_like(truth)
            mask[slices] = truth[slices]
            offset = (0, 0, 0)
        edited.append(StructureMask(annotated.structure, offset, mask))
    return Support.from_masks(edited, support.geometry, "slices", plane="axial")


def known_slices(case: Case, truth: np.ndarray, name: str) -> slice:
    """The axial slices on which it is known where a structure is: those it was outlined on, or all.

    truth: bool (k, j, i) on a canonical grid.
    """
    if name not in case.open_ended or not truth.any():
        return slice(None)
    present = np.flatnonzero(truth.any((1, 2)))
    return slice(int(present[0]), int(present[-1]) + 1)


def score_unannotated(
    case: Case,
    name: str,
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing_mm: Sequence[float],
    annotated: Collection[int],
) -> Score:
    """Protocol A's scores of a structure of a case: on every axial slice but the annotated ones.

    Of a structure that goes on, unlabelled, beyond the slices on which it was contoured, only on those.
    prediction, truth: bool (k, j, i) on a canonical grid; annotated: axial slices that hold the structure.
    """
    known = known_slices(case, truth, name)
    first = known.start or 0
    return score_other_slices(prediction[known], truth[known], spacing_mm, [one - first for one in annotated])
