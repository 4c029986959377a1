"""A segmentation is brought to its image's voxels exactly, or refused in one sentence."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from affines import rotation
from dicom_frames import along_z, write_seg
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.geometry import AxisMap, Geometry
from MedMetaSegLib.imageio.volume import Volume, to_sitk, write_labels
from MedMetaSegLib.measurements.segmented import Segmented, read_segmented
from MedMetaSegLib.support.seg_nrrd import write_segmentation
from MedMetaSegLib.support.structure import Structure, StructureMask, tight

SHAPE = (6, 8, 10)
OBLIQUE = Geometry(SHAPE, rotation(0.3, -0.2, 0.5) @ np.diag([0.7, 0.9, 2.5, 1.0]))
COLOR = (1.0, 0.0, 0.0)
STORAGES = list(product(permutations(range(3)), product((False, True), repeat=3)))


def volume(geometry: Geometry = OBLIQUE) -> Volume:
    return Volume(np.zeros(geometry.shape, np.int16), geometry)


def painted() -> np.ndarray:
    """A block of label 2 that no flip or permutation maps to itself, and one voxel of label 7."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:7, 1:4] = 2
    labels[4, 1, 8] = 7
    return labels


def whole(segmented: Segmented, number: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    full = np.zeros(shape, bool)
    one = segmented.masks[number]
    full[one.region] = one.mask
    return full


def check_same(segmented: Segmented, labels: np.ndarray) -> None:
    assert [one.structure.label for one in segmented.masks] == [2, 7]
    for number, value in enumerate((2, 7)):
        np.testing.assert_array_equal(whole(segmented, number), labels == value)


def stored(labels: np.ndarray, geometry: Geometry, order: tuple[int, ...], flips: tuple[bool, ...]):
    """The same voxels with their axes in another order and direction, and the grid they then have."""
    axis_map = AxisMap(labels.shape, order, flips)
    affine = geometry.affine.copy()
    first = [0.0, 0.0, 0.0]
    for target, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        step = geometry.affine[:3, 2 - axis]
        affine[:3, 2 - target] = -step if flip else step
        first[axis] = labels.shape[axis] - 1 if flip else 0
    affine[:3, 3] = geometry.index_to_world(np.array([first]))[0]
    array = np.ascontiguousarray(axis_map.apply(labels))
    return array, Geometry(array.shape, affine)


@pytest.mark.parametrize(("order", "flips"), STORAGES)
def test_the_same_grid_stored_otherwise_is_the_same_voxels(tmp_path: Path, order, flips) -> None:
    labels, geometry = stored(painted(), OBLIQUE, order, flips)
    write_labels(tmp_path / "seg.nrrd", labels, geometry)
    check_same(read_segmented(tmp_path / "seg.nrrd", volume()), painted())


@pytest.mark.parametrize("name", ["seg.nii.gz", "seg.mha", "seg.nrrd"])
def test_a_cropped_label_map_lies_where_it_was_cut_out(tmp_path: Path, name: str) -> None:
    cut = (slice(1, 5), slice(1, 7), slice(1, 9))
    write_labels(tmp_path / name, painted()[cut], OBLIQUE.cropped((1, 1, 1), (4, 6, 8)))
    found = read_segmented(tmp_path / name, volume())
    check_same(found, painted())
    assert [one.structure.name for one in found.masks] == ["Label 2", "Label 7"]
    (note,) = found.notes
    assert note.startswith("The segmentation has 8 x 6 x 4 voxels, and the image 10 x 8 x 6")


def test_every_segment_is_there_with_one_voxel_and_with_none(tmp_path: Path) -> None:
    masks = [
        StructureMask(Structure("liver", 1, COLOR), *tight(painted() == 2, (0, 0, 0))),
        StructureMask(Structure("dot", 2, COLOR), *tight(painted() == 7, (0, 0, 0))),
        StructureMask(Structure("nothing", 3, COLOR), (0, 0, 0), np.zeros((0, 0, 0), bool)),
    ]
    write_segmentation(tmp_path / "three.seg.nrrd", masks, OBLIQUE)
    found = read_segmented(tmp_path / "three.seg.nrrd", volume())
    assert [(one.structure.name, one.voxels) for one in found.masks] == [
        ("liver", 30),
        ("dot", 1),
        ("nothing", 0),
    ]
    np.testing.assert_array_equal(whole(found, 0), painted() == 2)


def test_a_segmentation_cropped_as_slicer_saves_it_lies_where_it_was_cut_out(tmp_path: Path) -> None:
    """Slicer stores the extent that holds the segments only."""
    cut = painted()[1:5, 1:7, 1:9]
    masks = [StructureMask(Structure(str(n), n, COLOR), *tight(cut == n, (0, 0, 0))) for n in (2, 7)]
    write_segmentation(tmp_path / "cut.seg.nrrd", masks, OBLIQUE.cropped((1, 1, 1), cut.shape))
    found = read_segmented(tmp_path / "cut.seg.nrrd", volume())
    check_same(found, painted())
    assert [one.structure.name for one in found.masks] == ["2", "7"]


def test_overlapping_segments_keep_all_their_voxels(tmp_path: Path) -> None:
    inner = np.zeros(SHAPE, bool)
    inner[2, 3:5, 2] = True
    masks = [
        StructureMask(Structure("organ", 1, COLOR), (0, 0, 0), painted() == 2),
        StructureMask(Structure("lesion", 2, COLOR), (0, 0, 0), inner),
    ]
    write_segmentation(tmp_path / "two.seg.nrrd", masks, OBLIQUE)
    assert [one.voxels for one in read_segmented(tmp_path / "two.seg.nrrd", volume()).masks] == [30, 2]


def test_a_dicom_seg_of_some_slices_lies_on_these(tmp_path: Path) -> None:
    mask = np.zeros((7, 5), bool)
    mask[1:4, 2:4] = True
    frames = [(1, along_z([height])[0], mask) for height in (3.0, 6.0)]
    path = write_seg(tmp_path / "seg.dcm", frames, {1: {"SegmentLabel": "Liver"}})
    x, y, _ = along_z([0.0])[0]
    # The file's LPS as RAS; its pixels are 0.7 x 0.8 mm.
    affine = np.diag([-0.7, -0.8, 3.0, 1.0])
    affine[:3, 3] = -x, -y, -3.0
    found = read_segmented(path, volume(Geometry((5, 7, 5), affine)))
    wanted = np.zeros((5, 7, 5), bool)
    wanted[2:4] = mask
    np.testing.assert_array_equal(whole(found, 0, (5, 7, 5)), wanted)
    assert found.masks[0].structure.name == "Liver"


def scaled(factor: float) -> Geometry:
    affine = OBLIQUE.affine.copy()
    affine[:3, :3] *= factor
    return Geometry(SHAPE, affine)


def shifted(voxels: float) -> Geometry:
    return OBLIQUE.cropped((0, 0, voxels), SHAPE)


@pytest.mark.parametrize(
    ("geometry", "shape", "said"),
    [
        (scaled(1.5), SHAPE, "as many voxels as the image but another spacing"),
        (scaled(1.5).cropped((0, 0, 0), (5, 6, 7)), (5, 6, 7), "another spacing"),
        (Geometry((5, 6, 7), rotation(0, 0, 0.2) @ OBLIQUE.affine), (5, 6, 7), "axes in other directions"),
        (OBLIQUE.cropped((0, 0, 0.5), (5, 6, 7)), (5, 6, 7), "beside those of the image"),
        (OBLIQUE.cropped((-4, 0, 0), (5, 6, 7)), (5, 6, 7), "reaches outside the image"),
        (shifted(0.6), SHAPE, "another position"),
    ],
)
def test_voxels_that_are_none_of_the_image_are_refused(tmp_path: Path, geometry, shape, said: str) -> None:
    labels = np.zeros(shape, np.uint8)
    labels[1:4, 2:4, 2:4] = 1
    write_labels(tmp_path / "seg.nrrd", labels, geometry)
    with pytest.raises(InputError, match=said) as refused:
        read_segmented(tmp_path / "seg.nrrd", volume())
    assert "give the image that was segmented" in str(refused.value).casefold()


def test_one_slice_of_unknown_thickness_lies_on_its_slice(tmp_path: Path) -> None:
    """The distance to a slice that is not there says nothing: a DICOM SEG of one frame may have any."""
    thick = OBLIQUE.affine.copy()
    thick[:3, 2] *= 1.7
    thick[:3, 3] = OBLIQUE.index_to_world(np.array([[4, 0, 0]]))[0]
    write_labels(tmp_path / "seg.nrrd", painted()[4:5], Geometry((1, *SHAPE[1:]), thick))
    found = read_segmented(tmp_path / "seg.nrrd", volume())
    wanted = painted() == 7
    np.testing.assert_array_equal(whole(found, 0), wanted)


def test_rounded_headers_are_no_other_grid(tmp_path: Path) -> None:
    affine = OBLIQUE.affine.astype(np.float32).astype(float)
    affine[:3, 3] += 0.01
    write_labels(tmp_path / "seg.nrrd", painted(), Geometry(SHAPE, affine))
    check_same(read_segmented(tmp_path / "seg.nrrd", volume()), painted())


def test_as_many_voxels_a_few_voxels_away_come_with_a_note(tmp_path: Path) -> None:
    write_labels(tmp_path / "seg.nrrd", painted(), shifted(1))
    found = read_segmented(tmp_path / "seg.nrrd", volume())
    assert len(found.notes) == 1
    assert "The segmentation has as many voxels" in found.notes[0]


def test_a_header_that_says_two_places_is_settled_with_a_note(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape(SHAPE[::-1])
    header.set_data_dtype(np.uint8)
    header.set_zooms((0.7, 0.9, 2.5))
    header.set_qform(np.diag([0.7, 0.9, 2.5, 1]), 1)
    away = np.diag([0.7, 0.9, 2.5, 1.0])
    away[:3, 3] = 33.3
    header.set_sform(away, 2)
    nibabel.Nifti1Image(painted().T, None, header).to_filename(tmp_path / "seg.nii.gz")
    found = read_segmented(tmp_path / "seg.nii.gz", volume(Geometry(SHAPE, np.diag([0.7, 0.9, 2.5, 1]))))
    check_same(found, painted())
    assert len(found.notes) == 1
    assert "the segmentation lies on the image's voxels by the qform" in found.notes[0]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full(SHAPE, -1, np.int16), "The segmentation has negative values"),
        (np.full(SHAPE, 0.5, np.float32), "The segmentation has values that are not whole"),
        (np.arange(480, dtype=np.uint16).reshape(SHAPE), "The segmentation has 479 structures"),
    ],
)
def test_what_is_no_segmentation_is_refused(tmp_path: Path, array: np.ndarray, said: str) -> None:
    sitk.WriteImage(to_sitk(array, OBLIQUE), str(tmp_path / "seg.nrrd"))
    with pytest.raises(InputError, match=said):
        read_segmented(tmp_path / "seg.nrrd", volume())


def test_a_label_map_without_labels_is_refused_unless_nothing_may_be_found(tmp_path: Path) -> None:
    write_labels(tmp_path / "seg.nrrd", np.zeros(SHAPE, np.uint8), OBLIQUE)
    with pytest.raises(InputError, match="no segment and no label; there is nothing to measure"):
        read_segmented(tmp_path / "seg.nrrd", volume())
    found = read_segmented(tmp_path / "seg.nrrd", volume(), may_be_empty=True)
    assert (found.masks, found.notes) == ((), ())


def test_a_sequence_is_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.zeros((10, 8, 6, 3), np.uint8), np.eye(4)).to_filename(tmp_path / "seg.nii.gz")
    with pytest.raises(InputError, match="has 3 frames; give a label map of one"):
        read_segmented(tmp_path / "seg.nii.gz", volume())
