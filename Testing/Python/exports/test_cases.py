"""What was annotated, brought to the image's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affines import rotation
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.exports.cases import ExportCase, on_image, read_annotation
from MedMetaSegLib.exports.training_labels import LabelScheme, training_labels
from MedMetaSegLib.imageio.volume import Geometry, Volume, write_labels
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.support.support import Annotation, write_segmentation
from support_phantom import SHAPE, grid

IMAGE = Volume.from_array(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), grid(SHAPE), "ct")


def case(path: Path, annotation: Annotation = "complete") -> ExportCase:
    return ExportCase("p1", "ct", Path("ct"), lambda: IMAGE, path, annotation)


def labels_of(path: Path, scheme: tuple[str, ...], annotation: Annotation = "complete") -> np.ndarray:
    support = on_image(read_annotation(case(path, annotation)), IMAGE)
    return training_labels(support, LabelScheme(scheme)).labels


def write_segments(path: Path, masks: dict[str, np.ndarray], geometry: Geometry) -> None:
    structures = [Structure(name, number, (1, 0, 0)) for number, name in enumerate(masks, start=1)]
    pairs = zip(structures, masks.values(), strict=True)
    write_segmentation(path, [StructureMask(one, (0, 0, 0), mask) for one, mask in pairs], geometry)


def block(*where: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[where] = True
    return mask


def test_a_lesion_of_one_voxel_is_kept_where_every_voxel_is_known(tmp_path: Path) -> None:
    lesion = block(np.s_[4:5], np.s_[7:8], np.s_[9:10])
    write_segments(tmp_path / "s.seg.nrrd", {"lesion": lesion}, grid(SHAPE))
    np.testing.assert_array_equal(labels_of(tmp_path / "s.seg.nrrd", ("lesion",)), lesion)


def test_a_label_map_of_a_part_of_the_image_says_nothing_of_the_rest(tmp_path: Path) -> None:
    part = np.zeros((8, 24, 28), np.uint8)
    part[3:5, 5:9, 5:9] = 1
    write_labels(tmp_path / "s.nii.gz", part, grid(part.shape, at=(6, 0, 0)))
    expected = np.full(SHAPE, 2)
    expected[6:14] = part
    np.testing.assert_array_equal(labels_of(tmp_path / "s.nii.gz", ("Label 1",)), expected)


def test_segments_on_another_grid_take_the_nearest_voxel(tmp_path: Path) -> None:
    fine = np.zeros((40, 24, 28), bool)
    fine[10:20, 5:9, 5:9] = True
    write_segments(tmp_path / "s.seg.nrrd", {"a": fine}, grid(fine.shape, (0.5, 1, 1), at=(-0.25, 0, 0)))
    expected = block(np.s_[5:10], np.s_[5:9], np.s_[5:9])
    np.testing.assert_array_equal(labels_of(tmp_path / "s.seg.nrrd", ("a",)), expected)


def test_a_label_map_without_labels_is_all_background(tmp_path: Path) -> None:
    write_labels(tmp_path / "s.nii.gz", np.zeros(SHAPE, np.uint8), grid(SHAPE))
    assert not labels_of(tmp_path / "s.nii.gz", ("Label 1",)).any()
    write_labels(tmp_path / "s.nii.gz", np.zeros(SHAPE, np.uint8), grid(SHAPE, at=(5, 0, 0)))
    with pytest.raises(InputError, match="no label, and it is not on the grid"):
        labels_of(tmp_path / "s.nii.gz", ("Label 1",))


def test_slices_across_the_image_are_known_voxel_by_voxel(tmp_path: Path) -> None:
    oblique = Geometry(SHAPE, rotation(0.3, 0, 0) @ grid(SHAPE).affine)
    write_segments(tmp_path / "s.seg.nrrd", {"a": block(np.s_[6:7], np.s_[2:9], np.s_[4:9])}, oblique)
    support = on_image(read_annotation(case(tmp_path / "s.seg.nrrd", "slices")), IMAGE)
    assert any("no slice is complete" in note for note in support.notes)
    made = training_labels(support, LabelScheme(("a",)))
    assert made.counts[0] == 0
    assert made.counts[1] > 0


def test_two_structures_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.seg.nrrd"
    one, other = (block(np.s_[n : n + 3], np.s_[2:9], np.s_[4:9]) for n in (2, 9))
    first, second = (Structure("a", n, (1, 0, 0), segment_id=f"s{n}") for n in (1, 2))
    write_segmentation(
        path, [StructureMask(first, (0, 0, 0), one), StructureMask(second, (0, 0, 0), other)], grid(SHAPE)
    )
    with pytest.raises(InputError, match="two structures called a"):
        read_annotation(case(path))
