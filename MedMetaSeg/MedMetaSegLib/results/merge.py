"""From one answer per structure to one result: competition, what was drawn, and no false islands."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from scipy import ndimage

from ..imageio.geometry import Geometry
from ..support.structure import AnnotatedStructure, drawn_in_parts, region
from ..support.support import Support

_DRAWN = 255
NESTED = 0.8
"""A structure lies inside another when the other claims more than this share of it."""
ISLAND_SHARE = 0.1
"""An island is small when it is below this share of the structure's largest part."""
_NOWHERE = (slice(0, 0), slice(0, 0), slice(0, 0))
_TOUCHING = np.ones((3, 3, 3), bool)


class LabelMerger:
    """Who owns each voxel of a grid, as structures come in one by one.

    The most probable structure above one half takes a voxel, but one that lies inside another keeps all of
    its own; what was drawn is taken beforehand and never
    given up. Holds one uint8 label map and one uint8 probability map, whatever the number of structures;
    where structures may overlap there is no competition and each keeps its own mask.
    """

    def __init__(self, support: Support) -> None:
        """support: on the grid of the result (`Support.on`)."""
        self.support = support
        self.masks: list[tuple[tuple[slice, ...], np.ndarray] | None] = [None] * len(support.structures)
        self.owner = np.zeros(support.geometry.shape, np.uint8)
        self.best = np.zeros(support.geometry.shape, np.uint8)
        if not support.overlapping:
            for number, painted in enumerate(support.structures, start=1):
                self.owner[painted.region][painted.mask] = number
                self.best[painted.region][painted.mask] = _DRAWN
        if support.background is not None:
            self.best[support.background.region][support.background.mask] = _DRAWN

    def add(self, number: int, logits: np.ndarray, where: tuple[slice, ...]) -> None:
        """The answer for structure `number` (0-based): logits (k, j, i) on the block `where` of the grid."""
        painted = self.support.structures[number]
        probability = (254 / (1 + np.exp(-np.clip(logits, -20, 20)))).astype(np.uint8)
        inside = logits > 0
        inside &= ~drawn_slices(painted, self.support.geometry.shape, where)
        if self.support.overlapping:
            self.masks[number] = (where, inside)
            return
        taken = inside & (probability > self.best[where])
        owner = self.owner[where]
        within, around = self._nested(number, owner, inside)
        if within:
            taken |= inside & np.isin(owner, within) & (self.best[where] < _DRAWN)
        if around:
            taken &= ~np.isin(owner, around)
        self.owner[where][taken] = number + 1
        self.best[where][taken] = probability[taken]

    def _nested(self, number: int, owner: np.ndarray, claim: np.ndarray) -> tuple[list[int], list[int]]:
        """Owners inside which most of the claim of structure `number` lies, and owners most of which lie
        inside the claim: of an organ and a lesion in it, each of which takes the lesion for its own, the
        lesion keeps it.
        """
        shared = np.bincount(owner[claim], minlength=len(self.support.structures) + 1)
        owned = np.bincount(owner.reshape(-1), minlength=len(shared))
        total = np.count_nonzero(claim)
        within, around = [], []
        for one in np.flatnonzero(shared):
            if one in (0, number + 1):
                continue
            inside, holds = shared[one] > NESTED * total, shared[one] > NESTED * owned[one]
            if inside and not holds:
                within.append(int(one))
            elif holds and not inside:
                around.append(int(one))
        return within, around

    def finished(self, remove_islands: bool) -> list[tuple[tuple[slice, ...], np.ndarray]]:
        """For each structure the block of the grid that holds it, and its mask there."""
        boxes = [] if self.support.overlapping else ndimage.find_objects(self.owner)
        result = []
        for number, painted in enumerate(self.support.structures):
            if self.support.overlapping:
                where, mask = _with_drawing(self.masks[number], painted)
            else:
                where = boxes[number] if number < len(boxes) and boxes[number] else _NOWHERE
                mask = self.owner[where] == number + 1
            if remove_islands:
                mask = without_islands(mask, _on_block(painted, where))
            result.append((where, mask))
        return result


def _with_drawing(
    predicted: tuple[tuple[slice, ...], np.ndarray] | None, painted: AnnotatedStructure
) -> tuple[tuple[slice, ...], np.ndarray]:
    boxes = [painted.region] if predicted is None else [painted.region, predicted[0]]
    where = tuple(slice(min(b[a].start for b in boxes), max(b[a].stop for b in boxes)) for a in range(3))
    mask = _on_block(painted, where)
    if predicted is not None:
        inner = tuple(
            slice(p.start - w.start, p.stop - w.start) for p, w in zip(predicted[0], where, strict=True)
        )
        mask[inner] |= predicted[1]
    return where, mask


def first_mask(
    painted: AnnotatedStructure, logits: np.ndarray, where: tuple[slice, ...]
) -> tuple[tuple[slice, ...], np.ndarray]:
    """A structure alone, cropped: logits (k, j, i) on the block `where` of its grid, and what was drawn."""
    shape = tuple(w.stop for w in where)
    reach = tuple(max(n, w.stop) for n, w in zip(shape, painted.region, strict=True))
    inside = (logits > 0) & ~drawn_slices(painted, reach, where)
    box, mask = _with_drawing((where, inside), painted)
    held = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        held.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 1))
    placed = tuple(slice(b.start + h.start, b.start + h.stop) for b, h in zip(box, held, strict=True))
    return placed, mask[held[0], held[1], held[2]]


def drawn_slices(painted: AnnotatedStructure, shape: tuple[int, ...], where: tuple[slice, ...]) -> np.ndarray:
    """Bool, broadcastable to the block `where`: the slices that are complete for a structure."""
    if painted.axis is None:
        return np.zeros((1, 1, 1), bool)
    known = np.zeros(shape[painted.axis], bool)
    known[list(painted.slices)] = True
    return np.expand_dims(known[where[painted.axis]], [axis for axis in range(3) if axis != painted.axis])


def without_islands(mask: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The mask without small islands that nothing drawn speaks for.

    An island (26-connected) stays when it touches a drawn voxel, when it is at least a tenth of the largest
    part, or when the drawing itself is of many parts (lesions, vessels; `drawn_in_parts`). Then
    only specks of one voxel go.
    """
    parts, count = ndimage.label(mask, _TOUCHING)
    if count < 2:
        return mask
    sizes = np.bincount(parts.reshape(-1))
    sizes[0] = 0
    least = 2 if drawn_in_parts(drawn) else ISLAND_SHARE * sizes.max()
    keep = sizes >= least
    keep[np.unique(parts[drawn & mask])] = True
    keep[0] = False
    return keep[parts]


def _on_block(painted: AnnotatedStructure, where: tuple[slice, ...]) -> np.ndarray:
    """The drawn voxels that lie in a block of the grid, bool (k, j, i) of the block's shape."""
    block = np.zeros([w.stop - w.start for w in where], bool)
    start = np.maximum(painted.offset, [w.start for w in where])
    stop = np.minimum(np.add(painted.offset, painted.mask.shape), [w.stop for w in where])
    if (stop > start).all():
        size = tuple(stop - start)
        source = region(tuple(start - painted.offset), size)
        block[region(tuple(start - [w.start for w in where]), size)] = painted.mask[source]
    return block


def drawn_on(support: Support, geometry: Geometry) -> Support:
    """A support whose grid is not parallel to the image's, carried to the image's voxels for the result.

    A voxel holds what was drawn at its centre; nothing is complete slice by slice any more, so only drawn
    voxels are kept as drawn. Raises InputError when nothing lands on the grid.
    """
    structures = tuple(_carried(one, support.geometry, geometry) for one in support.structures)
    background = support.background and _carried(support.background, support.geometry, geometry)
    return replace(support, geometry=geometry, structures=structures, background=background)


def _carried(painted: AnnotatedStructure, source: Geometry, target: Geometry) -> AnnotatedStructure:
    """Drawn voxels on another grid, slice by slice, by what is drawn at each of its voxels' centres."""
    size = np.array(painted.mask.shape)
    corners = np.array(list(product((0, 1), repeat=3))) * (size - 1) + painted.offset
    inside = target.world_to_index(source.index_to_world(corners))
    last = np.array(target.shape) - 1
    low = np.clip(np.floor(inside.min(0)) - 1, 0, last).astype(int)
    high = np.clip(np.ceil(inside.max(0)) + 1, 0, last).astype(int)
    mask = np.zeros(high - low + 1, bool)
    plane = np.indices((1, *mask.shape[1:])).reshape(3, -1).T + low
    for k in range(len(mask)):
        drawn = np.rint(source.world_to_index(target.index_to_world(plane + [k, 0, 0]))).astype(int)
        drawn -= painted.offset
        valid = ((drawn >= 0) & (drawn < size)).all(1)
        mask[k].flat[valid] = painted.mask[tuple(drawn[valid].T)]
    return AnnotatedStructure(painted.structure, (int(low[0]), int(low[1]), int(low[2])), mask)
