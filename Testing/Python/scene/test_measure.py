"""Segments of a scene measured: places, transforms and refusals on real MRML, and whether figures are old."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from measured_scene import centre, matrix_of, under, whole
from MedMetaSegLib.errors import InputError

FLAT = [one for one in fx.PLACEMENTS if not one.bent and "under" not in one.name]
STRETCH = np.diag([2.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("placement", FLAT, ids=[one.name for one in FLAT])
def test_segments_are_measured_where_they_are_in_one_shared_labelmap(scene, placement, measure_scene):
    volumeNode, node = placement.build(scene)
    before = fx.snapshot(node)
    liver, kidney = measure_scene(volumeNode, node).measurements.structures
    drawn = np.zeros(fx.SHAPE, bool)
    drawn[2::4] = True
    for one, value in ((liver, fx.LIVER), (kidney, fx.KIDNEY)):
        voxels = (fx.phantom() == value) & drawn
        assert one.voxel_count == np.count_nonzero(voxels)
        there = np.append(np.argwhere(voxels)[:, ::-1].mean(axis=0), 1)
        assert one.centroid_ras == pytest.approx((placement.ijkToRas @ there)[:3])
        assert (one.intensity.min, one.intensity.max) == (value, value)
    assert fx.snapshot(node) == before


def test_what_has_no_voxels_is_there_with_zeros(scene, measure_scene):
    empty = measure_scene(*whole(scene)).measurements.structures[2]
    assert (empty.name, empty.voxel_count, empty.centroid_ras) == ("nothing", 0, None)


def test_a_shared_transform_is_measured_in_the_world_and_one_that_stretches_makes_longer(
    scene, measure_scene
):
    volumeNode, node = whole(scene)
    plain = measure_scene(volumeNode, node).measurements.structure("liver")
    turn = fx.moved(3, -40, 8) @ fx.rotation(35, (1, 2, 0))
    under(scene, turn, volumeNode, node)
    turned = measure_scene(volumeNode, node).measurements.structure("liver")
    assert turned.volume_cm3 == pytest.approx(plain.volume_cm3)
    assert turned.centroid_ras == pytest.approx(centre(fx.LIVER, turn @ fx.STRAIGHT))
    under(scene, STRETCH, volumeNode, node)
    stretched = measure_scene(volumeNode, node).measurements.structure("liver")
    assert stretched.volume_cm3 == pytest.approx(2 * plain.volume_cm3)
    assert stretched.centroid_ras == pytest.approx(centre(fx.LIVER, STRETCH @ fx.STRAIGHT))
    assert stretched.feret_diameter_mm > plain.feret_diameter_mm


def test_a_segmentation_that_its_own_transform_brings_onto_the_voxels_of_the_volume_is_measured(
    scene, measure_scene
):
    volumeNode, node = whole(scene)
    plain = measure_scene(volumeNode, node).measurements
    way = fx.moved(9, 9, 9) @ fx.rotation(20, (0, 0, 1))
    volumeNode.SetIJKToRASMatrix(matrix_of(way @ fx.STRAIGHT))
    under(scene, way, node)
    moved = measure_scene(volumeNode, node).measurements
    for one, other in zip(plain.structures, moved.structures, strict=True):
        assert (one.voxel_count, one.intensity) == (other.voxel_count, other.intensity)


def test_a_cropped_labelmap_is_measured_where_it_lies(scene, measure_scene):
    volumeNode = fx.addVolume(scene)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Cropped")
    fx.addSegment(node, "box", np.ones((2, 3, 4), bool), fx.STRAIGHT, start=(5, 6, 7))
    (box,) = measure_scene(volumeNode, node).measurements.structures
    assert box.voxel_count == 24
    assert box.centroid_ras == pytest.approx((fx.STRAIGHT @ (8.5, 7, 5.5, 1))[:3])


def test_surfaces_are_measured_on_the_voxels_of_the_volume_and_a_note_says_so(scene, measure_scene):
    volumeNode, node = whole(scene)
    node.GetSegmentation().RemoveSegment("Segment_3")
    voxels = measure_scene(volumeNode, node).measurements
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.RemoveBinaryLabelmapRepresentation()
    measured = measure_scene(volumeNode, node)
    for one, other in zip(voxels.structures, measured.measurements.structures, strict=True):
        assert other.volume_cm3 == pytest.approx(one.volume_cm3, rel=0.1)
    assert "surfaces" in measured.measurements.notes[-1]
    assert measured.isUpToDate()
    node.GetSegmentation().GetSegment("Segment_1").GetRepresentation("Closed surface").Modified()
    assert not measured.isUpToDate()


@pytest.mark.parametrize(
    "matrix", [fx.OBLIQUE, fx.LEFT_HANDED, fx.SAGITTAL], ids=["oblique", "left-handed", "sagittal"]
)
def test_the_scene_and_files_saved_of_it_give_the_same_figures(scene, matrix, measure_scene, tmp_path):
    from MedMetaSegLib.imageio.volume import Volume
    from MedMetaSegLib.measurements.measure import measure
    from MedMetaSegLib.measurements.segmented import read_segmented

    nodes = whole(scene, matrix)
    paths = tmp_path / "ct.nrrd", tmp_path / "organs.seg.nrrd"
    for node, path in zip(nodes, paths, strict=True):
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(path))
        assert node.GetStorageNode().WriteData(node)
    volume = Volume.read(paths[0])
    there = measure(volume, read_segmented(paths[1], volume).masks)
    here = measure_scene(*nodes).measurements
    for one, other in zip(here.structures, there.structures, strict=True):
        assert (one.name, one.voxel_count, one.intensity) == (other.name, other.voxel_count, other.intensity)
        assert one.volume_cm3 == pytest.approx(other.volume_cm3)
        assert one.feret_diameter_mm == pytest.approx(other.feret_diameter_mm)
        for mine, theirs in zip(one.lesions, other.lesions, strict=True):
            assert mine.longest.length_mm == pytest.approx(theirs.longest.length_mm)
            assert mine.perpendicular.length_mm == pytest.approx(theirs.perpendicular.length_mm)
            assert mine.centroid_ras == pytest.approx(theirs.centroid_ras, abs=1e-3)


def shift_segmentation(scene, volumeNode, node):
    under(scene, fx.moved(0.4, 0, 0), node)


def turn_segmentation(scene, volumeNode, node):
    under(scene, fx.rotation(5, (0, 0, 1)), node)


def finer_volume(scene, volumeNode, node):
    volumeNode.SetSpacing(1.0, 1.0, 1.5)


def smaller_volume(scene, volumeNode, node):
    import slicer.util

    slicer.util.updateVolumeFromArray(volumeNode, np.zeros((6, 6, 6), np.int16))


def bend_volume(scene, volumeNode, node):
    volumeNode.SetAndObserveTransformNodeID(fx.thinPlate(scene).GetID())


def bend_segmentation(scene, volumeNode, node):
    node.SetAndObserveTransformNodeID(fx.thinPlate(scene).GetID())


def same_name_twice(scene, volumeNode, node):
    node.GetSegmentation().GetSegment("Segment_2").SetName("liver")


def no_segments(scene, volumeNode, node):
    node.GetSegmentation().RemoveAllSegments()


def no_voxels(scene, volumeNode, node):
    volumeNode.SetAndObserveImageData(None)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (shift_segmentation, "turned or shifted"),
        (turn_segmentation, "turned or shifted"),
        (finer_volume, r"its voxels have 1.5 x 1.25 x 3 mm, those of the volume 1 x 1 x 1.5 mm"),
        (smaller_volume, "has voxels outside the volume"),
        (bend_volume, "'CT' is under a transform that is not linear"),
        (bend_segmentation, "'Organs' is under a transform that is not linear"),
        (same_name_twice, "Several segments of 'Organs' are called 'liver'"),
        (no_segments, "'Organs' has no segments"),
        (no_voxels, "'CT' holds no voxels"),
    ],
)
def test_what_would_be_measured_wrong_is_refused(scene, spoil, sentence, measure_scene):
    volumeNode, node = whole(scene)
    spoil(scene, volumeNode, node)
    with pytest.raises(InputError, match=sentence):
        measure_scene(volumeNode, node)


def test_ids_choose_and_unknown_ones_are_refused(scene, measure_scene):
    volumeNode, node = whole(scene)
    measured = measure_scene(volumeNode, node, segmentIds=["Segment_2"])
    assert [one.name for one in measured.measurements.structures] == ["kidney"]
    assert list(measured.bySegment) == ["Segment_2"]
    with pytest.raises(InputError, match="no segment Segment_9"):
        measure_scene(volumeNode, node, segmentIds=["Segment_9"])


# ---------------------------------------------------------------- up to date or not


def paint(volumeNode, node):
    import slicer.util

    mask = fx.phantom() == fx.LIVER
    mask[0, 0, 0] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, "Segment_1", volumeNode)


def add_segment(volumeNode, node):
    fx.addSegment(node, "new", None, fx.STRAIGHT)


def rename(volumeNode, node):
    node.GetSegmentation().GetSegment("Segment_1").SetName("Liver")


def move_both(volumeNode, node):
    under(node.GetScene(), STRETCH, volumeNode, node)


def change_voxels(volumeNode, node):
    import slicer.util

    slicer.util.arrayFromVolume(volumeNode)[0, 0, 0] = 7
    slicer.util.arrayFromVolumeModified(volumeNode)


def remove_segmentation(volumeNode, node):
    node.GetScene().RemoveNode(node)


@pytest.mark.parametrize(
    "change", [paint, add_segment, rename, move_both, change_voxels, remove_segmentation]
)
def test_what_changes_makes_the_figures_out_of_date(scene, change, measure_scene):
    volumeNode, node = whole(scene)
    measured = measure_scene(volumeNode, node)
    assert measured.isUpToDate()
    change(volumeNode, node)
    assert not measured.isUpToDate()


def test_saving_and_display_do_not_make_the_figures_out_of_date(scene, measure_scene):
    volumeNode, node = whole(scene)
    node.CreateDefaultDisplayNodes()
    measured = measure_scene(volumeNode, node)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    node.GetSegmentation().GetSegment("Segment_1").SetColor(0, 1, 0)
    node.CreateClosedSurfaceRepresentation()
    assert measured.isUpToDate()


def test_a_new_segment_is_no_matter_where_segments_were_chosen(scene, measure_scene):
    volumeNode, node = whole(scene)
    measured = measure_scene(volumeNode, node, segmentIds=["Segment_1"])
    add_segment(volumeNode, node)
    assert measured.isUpToDate()
    node.GetSegmentation().RemoveSegment("Segment_1")
    assert not measured.isUpToDate()
