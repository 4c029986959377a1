"""Slicer's .seg.nrrd: names, colours, terminology and overlapping layers, there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicerio

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import Geometry, Volume, write_labels
from MedMetaSegLib.support.seg_nrrd import is_segmentation_file, read_segmentation, write_segmentation
from MedMetaSegLib.support.structure import StructureMask
from MedMetaSegLib.support.support import Structure, Support
from support_phantom import ball, grid, on_slices

TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^24028007^Right~Anatomic codes - DICOM master list~^^~^^"
)
LIVER = Structure("liver", 4, (0.867, 0.51, 0.396), segment_id="Segment_1")
KIDNEY = Structure("right kidney", 9, (0.725, 0.4, 0.325), TERMINOLOGY, "kidney-r")
SHAPE = (20, 24, 28)


@pytest.fixture
def geometry(oblique_affine: np.ndarray) -> Geometry:
    """A left-handed oblique grid."""
    return Geometry(SHAPE, oblique_affine @ np.diag([1, -1, 1, 1]))


def placed(structures: list[Structure], masks: list[np.ndarray]) -> list[StructureMask]:
    return [StructureMask(one, (0, 0, 0), mask) for one, mask in zip(structures, masks, strict=True)]


def overlapping_masks() -> list[np.ndarray]:
    return [ball(radius=6, centre=(9, 12, 10)), ball(radius=6, centre=(9, 12, 17))]


def test_names_colours_terminology_and_layers_survive_a_round_trip(
    geometry: Geometry, tmp_path: Path
) -> None:
    path = tmp_path / "out.seg.nrrd"
    masks = overlapping_masks()
    write_segmentation(path, placed([LIVER, KIDNEY], masks), geometry)
    support = Support.read(path, annotation="complete")
    assert [one.structure for one in support.structures] == [LIVER, KIDNEY]
    assert support.overlapping
    assert support.geometry.same_grid(geometry)
    for one, mask in zip(support.structures, masks, strict=True):
        array = np.zeros(SHAPE, bool)
        array[one.region] = one.mask
        np.testing.assert_array_equal(array, mask)
    assert [one.name for one in tmp_path.iterdir()] == ["out.seg.nrrd"]


def test_masks_that_share_no_voxel_are_written_as_one_layer(geometry: Geometry, tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[on_slices(ball(), [5, 9])] = 4
    labels[0:3, 0:3, 0:3] = 300
    far = Structure("far", 300, (0.0, 0.0, 1.0))
    masks = placed([LIVER, far], [labels == 4, labels == 300])
    write_segmentation(tmp_path / "x.seg.nrrd", masks, geometry)
    content = slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))
    assert content["voxels"].ndim == 3
    assert content["segments"][1]["extent"] == [0, 2, 0, 2, 0, 2]
    support = Support.read(tmp_path / "x.seg.nrrd")
    np.testing.assert_array_equal(support.labels(), labels)
    assert not support.overlapping
    assert support.structures[0].slices == (5, 9)


def test_a_cropped_mask_is_written_at_its_offset(geometry: Geometry, tmp_path: Path) -> None:
    write_segmentation(
        tmp_path / "x.seg.nrrd", [StructureMask(LIVER, (6, 7, 8), np.ones((3, 4, 5), bool))], geometry
    )
    (painted,) = Support.read(tmp_path / "x.seg.nrrd", annotation="complete").structures
    assert (painted.offset, painted.mask.shape, painted.voxels) == ((6, 7, 8), (3, 4, 5), 60)


def test_label_values_shared_by_layers_are_numbered_anew(geometry: Geometry, tmp_path: Path) -> None:
    first, second = overlapping_masks()
    document = slicerio.segmentation.create_segmentation(
        SHAPE[::-1], np.diag([-1, -1, 1, 1]) @ geometry.affine
    )
    for name, mask in (("a", first), ("b", second)):
        slicerio.segmentation.add_segment(document, mask.T, {"id": name, "name": name})
    assert [one["labelValue"] for one in document["segments"]] == [1, 1]
    slicerio.write_segmentation(str(tmp_path / "x.seg.nrrd"), document)
    support = Support.read(tmp_path / "x.seg.nrrd", annotation="complete")
    assert [(one.structure.name, one.structure.label, one.voxels) for one in support.structures] == [
        ("a", 1, first.sum()),
        ("b", 2, second.sum()),
    ]
    assert support.geometry.same_grid(geometry)


def test_what_slicerio_reads_is_what_was_written(geometry: Geometry, tmp_path: Path) -> None:
    masks = overlapping_masks()
    write_segmentation(tmp_path / "x.seg.nrrd", placed([LIVER, KIDNEY], masks), geometry)
    content = slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))
    assert content["segments"][1]["terminology"]["type"] == ["SCT", "64033007", "Kidney"]
    assert [one["color"] for one in content["segments"]] == [list(LIVER.color), list(KIDNEY.color)]
    for mask, name in zip(masks, ("liver", "right kidney"), strict=True):
        np.testing.assert_array_equal(slicerio.segmentation.segment_mask(content, name), mask.T)


def test_a_segment_tagged_background_is_what_is_not(geometry: Geometry, tmp_path: Path) -> None:
    document = slicerio.segmentation.create_segmentation(
        SHAPE[::-1], np.diag([-1, -1, 1, 1]) @ geometry.affine
    )
    stroke, outside = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    stroke[5, 3, 2:20], outside[9, 9, 2:24] = True, True
    slicerio.segmentation.add_segment(document, stroke.T, {"id": "a", "name": "lesion"})
    slicerio.segmentation.add_segment(
        document, outside.T, {"id": "b", "name": "rest", "tags": {"Role": "background"}}
    )
    slicerio.write_segmentation(str(tmp_path / "x.seg.nrrd"), document)
    support = Support.read(tmp_path / "x.seg.nrrd", annotation="scribbles")
    assert [one.structure.name for one in support.structures] == ["lesion"]
    assert support.background is not None
    assert support.background.structure.name == "rest"
    assert len(Support.read(tmp_path / "x.seg.nrrd", annotation="complete").structures) == 2


def test_an_empty_segment_is_skipped_and_named(geometry: Geometry, tmp_path: Path) -> None:
    masks = placed([LIVER, KIDNEY], [ball(), np.zeros(SHAPE, bool)])
    write_segmentation(tmp_path / "x.seg.nrrd", masks, geometry)
    support = Support.read(tmp_path / "x.seg.nrrd", annotation="complete")
    assert support.skipped == (("right kidney", "it has 0 voxels, at least 10 are needed"),)


def test_a_segmentation_is_known_by_its_content(patient: Volume, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "x.seg.nrrd", placed([LIVER], [ball()]), grid(SHAPE))
    (tmp_path / "x.seg.nrrd").rename(tmp_path / "x.nrrd")
    assert is_segmentation_file(tmp_path / "x.nrrd")
    assert Support.read(tmp_path / "x.nrrd").structures[0].structure.name == "liver"
    labels = (patient.array > 500).astype(np.uint8)
    write_labels(tmp_path / "plain.nrrd", labels, patient.geometry)
    assert not is_segmentation_file(tmp_path / "plain.nrrd")
    (tmp_path / "plain.nrrd").rename(tmp_path / "plain.seg.nrrd")
    np.testing.assert_array_equal(
        Support.read(tmp_path / "plain.seg.nrrd", annotation="complete").labels(), labels
    )


@pytest.mark.parametrize("kept", [0.6, 0.9, 0.98])
def test_a_truncated_segmentation_is_refused(
    geometry: Geometry, tmp_path: Path, kept: float, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / "x.seg.nrrd"
    noise = np.random.default_rng(0).random(SHAPE) > 0.5
    write_segmentation(path, placed([LIVER], [noise]), geometry)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(InputError, match="truncated or damaged") as caught:
        Support.read(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_file_that_is_no_segmentation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.seg.nrrd").write_text("NRRD0004\ntype: unsigned char\n")
    with pytest.raises(InputError, match="damaged or no segmentation"):
        read_segmentation(tmp_path / "x.seg.nrrd")
    with pytest.raises(InputError, match="There is no file"):
        read_segmentation(tmp_path / "none.seg.nrrd")


def test_a_place_that_cannot_be_written_is_named(geometry: Geometry, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        write_segmentation(tmp_path / "none" / "x.seg.nrrd", placed([LIVER], [ball()]), geometry)
    with pytest.raises(InputError, match=r"use \.seg\.nrrd"):
        write_segmentation(tmp_path / "x.nii.gz", placed([LIVER], [ball()]), geometry)
    assert not list(tmp_path.iterdir())


def test_slicer_reads_what_was_written(geometry: Geometry, tmp_path: Path) -> None:
    slicer_core = pytest.importorskip("slicer", reason="slicer-core is not installed")
    node = slicer_core.vtkMRMLSegmentationNode()
    masks = overlapping_masks()
    write_segmentation(tmp_path / "x.seg.nrrd", placed([LIVER, KIDNEY], masks), geometry)
    scene = slicer_core.vtkMRMLScene()
    scene.AddNode(node)
    storage = slicer_core.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "x.seg.nrrd"))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 2
    kidney = segmentation.GetSegment("kidney-r")
    assert kidney.GetName() == "right kidney"
    np.testing.assert_allclose(kidney.GetColor(), KIDNEY.color)
    text = slicer_core.vtkSegment.GetTerminologyEntryTagName() if hasattr(slicer_core, "vtkSegment") else ""
    if text:
        import vtk

        found = vtk.reference("")
        assert kidney.GetTag(text, found)
        assert str(found) == TERMINOLOGY


@pytest.mark.parametrize("name", ["肝臓 é", "Niere ß 🫀", "a\nb", "tab\there", "back\\slash\\n", "a|b~c\"d'"])
def test_a_name_of_any_characters_comes_back_to_us_and_to_teem(
    geometry: Geometry, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "x.seg.nrrd"
    write_segmentation(path, placed([Structure(name, 1, (1.0, 0.0, 0.0))], [ball()]), geometry)
    assert read_segmentation(path).masks[0].structure.name == name
    # ITK reads NRRD with Teem, as Slicer does.
    assert sitk.ReadImage(str(path)).GetMetaData("Segment0_Name") == name


def test_segments_of_one_identity_are_written_with_two(geometry: Geometry, tmp_path: Path) -> None:
    structures = [Structure(name, n, (1.0, 0.0, 0.0), segment_id="S") for n, name in ((1, "a"), (2, "b"))]
    write_segmentation(tmp_path / "x.seg.nrrd", placed(structures, overlapping_masks()), geometry)
    masks = read_segmentation(tmp_path / "x.seg.nrrd").masks
    assert [one.structure.segment_id for one in masks] == ["S", "S_2"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"LabelValue:=4", b"LabelValue:=0", "the value 0"),
        (b"MasterRepresentation:=Binary", b"MasterRepresentation:=Fractional", "a fractional segmentation"),
    ],
)
def test_what_would_be_misread_is_refused(
    geometry: Geometry, tmp_path: Path, old: bytes, new: bytes, says: str
) -> None:
    path = tmp_path / "x.seg.nrrd"
    write_segmentation(path, placed([LIVER], [ball()]), geometry)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match=says):
        read_segmentation(path)
