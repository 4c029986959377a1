"""Competition for voxels, drawn voxels kept, and islands."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.results.merge import LabelMerger, complete_slices, first_mask, without_islands
from MedMetaSegLib.support.parts import annotated_in_parts
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.support.support import Support

SHAPE = (20, 24, 28)
WHOLE = tuple(slice(0, n) for n in SHAPE)


def two_drawn(overlap: bool = False) -> Support:
    """Structure a on slices 5 and 15, b on slice 10; b also on a's slice 5 where they overlap."""
    a, b = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    a[[5, 15], 4:14, 4:14] = True
    b[10, 4:14, 14:24] = True
    if overlap:
        b[5, 8:12, 8:20] = True
    geometry = Geometry(SHAPE, np.eye(4))
    masks = [
        StructureMask(Structure(n, v, (1, 0, 0)), (0, 0, 0), m) for n, v, m in (("a", 1, a), ("b", 2, b))
    ]
    return Support.from_masks(masks, geometry, "slices", "axial")


def full(found: tuple) -> np.ndarray:
    where, mask = found
    result = np.zeros(SHAPE, bool)
    result[where] = mask
    return result


def logits(value: float, where: tuple[slice, ...]) -> np.ndarray:
    result = np.full(SHAPE, -10.0, np.float32)
    result[where] = value
    return result


def test_the_more_probable_structure_takes_a_voxel() -> None:
    merger = LabelMerger(two_drawn())
    merger.add(0, logits(1.0, np.s_[5:16, 4:14, 4:20]), WHOLE)
    merger.add(1, logits(2.0, np.s_[5:16, 4:14, 12:24]), WHOLE)
    a, b = (full(one) for one in merger.finished(remove_islands=False))
    assert not (a & b).any()
    assert b[8, 8, 15]
    assert a[8, 8, 10]


def test_the_order_of_structures_does_not_decide() -> None:
    results = []
    for order in ((0, 1), (1, 0)):
        merger = LabelMerger(two_drawn())
        answers = {0: logits(1.0, np.s_[5:16, 4:14, 4:20]), 1: logits(2.0, np.s_[5:16, 4:14, 12:24])}
        for number in order:
            merger.add(number, answers[number], WHOLE)
        results.append(merger.owner)
    np.testing.assert_array_equal(*results)


def test_an_annotated_slice_is_never_changed() -> None:
    support = two_drawn()
    merger = LabelMerger(support)
    for number in range(2):
        merger.add(number, logits(9.0, WHOLE), WHOLE)
    for found, painted in zip(merger.finished(remove_islands=True), support.structures, strict=True):
        drawn = np.zeros(SHAPE, bool)
        drawn[painted.region] = painted.mask
        for k in painted.slices:
            np.testing.assert_array_equal(full(found)[k], drawn[k])


def test_structures_that_overlap_in_the_drawing_may_overlap_in_the_result() -> None:
    merger = LabelMerger(two_drawn(overlap=True))
    for number in range(2):
        merger.add(number, logits(3.0, np.s_[6:9, 4:14, 4:24]), WHOLE)
    a, b = (full(one) for one in merger.finished(remove_islands=False))
    assert (a & b)[7].any()
    assert a[5, 4:14, 4:14].all()
    assert b[5, 8:12, 8:20].all()


def test_a_structure_without_an_answer_keeps_its_drawing_from_the_others() -> None:
    merger = LabelMerger(two_drawn())
    merger.add(0, logits(9.0, WHOLE), WHOLE)
    a, b = (full(one) for one in merger.finished(remove_islands=True))
    assert b.sum() == 100
    assert not a[10, 4:14, 14:24].any()


def body_and_islands(*sizes: int) -> tuple[np.ndarray, np.ndarray]:
    mask, drawn = np.zeros((20, 40, 60), bool), np.zeros((20, 40, 60), bool)
    mask[4:16, 4:16, 4:16] = True
    drawn[10, 4:16, 4:16] = True
    for number, size in enumerate(sizes):
        mask[3, 20 + 4 * number, 20 : 20 + size] = True
    return mask, drawn


def test_a_small_island_goes_and_a_large_part_stays() -> None:
    mask, drawn = body_and_islands(20)
    mask[4:16, 30:36, 40:46] = True
    cleaned = without_islands(mask, drawn)
    assert not cleaned[3].any()
    assert cleaned[10, 32, 42]
    assert cleaned[10, 8, 8]


def test_an_island_that_was_drawn_stays() -> None:
    mask, drawn = body_and_islands(5)
    drawn[3, 20, 20:25] = True
    assert without_islands(mask, drawn)[3, 20, 22]


def test_a_structure_drawn_in_many_parts_loses_only_specks() -> None:
    mask, drawn = body_and_islands(6, 1)
    drawn[10] = False
    for part in range(4):
        drawn[10, 2 * part + 4, 4:6] = True
    cleaned = without_islands(mask, drawn, in_parts=annotated_in_parts(drawn))
    assert cleaned[3, 20, 22]
    assert not cleaned[3, 24, 20]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_structure_inside_another_keeps_what_the_other_claims_too(order: tuple[int, int]) -> None:
    answers = {0: logits(5.0, np.s_[4:17, 2:22, 2:26]), 1: logits(1.0, np.s_[8:12, 8:14, 14:22])}
    merger = LabelMerger(two_drawn())
    for number in order:
        merger.add(number, answers[number], WHOLE)
    a, b = (full(one) for one in merger.finished(remove_islands=False))
    assert b[[8, 9, 11], 8:14, 14:22].all()
    assert not (a & b).any()
    assert a[8, 4, 4]
    assert a[[5, 15], 4:14, 4:14].all()


class EveryVoxel(LabelMerger):
    """The rule as it is said, on every voxel of the block that was looked at."""

    def add(self, number: int, logits: np.ndarray, where: tuple, seen: tuple | None = None) -> None:
        annotated = self.support.structures[number]
        probability = (254 / (1 + np.exp(-np.clip(logits, -20, 20)))).astype(np.uint8)
        inside = (logits > 0) & ~complete_slices(annotated, self.support.geometry.shape, where)
        taken = inside & (probability > self.best[where])
        owner = self.owner[where]
        shared = np.bincount(owner[inside], minlength=len(self.support.structures) + 1)
        owned = np.bincount(owner.reshape(-1), minlength=len(shared))
        for one in np.flatnonzero(shared):
            if one in (0, number + 1):
                continue
            within, holds = shared[one] > 0.8 * inside.sum(), shared[one] > 0.8 * owned[one]
            if within and not holds:
                taken |= inside & (owner == one) & (self.best[where] < 255)
            elif holds and not within:
                taken &= owner != one
        self.owner[where][taken] = number + 1
        self.best[where][taken] = probability[taken]

    def finished(self, remove_islands: bool) -> list:
        boxes, result = ndimage.find_objects(self.owner), []
        for number, annotated in enumerate(self.support.structures):
            where = boxes[number] if number < len(boxes) and boxes[number] else np.s_[0:0, 0:0, 0:0]
            mask = self.owner[where] == number + 1
            if remove_islands and mask.any():
                drawn = np.zeros(SHAPE, bool)
                drawn[annotated.region] = annotated.mask
                parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
                sizes = np.bincount(parts.reshape(-1), minlength=2)
                sizes[0] = 0
                keep = sizes >= 0.1 * sizes.max()
                keep[np.unique(parts[drawn[where] & mask])] = True
                keep[0] = False
                mask = keep[parts]
            result.append((where, mask))
        return result


def random_logits(seed: int, spread: float, level: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), spread)
    return (noise / noise.std() * 3 + level).astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_merging_cropped_logits_is_the_rule_on_every_voxel_to_the_bit(seed: int) -> None:
    support = two_drawn()
    ours, plain = LabelMerger(support), EveryVoxel(support)
    seen = np.s_[1:19, 2:24, 0:27]
    answers = [random_logits(2 * seed, 3.0, 1.0), random_logits(2 * seed + 1, 1.5, -1.0 if seed % 2 else 2.0)]
    if seed % 3 == 0:
        # One inside the other.
        answers[1] = np.where(answers[0] > 3, np.float32(1.0), np.float32(-1.0))
    for number, logits in enumerate(answers):
        plain.add(number, logits[seen], seen)
        box = ndimage.find_objects((logits[seen] > 0).astype(np.uint8))[0]
        where = tuple(slice(s.start + b.start, s.start + b.stop) for s, b in zip(seen, box, strict=True))
        ours.add(number, logits[where], where, seen)
    np.testing.assert_array_equal(ours.owner, plain.owner)
    np.testing.assert_array_equal(ours.best, plain.best)
    for islands in (False, True):
        pairs = zip(ours.finished(islands), plain.finished(islands), strict=True)
        for (where, mask), (expected_where, expected) in pairs:
            assert where == expected_where
            np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("overlap", [False, True])
def test_an_answer_of_nothing_leaves_what_was_drawn(overlap: bool) -> None:
    support = two_drawn(overlap)
    merger = LabelMerger(support)
    for number in range(2):
        merger.add(number, np.zeros((0, 0, 0), np.float32), np.s_[0:0, 0:0, 0:0], WHOLE)
    for found, painted in zip(merger.finished(remove_islands=True), support.structures, strict=True):
        drawn = np.zeros(SHAPE, bool)
        drawn[painted.region] = painted.mask
        np.testing.assert_array_equal(full(found), drawn)
    where, mask = first_mask(support.structures[0], np.zeros((0, 0, 0)), np.s_[0:0, 0:0, 0:0])
    assert where == support.structures[0].region
    np.testing.assert_array_equal(mask, support.structures[0].mask)
    assert not np.shares_memory(mask, support.structures[0].mask)
