"""Episodes: one structure of one anatomy, annotated on a few slices, to be found in all the rest.

Some structures are annotated by scribbles; others are not annotated but expected at a place that is somewhat
wrong, as where an atlas of another patient is registered to the image. An episode is drawn as a draft, from
which its channels follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from scipy import ndimage

from ..network import STRIDE
from ..network.prompt_channels import SHAPE_LIMIT, KnownSlice, signed_distance, volume_distance
from ..working_grid.margins import margins
from .anatomy import Anatomy
from .another_patient import another_patient_view
from .augmented_support import augmented_support_view, corner_around, unlike_structure, warped_indices
from .box import Box, padding_to_stride
from .canvas import Rng, smooth_noise
from .drafts import EpisodeDraft, PlaceDraft, ScribblesDraft, SlicesDraft, flat
from .target import Target, drawn_target, drawn_turn, turned

MAX_VOXELS = 42**3
"""Voxels of an episode's region at most; larger regions are cut at random, as a sliding window would."""
_SLICE_COUNT_ODDS = np.array([0.14, 0.14, 0.24, 0.1, 0.16, 0.07, 0.06, 0.04, 0.05])
"""How often 1, 2, ... 9 slices are annotated, relative to one another."""
_HELD_OUT_SLICE_COUNTS = (2, 3, 3, 3, 4, 5)
"""Numbers of annotated slices, one of which is drawn for an episode whose slices are held out in turn."""
_FAITHFUL_FRACTION = 0.75
"""Fraction of a slice that an unsteady hand still draws: it errs at boundaries and misses no lesion."""
_SCRIBBLED = 0.08
"""How often a structure that is annotated is annotated by scribbles."""
_PLACED = 0.3
"""How often a structure is not annotated but expected at a place, as on the next patient."""
_MAX_MISREGISTRATION_VOXELS = 6.0
"""In-plane voxels by which a place is wrong at most, and not by more than half of the structure's size."""
_LEARNED = 0.7
"""How often an expected structure comes with prototypes of another patient."""
_ABSENT = 0.15
"""How often, of these, another structure was learned, which is not there: nothing is to be found."""
_ANOTHER = 0.7
"""How often, where another patient has the structure, it is learned from that patient's image."""


@dataclass(frozen=True)
class Episode:
    """What the network is shown of one structure, and what it should answer.

    image (2, k, j, i), prompt (C, k, j, i) and target (1, k, j, i), float32; annotated_slices: their number,
    0 where the structure is expected at a place. held_out: where asked for, of every annotated slice its
    plane and the prompt without it. support (4, k, j, i): of an expected structure another patient's image,
    the structure and its background there.

    Every axis is a multiple of 16: few shapes, many batches.
    """

    image: np.ndarray
    prompt: np.ndarray
    target: np.ndarray
    annotated_slices: int
    held_out: tuple[tuple[int, np.ndarray], ...] = ()
    support: np.ndarray | None = None


@dataclass(frozen=True)
class _Region:
    """The part of an anatomy that an episode shows, padded to the shapes that the network takes.

    image (k, j, i) float32; aspect: see `Anatomy`; mask, structures (k, j, i); slices: the annotated ones, in
    the region. cut: where the region lies in the anatomy, without the padding; corner: in the anatomy's
    voxels, where its voxels begin.
    """

    image: np.ndarray
    aspect: float
    mask: np.ndarray
    structures: np.ndarray
    slices: list[int]
    cut: tuple[slice, ...]
    corner: np.ndarray

    def draft(self, known: SlicesDraft | ScribblesDraft | PlaceDraft) -> EpisodeDraft:
        """The draft of an episode that asks for the region's mask."""
        slices = 0 if isinstance(known, PlaceDraft) else len(self.slices)
        return EpisodeDraft(self.image, self.aspect, self.mask, known, slices)


def choose_slices(rng: Rng, present: np.ndarray, number: int) -> list[int]:
    """At most `number` of the slices where the structure is present (ascending), mostly spread evenly."""
    low, high = int(present[0]), int(present[-1])
    if rng.random() < 0.3:
        return sorted(int(k) for k in rng.choice(present, min(number, len(present)), replace=False))
    margin = rng.choice([0.08, rng.uniform(0, 0.2)]) * (high - low)
    wanted = np.linspace(low + margin, high - margin, number) if number > 1 else np.array([(low + high) / 2])
    if rng.random() < 0.5:
        wanted = wanted + rng.uniform(-0.2, 0.2, number) * (high - low) / number
    return sorted({int(present[np.abs(present - k).argmin()]) for k in wanted})


def episodes(
    rng: Rng, anatomy: Anatomy, number: int, held_out: bool = False, another: Anatomy | None = None
) -> Iterator[Episode]:
    """At most `number` episodes cut from one anatomy, made on the CPU; see `drafts`."""
    return (episode_of(one) for one in drafts(rng, anatomy, number, held_out, another))


def drafts(
    rng: Rng, anatomy: Anatomy, number: int, held_out: bool = False, another: Anatomy | None = None
) -> Iterator[EpisodeDraft]:
    """At most `number` drafts cut from one anatomy; structures too small to be found are passed over.

    held_out: only episodes of two to five annotated slices, each of which is held out in turn as well.
    another: an anatomy of another patient of the same data set, from whom structures of one name are learned.
    """
    for _ in range(number):
        turn = drawn_turn(rng, anatomy)
        seen = turned(anatomy, turn)
        target = drawn_target(rng, seen)
        if target is not None:
            other = None if another is None else turned(another, turn)
            draft = _draft(rng, seen, target, held_out, other)
            if draft is not None:
                yield draft


def episode_of(draft: EpisodeDraft) -> Episode:
    """The episode of a draft, made on the CPU."""
    device = torch.device("cpu")
    evidence = draft.evidence(device)
    return Episode(
        evidence.channels.numpy(),
        draft.known.prompt(evidence).numpy(),
        draft.target[None].astype(np.float32),
        draft.annotated_slices,
        tuple((plane, prompt.numpy()) for plane, prompt in draft.held_out_prompts(evidence)),
        None if draft.support is None else draft.support.channels(device).numpy(),
    )


def _draft(
    rng: Rng, anatomy: Anatomy, wanted: Target, held_out: bool, another: Anatomy | None
) -> EpisodeDraft | None:
    """A draft that asks for a structure; None where it is too small, or what is cut out shows too little."""
    mask = wanted.mask
    present = np.flatnonzero(mask.any((1, 2)))
    if len(present) < 4:
        return None
    placed = not held_out and rng.random() < _PLACED
    number = _slice_count(rng, held_out)
    slices = choose_slices(rng, present, len(present) if placed else min(number, len(present) - 2))
    known = range(len(mask))
    if wanted.label in anatomy.open_ended:
        known = range(int(present[0]), int(present[-1]) + 1)
    region = _cut_out(anatomy, mask, slices, _region(rng, anatomy, mask, slices, known))
    if region is None:
        return None
    if placed:
        return _expected(rng, anatomy, wanted, region, another)
    if held_out:
        return _held_out(rng, region)
    scribbled = rng.random() < _SCRIBBLED
    return region.draft(_scribbles(rng, region) if scribbled else _slices(rng, region))


def _slice_count(rng: Rng, held_out: bool) -> int:
    """How many slices are annotated. Both numbers are drawn where one is used: seeds keep their episodes."""
    number = 1 + int(rng.choice(len(_SLICE_COUNT_ODDS), p=_SLICE_COUNT_ODDS / _SLICE_COUNT_ODDS.sum()))
    return int(rng.choice(_HELD_OUT_SLICE_COUNTS)) if held_out else number


def _cut_out(anatomy: Anatomy, mask: np.ndarray, slices: Sequence[int], box: Box) -> _Region | None:
    """What lies in the box; None where it shows no annotated slice of the structure, or no contrast."""
    cut = box.slices
    mask, structures = mask[cut], anatomy.structures[cut]
    inside = [k - box.offset[0] for k in slices if 0 <= k - box.offset[0] < box.shape[0]]
    if not inside or not mask[inside].any():
        return None
    pad = padding_to_stride(box.shape, 2 * STRIDE)
    image = np.pad(anatomy.image[cut], pad, mode="edge")
    if flat(image):
        return None
    return _Region(
        image,
        anatomy.aspect,
        np.pad(mask, pad, mode="edge"),
        np.pad(structures, pad, mode="edge"),
        [k + pad[0][0] for k in inside],
        cut,
        np.array(box.offset) - np.array(pad)[:, 0],
    )


def _slices(rng: Rng, region: _Region) -> SlicesDraft:
    """The region's annotated slices."""
    annotated = tuple(KnownSlice(float(k), _slice_distance(rng, region.mask[k])) for k in region.slices)
    return SlicesDraft(annotated, _other_structures(rng, region.structures, region.mask))


def _held_out(rng: Rng, region: _Region) -> EpisodeDraft | None:
    """A draft of two slices or more, each of which is held out in turn; None where fewer are left."""
    known = _slices(rng, region)
    if len(known.slices) < 2:
        return None
    return replace(region.draft(known), held_out=tuple(region.slices))


def _region(rng: Rng, anatomy: Anatomy, mask: np.ndarray, slices: Sequence[int], known: range) -> Box:
    """The region searched at run time, its margins varied, cut at random where it is too large.

    known: the slices of which it is known where the structure is; no others are shown.
    """
    box = Box.around(np.asarray(mask[list(slices)].any(0)), slices)
    low, high = margins(box.shape, slices, anatomy.aspect)
    stretch = rng.uniform(0.7, 1.6, (2, 3))
    box = box.grown(low * stretch[0], high * stretch[1]).clipped(mask.shape).within_slices(known)
    shape = np.array(box.shape, float)
    while np.prod(shape) > MAX_VOXELS:
        shape[shape.argmax()] *= 0.9
    shape = np.maximum(shape.astype(int), 1)
    slack = np.array(box.shape) - shape
    offset = np.array(box.offset) + rng.integers(0, slack + 1)
    return Box(tuple(offset.tolist()), tuple(shape.tolist()))


def _slice_distance(rng: Rng, mask: np.ndarray) -> np.ndarray:
    """The signed distance of one annotated slice, sometimes drawn with an unsteady hand."""
    distance = signed_distance(mask)
    if mask.any() and rng.random() < 0.2:
        wobble = smooth_noise(rng, (1, *mask.shape), rng.uniform(5, 15))[0] * rng.uniform(0.2, 0.7)
        moved = distance + wobble + rng.uniform(-0.4, 0.4)
        if np.count_nonzero(mask & (moved > 0)) > _FAITHFUL_FRACTION * np.count_nonzero(mask):
            return np.clip(moved, -SHAPE_LIMIT, SHAPE_LIMIT).astype(np.float32)
    return distance


def _other_structures(rng: Rng, structures: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Voxels that slices annotated for other structures give away, in one episode of three."""
    if rng.random() > 0.35:
        return None
    annotated = np.zeros(mask.shape, bool)
    labels = np.setdiff1d(np.unique(structures[~mask]), [0])
    if len(labels):
        labels = rng.choice(labels, min(len(labels), int(rng.integers(1, 8))), replace=False)
    for label in labels:
        other = (structures == label) & ~mask
        present = np.flatnonzero(other.any((1, 2)))
        for k in choose_slices(rng, present, int(rng.integers(1, 6))):
            annotated[k] |= other[k]
    return annotated


def _expected(
    rng: Rng, anatomy: Anatomy, wanted: Target, region: _Region, another: Anatomy | None
) -> EpisodeDraft | None:
    """A draft whose structure is expected at a place, mostly with another patient who has it.

    The other patient is a real one, where `another` has the structure, or another view of this one. Now and
    then another structure was learned there, which is not in the region: then nothing is to be found. None
    where the place misses the structure.
    """
    place = _place(rng, region)
    if place is None:
        return None
    draft = region.draft(place)
    if rng.random() > _LEARNED:
        return draft
    mask, shape, target, corner = wanted.mask, region.mask.shape, region.mask, region.corner
    absent = unlike_structure(rng, anatomy, mask, region.cut) if rng.random() < _ABSENT else 0
    if absent:
        mask = anatomy.structures == absent
        corner, target = corner_around(rng, mask, shape), np.zeros_like(target)
    label = another.label(wanted.name) if another is not None and wanted.name and not absent else 0
    if another is not None and label and rng.random() < _ANOTHER:
        support = another_patient_view(rng, another, label, shape)
        if support is not None:
            return replace(draft, support=support)
    ends = not absent and wanted.label in anatomy.open_ended
    support = augmented_support_view(rng, anatomy, mask, corner, shape, ends)
    return draft if support is None else replace(draft, target=target, support=support)


def _place(rng: Rng, region: _Region) -> PlaceDraft | None:
    """The place of a structure by a registration that is wrong; None where it misses."""
    mask, structures, aspect = region.mask, region.structures, region.aspect
    size = float(np.cbrt(np.count_nonzero(mask) * aspect))
    misregistration = min(float(rng.uniform(0.3, _MAX_MISREGISTRATION_VOXELS)), size / 2)
    field = warped_indices(rng, mask.shape, misregistration, aspect)
    place = ndimage.map_coordinates(mask.astype(np.float32), field, order=1, mode="nearest") > 0.5
    if np.count_nonzero(place & mask) < 0.1 * np.count_nonzero(mask) or not place.any():
        return None
    tolerance = max(1.0, misregistration * rng.uniform(0.6, 1.5))
    others = np.setdiff1d(np.unique(structures[~mask]), [0])
    other_structures = np.zeros(mask.shape, bool)
    if len(others) and rng.random() < 0.6:
        chosen = rng.choice(others, int(rng.integers(1, len(others) + 1)), replace=False)
        other = (np.isin(structures, chosen) & ~mask).astype(np.float32)
        warped = ndimage.map_coordinates(other, field, order=1, mode="nearest") > 0.5
        other_structures = (volume_distance(warped, aspect) > tolerance) & ~place
    return PlaceDraft(volume_distance(place, aspect), tolerance, other_structures)


def _scribbles(rng: Rng, region: _Region) -> ScribblesDraft:
    """Strokes inside the structure and near it."""
    mask = region.mask
    inside, outside = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
    near = ndimage.binary_dilation(mask, iterations=int(rng.integers(3, 12))) & ~mask
    for strokes, where in ((inside, mask), (outside, near if near.any() else ~mask)):
        present = np.flatnonzero(where.any((1, 2)))
        for k in choose_slices(rng, present, int(rng.integers(1, 6))):
            _stroke(rng, strokes[k], where[k])
    return ScribblesDraft(inside, outside)


def _stroke(rng: Rng, strokes: np.ndarray, region: np.ndarray) -> None:
    """Draw a bent line through up to four points of the region, where it stays inside it."""
    points = np.argwhere(region)
    corners = points[rng.integers(0, len(points), int(rng.integers(1, 5)))]
    strokes[tuple(corners[0])] = True
    for start, end in pairwise(corners):
        line = np.linspace(start, end, 2 * int(np.abs(end - start).max()) + 2).round().astype(int)
        line = line[region[tuple(line.T)]]
        strokes[tuple(line.T)] = True
