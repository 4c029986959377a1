"""Which structure of an anatomy an episode asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from .anatomy import Anatomy
from .canvas import Rng

MIN_VOXELS = 40
"""Voxels of a structure, or of a part of it, at least: what is smaller is not asked for."""
_SCATTERED = 0.6
"""How often an anatomy with many small lesions is asked for these."""
_OUTLINED = 0.5
"""How often a patient is asked for what people outlined, where that is there; otherwise for anything."""


@dataclass(frozen=True)
class Target:
    """What is asked for: bool (k, j, i) over the anatomy; name: of a whole structure that people outlined."""

    mask: np.ndarray
    label: int
    name: str | None = None


Turn = tuple[np.ndarray, tuple[slice, slice, slice]]
"""An order of the axes, and which of them are flipped."""


def drawn_turn(rng: Rng, anatomy: Anatomy) -> Turn:
    """Axes exchanged and flipped; slices stay slices unless voxels are nearly cubes, ends known."""
    cubes = 0.8 < anatomy.aspect < 1.25 and not anatomy.open_ended
    order = rng.permutation(3) if cubes else np.array([0, *(1 + rng.permutation(2))])
    flips = tuple(slice(None, None, int(rng.choice([-1, 1]))) for _ in range(3))
    return order, (flips[0], flips[1], flips[2])


def turned(anatomy: Anatomy, turn: Turn) -> Anatomy:
    """The anatomy with its axes exchanged and flipped, as views of its arrays."""
    order, flips = turn
    image, structures = (one.transpose(order)[flips] for one in (anatomy.image, anatomy.structures))
    return replace(anatomy, image=image, structures=structures)


def drawn_target(rng: Rng, anatomy: Anatomy) -> Target | None:
    """One structure, or one part of it; small ones come more often than their volume says.

    None where the anatomy has nothing to ask for.
    """
    structures = anatomy.structures
    if anatomy.scattered and rng.random() < _SCATTERED:
        mask = structures == anatomy.scattered
        if np.count_nonzero(mask) >= MIN_VOXELS:
            return Target(mask, anatomy.scattered)
    sizes = np.bincount(structures.reshape(-1))
    sizes[0] = 0
    sizes[(sizes < MIN_VOXELS) | (sizes > 0.5 * structures.size)] = 0
    names = () if anatomy.subject is None else anatomy.subject.names
    if sizes[: len(names) + 1].any() and rng.random() < _OUTLINED:
        sizes[len(names) + 1 :] = 0
    if not sizes.any():
        return None
    chance = sizes**0.35
    label = int(rng.choice(len(sizes), p=chance / chance.sum()))
    mask = structures == label
    name = names[label - 1] if label <= len(names) else None
    if rng.random() < 0.6:
        box = ndimage.find_objects(mask.view(np.uint8))[0]
        parts, count = ndimage.label(mask[box])
        volumes = np.bincount(parts.reshape(-1))[1:]
        if count > 1 and volumes.max() >= MIN_VOXELS:
            volumes[volumes < MIN_VOXELS] = 0
            part = parts == 1 + rng.choice(count, p=volumes / volumes.sum())
            # What is left out may be a few stray voxels: then it is the whole structure all the same.
            name = name if 2 * np.count_nonzero(part) > np.count_nonzero(mask) else None
            mask[box] = part
    return Target(mask, label, name)
