"""Episodes: one structure of one anatomy, known on a few slices or scribbles, to be found in all the rest; or
expected at a place that is somewhat wrong, as when an atlas of another patient is laid over the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from ..network.image_evidence import ImageEvidence, image_channels
from ..network.prompt_channels import (
    SHAPE_LIMIT,
    KnownSlice,
    place_prompt,
    scribble_prompt,
    signed_distance,
    slice_prompt,
    volume_distance,
)
from ..working_grid.margins import STRIDE, Box, margins, padding_to_stride
from .augmented_support import augmented_support_view, bent_indices, corner_around, unlike_structure
from .canvas import Rng, smooth_noise
from .synthesis import Anatomy

MAX_VOXELS = 42**3
"""Of an episode; larger regions are cut at random, as a sliding window would."""
_SHOTS = np.array([0.14, 0.14, 0.24, 0.1, 0.16, 0.07, 0.06, 0.04, 0.05])
_HELD_OUT_SHOTS = (2, 3, 3, 3, 4, 5)
_MIN_VOXELS = 40
_STEADY = 0.75
"""Share of a slice that an unsteady hand still draws: it strays at borders and misses no lesion."""
_PLACED = 0.3
"""How often a structure is not drawn but expected at a place, as on the next patient."""
_ASTRAY = 6.0
"""In-plane voxels by which a place is wrong at most, and not by more than half of the structure's size."""
_LEARNED = 0.7
"""How often an expected structure comes with prototypes of another patient."""
_ABSENT = 0.15
"""How often, of these, another structure was learned, which is not there: nothing is to be found."""
_SCATTERED = 0.6
"""How often an anatomy with many small lesions is asked for these."""


@dataclass(frozen=True)
class Episode:
    """image (2, k, j, i), prompt (C, k, j, i) and target (1, k, j, i), float32; shots: annotated slices, 0
    where the structure is expected at a place. held_out: where asked for, of every annotated slice its plane
    and the prompt without it. support (4, k, j, i): of an expected structure another patient's image, the
    structure and its background there.

    Every axis is a multiple of 16: few shapes, many batches.
    """

    image: np.ndarray
    prompt: np.ndarray
    target: np.ndarray
    shots: int
    held_out: tuple[tuple[int, np.ndarray], ...] = ()
    support: np.ndarray | None = None


def annotated_slices(rng: Rng, present: np.ndarray, number: int) -> list[int]:
    """At most `number` of the slices where the structure is present (ascending), mostly spread evenly."""
    low, high = int(present[0]), int(present[-1])
    if rng.random() < 0.3:
        return sorted(int(k) for k in rng.choice(present, min(number, len(present)), replace=False))
    margin = rng.choice([0.08, rng.uniform(0, 0.2)]) * (high - low)
    wanted = np.linspace(low + margin, high - margin, number) if number > 1 else np.array([(low + high) / 2])
    if rng.random() < 0.5:
        wanted = wanted + rng.uniform(-0.2, 0.2, number) * (high - low) / number
    return sorted({int(present[np.abs(present - k).argmin()]) for k in wanted})


def episodes(rng: Rng, anatomy: Anatomy, number: int, held_out: bool = False) -> Iterator[Episode]:
    """At most `number` episodes cut from one anatomy; structures too small to be found are passed over.

    held_out: only episodes of two to five drawn slices, each of which is held out in turn as well.
    """
    for _ in range(number):
        turned = _turned(rng, anatomy)
        found = _target(rng, turned)
        if found is not None:
            episode = _episode(rng, turned, found, held_out)
            if episode is not None:
                yield episode


def _turned(rng: Rng, anatomy: Anatomy) -> Anatomy:
    """A random reflection; the slices' axis is exchanged only when the voxels are nearly cubes."""
    order = rng.permutation(3) if 0.8 < anatomy.aspect < 1.25 else np.array([0, *(1 + rng.permutation(2))])
    flips = tuple(slice(None, None, int(rng.choice([-1, 1]))) for _ in range(3))
    return Anatomy(
        anatomy.image.transpose(order)[flips],
        anatomy.structures.transpose(order)[flips],
        anatomy.aspect,
        anatomy.scattered,
    )


def _target(rng: Rng, anatomy: Anatomy) -> np.ndarray | None:
    """The mask of one structure, or of one part of it; small ones come more often than their volume says."""
    structures = anatomy.structures
    if anatomy.scattered and rng.random() < _SCATTERED:
        mask = structures == anatomy.scattered
        if np.count_nonzero(mask) >= _MIN_VOXELS:
            return mask
    sizes = np.bincount(structures.reshape(-1))
    sizes[0] = 0
    sizes[(sizes < _MIN_VOXELS) | (sizes > 0.5 * structures.size)] = 0
    if not sizes.any():
        return None
    chance = sizes**0.35
    mask = structures == rng.choice(len(sizes), p=chance / chance.sum())
    if rng.random() < 0.6:
        box = ndimage.find_objects(mask.view(np.uint8))[0]
        parts, count = ndimage.label(mask[box])
        volumes = np.bincount(parts.reshape(-1))[1:]
        if count > 1 and volumes.max() >= _MIN_VOXELS:
            volumes[volumes < _MIN_VOXELS] = 0
            mask[box] = parts == 1 + rng.choice(count, p=volumes / volumes.sum())
    return mask


def _episode(rng: Rng, anatomy: Anatomy, mask: np.ndarray, held_out: bool) -> Episode | None:
    present = np.flatnonzero(mask.any((1, 2)))
    if len(present) < 4:
        return None
    placed = not held_out and rng.random() < _PLACED
    shots = 1 + int(rng.choice(len(_SHOTS), p=_SHOTS / _SHOTS.sum()))
    if held_out:
        shots = int(rng.choice(_HELD_OUT_SHOTS))
    slices = annotated_slices(rng, present, len(present) if placed else min(shots, len(present) - 2))
    box = _region(rng, anatomy, mask, slices)
    cut, whole = box.slices, mask
    mask, structures = mask[cut], anatomy.structures[cut]
    slices = [k - box.offset[0] for k in slices if 0 <= k - box.offset[0] < box.shape[0]]
    if not slices or not mask[slices].any():
        return None
    pad = padding_to_stride(box.shape, 2 * STRIDE)
    evidence = ImageEvidence(image_channels(np.pad(anatomy.image[cut], pad, mode="edge")), anatomy.aspect)
    image = evidence.channels.numpy()
    if np.ptp(image[0]) < 1e-3:
        return None
    mask, structures = np.pad(mask, pad, mode="edge"), np.pad(structures, pad, mode="edge")
    slices = [k + pad[0][0] for k in slices]
    target = mask[None].astype(np.float32)
    if placed:
        prompt = _expected(rng, evidence, mask, structures)
        if prompt is None:
            return None
        corner = np.array(box.offset) - np.array(pad)[:, 0]
        return _learned(rng, anatomy, whole, cut, corner, Episode(image, prompt, target, 0))
    if not held_out and rng.random() < 0.08:
        return Episode(image, _scribbles(rng, evidence, mask), target, len(slices))
    drawn = [KnownSlice(float(k), _drawn(rng, mask[k])) for k in slices]
    prompt = slice_prompt(evidence, drawn, _others(rng, structures, mask)).numpy()
    if not held_out:
        return Episode(image, prompt, target, len(slices))
    if len(drawn) < 2:
        return None
    without = tuple(
        (k, slice_prompt(evidence, [one for one in drawn if one.position != k]).numpy()) for k in slices
    )
    return Episode(image, prompt, target, len(slices), without)


def _region(rng: Rng, anatomy: Anatomy, mask: np.ndarray, slices: Sequence[int]) -> Box:
    """The region searched at run time, its margins varied, cut at random where it is too large."""
    box = Box.around(np.asarray(mask[list(slices)].any(0)), slices)
    low, high = margins(box.shape, slices, anatomy.aspect)
    stretch = rng.uniform(0.7, 1.6, (2, 3))
    box = box.grown(low * stretch[0], high * stretch[1]).clipped(mask.shape)
    shape = np.array(box.shape, float)
    while np.prod(shape) > MAX_VOXELS:
        shape[shape.argmax()] *= 0.9
    shape = np.maximum(shape.astype(int), 1)
    slack = np.array(box.shape) - shape
    offset = np.array(box.offset) + rng.integers(0, slack + 1)
    return Box(tuple(offset.tolist()), tuple(shape.tolist()))


def _drawn(rng: Rng, mask: np.ndarray) -> np.ndarray:
    """The signed distance of one slice, sometimes drawn with an unsteady hand."""
    distance = signed_distance(mask)
    if mask.any() and rng.random() < 0.2:
        wobble = smooth_noise(rng, (1, *mask.shape), rng.uniform(5, 15))[0] * rng.uniform(0.2, 0.7)
        moved = distance + wobble + rng.uniform(-0.4, 0.4)
        if np.count_nonzero(mask & (moved > 0)) > _STEADY * np.count_nonzero(mask):
            return np.clip(moved, -SHAPE_LIMIT, SHAPE_LIMIT).astype(np.float32)
    return distance


def _others(rng: Rng, structures: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Voxels that slices painted for other structures give away, in one episode of three."""
    if rng.random() > 0.35:
        return None
    known = np.zeros(mask.shape, bool)
    labels = np.setdiff1d(np.unique(structures[~mask]), [0])
    if len(labels):
        labels = rng.choice(labels, min(len(labels), int(rng.integers(1, 8))), replace=False)
    for label in labels:
        other = (structures == label) & ~mask
        present = np.flatnonzero(other.any((1, 2)))
        for k in annotated_slices(rng, present, int(rng.integers(1, 6))):
            known[k] |= other[k]
    return known


def _expected(
    rng: Rng, evidence: ImageEvidence, mask: np.ndarray, structures: np.ndarray
) -> np.ndarray | None:
    """The prompt of a structure laid over by a registration that is off; None where it misses."""
    aspect = evidence.aspect
    size = float(np.cbrt(np.count_nonzero(mask) * aspect))
    off = min(float(rng.uniform(0.3, _ASTRAY)), size / 2)
    field = bent_indices(rng, mask.shape, off, aspect)
    place = ndimage.map_coordinates(mask.astype(np.float32), field, order=1, mode="nearest") > 0.5
    if np.count_nonzero(place & mask) < 0.1 * np.count_nonzero(mask) or not place.any():
        return None
    band = max(1.0, off * rng.uniform(0.6, 1.5))
    others = np.setdiff1d(np.unique(structures[~mask]), [0])
    elsewhere = np.zeros(mask.shape, bool)
    if len(others) and rng.random() < 0.6:
        chosen = rng.choice(others, int(rng.integers(1, len(others) + 1)), replace=False)
        other = (np.isin(structures, chosen) & ~mask).astype(np.float32)
        moved = ndimage.map_coordinates(other, field, order=1, mode="nearest") > 0.5
        elsewhere = (volume_distance(moved, aspect) > band) & ~place
    return place_prompt(evidence, volume_distance(place, aspect), band, elsewhere).numpy()


def _learned(
    rng: Rng, anatomy: Anatomy, mask: np.ndarray, cut: tuple[slice, ...], corner: np.ndarray, episode: Episode
) -> Episode:
    """The episode with another patient from whom the structure was learned, or a structure that is not here.

    mask: of the whole anatomy; cut: the region that is searched; corner: where the episode's voxels begin.
    """
    if rng.random() > _LEARNED:
        return episode
    shape, target = episode.target.shape[1:], episode.target
    absent = unlike_structure(rng, anatomy, mask, cut) if rng.random() < _ABSENT else 0
    if absent:
        mask = anatomy.structures == absent
        corner, target = corner_around(rng, mask, shape), np.zeros_like(target)
    support = augmented_support_view(rng, anatomy, mask, corner, shape)
    return episode if support is None else replace(episode, target=target, support=support)


def _scribbles(rng: Rng, evidence: ImageEvidence, mask: np.ndarray) -> np.ndarray:
    inside, outside = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
    near = ndimage.binary_dilation(mask, iterations=int(rng.integers(3, 12))) & ~mask
    for strokes, region in ((inside, mask), (outside, near if near.any() else ~mask)):
        present = np.flatnonzero(region.any((1, 2)))
        for k in annotated_slices(rng, present, int(rng.integers(1, 6))):
            _stroke(rng, strokes[k], region[k])
    return scribble_prompt(evidence, inside, outside).numpy()


def _stroke(rng: Rng, strokes: np.ndarray, region: np.ndarray) -> None:
    """Draw a bent line through up to four points of the region, where it stays inside it."""
    points = np.argwhere(region)
    corners = points[rng.integers(0, len(points), int(rng.integers(1, 5)))]
    strokes[tuple(corners[0])] = True
    for start, end in pairwise(corners):
        line = np.linspace(start, end, 2 * int(np.abs(end - start).max()) + 2).round().astype(int)
        line = line[region[tuple(line.T)]]
        strokes[tuple(line.T)] = True
