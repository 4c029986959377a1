"""From one answer per structure to one result: competition, what was annotated, and no false islands."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..stages import stage
from ..support.parts import annotated_in_parts
from ..support.structure import AnnotatedStructure, bounding_box, region
from ..support.support import Support

NESTED = 0.8
"""Share of a structure that another claims, above which it lies inside that other."""
ISLAND_SHARE = 0.1
"""Size of an island over that of the structure's largest part, below which it is small."""
_ANNOTATED = 255
"""Probability, in the map of bytes, of an annotated voxel; predicted ones end at 254."""
_NOWHERE = (slice(0, 0), slice(0, 0), slice(0, 0))


class LabelMerger:
    """Who owns each voxel of a grid, as structures come in one by one.

    The most probable structure above one half takes a voxel, but one that lies inside another keeps all of
    its own; what was annotated is taken beforehand and never given up. Holds one
    uint8 label map and one uint8 probability map, whatever the number of structures; where structures may
    overlap there is no competition and each keeps its own mask.
    """

    def __init__(self, support: Support) -> None:
        """support: on the grid of the result (`Support.on`)."""
        self.support = support
        self.masks: list[tuple[tuple[slice, ...], np.ndarray] | None] = [None] * len(support.structures)
        self._claimed: list[tuple[slice, ...]] = [annotated.region for annotated in support.structures]
        self.owner = np.zeros(support.geometry.shape, np.uint8)
        self.best = np.zeros(support.geometry.shape, np.uint8)
        if not support.overlapping:
            for number, annotated in enumerate(support.structures, start=1):
                self.owner[annotated.region][annotated.mask] = number
                self.best[annotated.region][annotated.mask] = _ANNOTATED
        if support.background is not None:
            self.best[support.background.region][support.background.mask] = _ANNOTATED

    @stage("compose")
    def add(
        self,
        number: int,
        logits: np.ndarray,
        where: tuple[slice, ...],
        seen: tuple[slice, ...] | None = None,
    ) -> None:
        """The answer for structure `number` (0-based): logits (k, j, i) on the block `where` of the grid.

        seen: the block that the network looked at, which holds `where`, when logits that are not positive
        were left out around it; `where` when None.
        """
        annotated = self.support.structures[number]
        inside = logits > 0
        inside &= ~complete_slices(annotated, self.support.geometry.shape, where)
        if self.support.overlapping:
            self.masks[number] = (where, inside) if inside.size else None
            return
        claimed = bounding_box(inside)
        if claimed is None:
            return
        inside, logits = inside[claimed], logits[claimed]
        block = inner_box(where, claimed)
        probability = _as_byte(logits[inside])
        owner, best = self.owner[block], self.best[block]
        owner_before, best_before = owner[inside], best[inside]
        taken = probability > best_before
        within, around = self._nested(number, owner_before, self.owner[seen or where])
        if within:
            taken |= np.isin(owner_before, within) & (best_before < _ANNOTATED)
        if around:
            taken &= ~np.isin(owner_before, around)
        owner[inside] = np.where(taken, number + 1, owner_before)
        best[inside] = np.where(taken, probability, best_before)
        self._claimed[number] = union_box(self._claimed[number], block)

    def _nested(self, number: int, claim: np.ndarray, owner: np.ndarray) -> tuple[list[int], list[int]]:
        """Owners inside which most of the claim of structure `number` lies, and owners most of which lie
        inside the claim: of an organ and a lesion in it, each of which takes the lesion for its own, the
        lesion keeps it.

        claim: the owner of each voxel claimed, 0 where there is none; owner: of those that were looked at.
        """
        shared = np.bincount(claim, minlength=len(self.support.structures) + 1)
        within, around = [], []
        for one in np.flatnonzero(shared):
            if one in (0, number + 1):
                continue
            inside = shared[one] > NESTED * len(claim)
            holds = shared[one] > NESTED * np.count_nonzero(owner == one)
            if inside and not holds:
                within.append(int(one))
            elif holds and not inside:
                around.append(int(one))
        return within, around

    @stage("compose")
    def finished(self, remove_islands: bool) -> list[tuple[tuple[slice, ...], np.ndarray]]:
        """For each structure the block of the grid that holds it, and its mask there."""
        result = []
        for number, annotated in enumerate(self.support.structures):
            if self.support.overlapping:
                where, mask = _with_annotation(self.masks[number], annotated)
            else:
                where, mask = self._owned(number)
            if remove_islands:
                mask = without_islands(
                    mask, _on_block(annotated, where), annotated_in_parts(annotated.on_slices)
                )
            result.append((where, mask))
        return result

    def _owned(self, number: int) -> tuple[tuple[slice, ...], np.ndarray]:
        """The block that holds all that a structure owns, and which of its voxels it owns."""
        claimed = self._claimed[number]
        mask = self.owner[claimed] == number + 1
        box = bounding_box(mask)
        if box is None:
            return _NOWHERE, np.zeros((0, 0, 0), bool)
        return inner_box(claimed, box), mask[box]


def union_box(one: tuple[slice, ...], other: tuple[slice, ...]) -> tuple[slice, ...]:
    """The smallest block that holds two blocks; the other one where one of them is empty."""
    if any(along.stop <= along.start for along in one):
        return other
    if any(along.stop <= along.start for along in other):
        return one
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def inner_box(outer: tuple[slice, ...], inner: tuple[slice, ...]) -> tuple[slice, ...]:
    """A block of a block, as a block of the grid that holds the outer one."""
    return tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))


def _as_byte(logits: np.ndarray) -> np.ndarray:
    """Probabilities as uint8, 254 for certain, of logits of any shape."""
    return (254 / (1 + np.exp(-np.clip(logits, -20, 20)))).astype(np.uint8)


def _with_annotation(
    predicted: tuple[tuple[slice, ...], np.ndarray] | None, annotated: AnnotatedStructure
) -> tuple[tuple[slice, ...], np.ndarray]:
    where = annotated.region if predicted is None else union_box(annotated.region, predicted[0])
    mask = _on_block(annotated, where)
    if predicted is not None:
        inner = tuple(
            slice(p.start - w.start, p.stop - w.start) for p, w in zip(predicted[0], where, strict=True)
        )
        mask[inner] |= predicted[1]
    return where, mask


def first_mask(
    annotated: AnnotatedStructure, logits: np.ndarray, where: tuple[slice, ...]
) -> tuple[tuple[slice, ...], np.ndarray]:
    """A structure alone, cropped: logits (k, j, i) on the block `where` of its grid, and its annotation."""
    if not logits.size:
        return annotated.region, annotated.mask.copy()
    shape = tuple(max(w.stop, a.stop) for w, a in zip(where, annotated.region, strict=True))
    inside = (logits > 0) & ~complete_slices(annotated, shape, where)
    box, mask = _with_annotation((where, inside), annotated)
    held = bounding_box(mask) or (slice(0, 1), slice(0, 1), slice(0, 1))
    return inner_box(box, held), mask[held]


def complete_slices(
    annotated: AnnotatedStructure, shape: tuple[int, ...], where: tuple[slice, ...]
) -> np.ndarray:
    """Bool, broadcastable to the block `where` of a grid of `shape`: the slices that are complete."""
    there = np.zeros((1, 1, 1), bool)
    for plane in annotated.planes:
        complete = np.zeros(shape[plane.axis], bool)
        complete[list(plane.slices)] = True
        others = [other for other in range(3) if other != plane.axis]
        there = there | np.expand_dims(complete[where[plane.axis]], others)
    return there


def without_islands(mask: np.ndarray, annotation: np.ndarray, in_parts: bool = False) -> np.ndarray:
    """The mask without small islands that no annotation speaks for; both bool (k, j, i) of one shape.

    An island (26-connected) stays when it touches an annotated voxel, and when it is at least a tenth of the
    largest part. in_parts: the structure itself has many (lesions, vessels; `annotated_in_parts`), so that
    only specks of one voxel go.
    """
    if not mask.size:
        return mask
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.view(np.uint8)), True)
    parts = sitk.GetArrayViewFromImage(image)
    if parts.max() < 2:
        return mask
    sizes = np.bincount(parts.reshape(-1))
    sizes[0] = 0
    least = 2 if in_parts else ISLAND_SHARE * sizes.max()
    keep = sizes >= least
    keep[np.unique(parts[annotation & mask])] = True
    keep[0] = False
    return keep[parts]


def _on_block(annotated: AnnotatedStructure, where: tuple[slice, ...]) -> np.ndarray:
    """The annotated voxels that lie in a block of the grid, bool (k, j, i) of the block's shape."""
    block = np.zeros([w.stop - w.start for w in where], bool)
    start = np.maximum(annotated.offset, [w.start for w in where])
    stop = np.minimum(np.add(annotated.offset, annotated.mask.shape), [w.stop for w in where])
    if (stop > start).all():
        size = tuple(stop - start)
        source = region(tuple(start - annotated.offset), size)
        block[region(tuple(start - [w.start for w in where]), size)] = annotated.mask[source]
    return block
