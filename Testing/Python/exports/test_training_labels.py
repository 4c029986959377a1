"""Which voxels are a structure, which are background, and of which too little is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.exports.training_labels import LabelScheme, training_labels
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.support.support import Annotation, Support
from support_phantom import SHAPE, grid

A = np.s_[2:8, 3:9]
B = np.s_[12:18, 14:22]
AB = LabelScheme(("a", "b"))


def painted(where: Mapping[int, tuple[slice, slice]]) -> np.ndarray:
    """A mask that holds a rectangle on each of these slices."""
    mask = np.zeros(SHAPE, bool)
    for number, rectangle in where.items():
        mask[number][rectangle] = True
    return mask


def support_of(masks: Mapping[str, np.ndarray], annotation: Annotation = "slices") -> Support:
    structures = [
        StructureMask(Structure(name, number, (1, 0, 0)), (0, 0, 0), mask)
        for number, (name, mask) in enumerate(masks.items(), start=1)
    ]
    return Support.from_masks(structures, grid(SHAPE), annotation)


def labels_of(support: Support, names: Sequence[str] = ("a", "b")) -> np.ndarray:
    return training_labels(support, LabelScheme(tuple(names))).labels


def expected(known: Sequence[int], ignore: int, a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Labels of slices that are known, ignore elsewhere, and the voxels of a and b."""
    labels = np.full(SHAPE, ignore)
    labels[list(known)] = 0
    labels[a] = 1
    if b is not None:
        labels[b] = 2
    return labels


def test_one_structure_is_known_on_its_slices() -> None:
    a = painted({5: A, 9: A, 14: A})
    np.testing.assert_array_equal(labels_of(support_of({"a": a}), ["a"]), expected([5, 9, 14], 2, a))


def test_background_is_known_only_where_all_structures_are() -> None:
    a, b = painted({5: A, 9: A}), painted({9: B, 14: B})
    np.testing.assert_array_equal(labels_of(support_of({"a": a, "b": b})), expected([9], 3, a, b))


def test_slices_of_two_planes_are_known() -> None:
    a = painted({5: A, 14: A})
    a[2:18, 5, 3:9] = True
    labels = labels_of(support_of({"a": a}), ["a"])
    along_k = np.zeros(SHAPE, bool)
    along_k[[5, 14]] = along_k[:, 5] = True
    np.testing.assert_array_equal(labels, np.where(a, 1, np.where(along_k, 0, 2)))


def test_where_a_structure_of_other_cases_was_not_painted_nothing_is_background() -> None:
    a = painted({5: A, 9: A})
    np.testing.assert_array_equal(labels_of(support_of({"a": a})), expected([], 3, a))


def test_a_structure_that_is_not_wanted_has_no_say() -> None:
    a, b = painted({5: A, 9: A}), painted({9: B, 14: B})
    np.testing.assert_array_equal(labels_of(support_of({"a": a, "b": b}), ["a"]), expected([5, 9], 2, a))


def test_a_complete_annotation_knows_every_voxel() -> None:
    a, b = painted({5: A}), painted({9: B})
    made = training_labels(support_of({"a": a, "b": b}, "complete"), LabelScheme(("b", "c", "a")))
    np.testing.assert_array_equal(made.labels, np.where(b, 1, np.where(a, 3, 0)))
    assert made.counts == (a.size - a.sum() - b.sum(), b.sum(), 0, a.sum(), 0)
    assert made.known == 1


def test_of_scribbles_only_painted_voxels_are_known() -> None:
    a, outside = painted({5: A}), painted({5: B, 6: B})
    support = support_of({"a": a, "background": outside}, "scribbles")
    labels = np.full(SHAPE, 2)
    labels[outside] = 0
    labels[a] = 1
    np.testing.assert_array_equal(labels_of(support, ["a"]), labels)


def test_what_is_painted_as_a_structure_and_as_background_is_ignored_and_said() -> None:
    a, outside = painted({5: A}), painted({5: np.s_[7:12, 3:9]})
    made = training_labels(support_of({"a": a, "background": outside}, "scribbles"), LabelScheme(("a",)))
    np.testing.assert_array_equal(made.labels == 2, ~(a ^ outside))
    assert made.notes == ("6 voxels were annotated as two things in one place, and ignored.",)


def test_structures_that_overlap_are_refused_with_their_names_and_place() -> None:
    a, b = painted({5: A, 9: A}), painted({9: np.s_[5:12, 6:12], 14: B})
    support = support_of({"a": a, "b": b})
    with pytest.raises(InputError, match=r"a and b overlap, on slice 9 of the image.*--structure"):
        training_labels(support, AB)
    assert set(np.unique(labels_of(support, ["b"]))) == {0, 1, 2}


def test_slices_that_meet_on_a_coarser_grid_are_ignored_where_they_differ() -> None:
    a, b = painted({4: A}), painted({5: np.s_[5:12, 6:12]})
    coarse = grid((10, 24, 28), (2, 1, 1), at=(0.5, 0, 0))
    made = training_labels(support_of({"a": a, "b": b}).on(coarse), AB)
    both = a[4] & b[5]
    assert (made.labels[2][both] == 3).all()
    assert (made.labels[2][a[4] & ~both] == 1).all()
    assert made.notes == (f"{both.sum()} voxels were annotated as two things in one place, and ignored.",)


def test_a_case_of_which_nothing_is_known_is_refused() -> None:
    with pytest.raises(InputError, match="Nothing is known of c"):
        training_labels(support_of({"a": painted({5: A})}), LabelScheme(("c",)))


def test_many_labels_take_two_bytes() -> None:
    names = tuple(f"s{n}" for n in range(255))
    support = support_of({"s254": painted({5: A})}, "complete")
    made = training_labels(support, LabelScheme(names))
    assert made.labels.dtype == np.uint16
    assert made.labels.max() == 255
    assert LabelScheme(names).as_dict(with_ignore=True)["ignore"] == 256
