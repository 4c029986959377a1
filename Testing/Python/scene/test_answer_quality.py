"""What a report tells of an answer, in the tags of its segment: written, read and saved."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from MedMetaSegLib.support.structure import Structure
from scene_stand_in import SegmentedByStandIn

REASON = "50 % of it is unsure: between slices | beyond them"


def entry(dice=0.91, low=0.85, high=0.95, place=(1.0, -2.5, 30.0)):
    next_slice = {"plane": "axial", "index": 41, "reason": REASON, "ras_mm": place}
    return {
        "label": 1,
        "predicted_dice": dice,
        "predicted_dice_low": low,
        "predicted_dice_high": high,
        "next_slice": None if place is None else next_slice,
    }


def answered(scene, told, parent=None):
    """(volume, painted node, node with one result), the quality in the result's tags."""
    from MedMetaSegLib.scene.answer_quality import qualityTags, referToPainted
    from MedMetaSegLib.scene.results import ResultSegments
    from MedMetaSegLib.scene.segment_content import contentOf

    volume = fx.addVolume(scene)
    if parent is not None:
        volume.SetAndObserveTransformNodeID(parent.GetID())
    painted = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")
    segmentId = fx.addSegment(painted, "liver", fx.phantom() == fx.LIVER, np.eye(4))
    content = contentOf(painted.GetSegmentation(), [segmentId])[segmentId]
    one = SegmentedByStandIn(
        Structure("liver", 1, (1.0, 0.0, 0.0), segment_id=segmentId), (0, 0, 0), fx.phantom() == fx.LIVER
    )
    tags = {segmentId: qualityTags(told, volume, content)}
    results = ResultSegments()
    node = results.write([one], volume, tags=tags)
    referToPainted(node, painted)
    return volume, painted, node, results


def read(node, painted):
    from MedMetaSegLib.scene.answer_quality import qualities

    return qualities(node, painted)


def test_what_was_told_is_read_back_and_so_is_what_was_painted(scene):
    from MedMetaSegLib.scene.segment_content import contentOf

    _, painted, node, _ = answered(scene, entry())
    ((segmentId, quality),) = read(node, painted).items()
    assert (quality.predicted.dice, quality.predicted.low, quality.predicted.high) == (0.91, 0.85, 0.95)
    found = quality.nextSlice
    assert (found.plane, found.index, found.point, found.reason) == ("axial", 41, (1.0, -2.5, 30.0), REASON)
    assert quality.painted.is_same_as(contentOf(painted.GetSegmentation(), [segmentId])[segmentId])


def test_where_nothing_was_found_that_is_told(scene):
    _, painted, node, _ = answered(scene, entry(None, None, None, place=None))
    (quality,) = read(node, painted).values()
    assert (quality.predicted, quality.nextSlice) == (None, None)


def test_a_report_without_confidence_leaves_no_tags(scene):
    _, painted, node, _ = answered(scene, {"label": 1})
    assert read(node, painted) == {}


def test_results_of_another_segmentation_tell_nothing(scene):
    _, painted, node, _ = answered(scene, entry())
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    fx.addSegment(other, "liver", fx.phantom() == fx.LIVER, np.eye(4))
    assert list(other.GetSegmentation().GetSegmentIDs()) == list(painted.GetSegmentation().GetSegmentIDs())
    assert read(node, other) == {}
    assert read(None, painted) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MedMetaSeg.PredictedDice", "about 0.9"),
        ("MedMetaSeg.PredictedDice", "0.9 0.8"),
        ("MedMetaSeg.PredictedDice", "nan nan nan"),
        ("MedMetaSeg.PaintedContent", "abc 1 2"),
    ],
)
def test_a_tag_that_cannot_be_read_tells_nothing(scene, name, value):
    _, painted, node, _ = answered(scene, entry())
    node.GetSegmentation().GetNthSegment(0).SetTag(name, value)
    assert read(node, painted) == {}


@pytest.mark.parametrize("value", ["oblique 41 1.0 2.0 3.0 why", "axial 41 1.0 2.0", "axial four 1 2 3 why"])
def test_a_next_slice_that_cannot_be_read_is_none(scene, value):
    _, painted, node, _ = answered(scene, entry())
    node.GetSegmentation().GetNthSegment(0).SetTag("MedMetaSeg.NextSlice", value)
    (quality,) = read(node, painted).values()
    assert quality.nextSlice is None
    assert quality.predicted.dice == 0.91


def test_it_comes_back_with_a_saved_scene(scene, tmp_path):
    _, painted, node, _ = answered(scene, entry())
    ((segmentId, before),) = read(node, painted).items()
    names = painted.GetName(), node.GetName()
    path = tmp_path / "scene.mrb"
    assert scene.WriteToMRB(str(path))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(path), True)
    painted, node = (scene.GetFirstNodeByName(name) for name in names)
    after = read(node, painted)[segmentId]
    assert (after.predicted, after.nextSlice) == (before.predicted, before.nextSlice)
    assert after.painted.is_same_as(before.painted)


def test_going_back_brings_the_quality_of_the_answer_before(scene):
    from MedMetaSegLib.scene.answer_quality import qualityTags

    volume, painted, node, results = answered(scene, entry())
    ((segmentId, before),) = read(node, painted).items()
    one = SegmentedByStandIn(
        Structure("liver", 1, (1.0, 0.0, 0.0), segment_id=segmentId), (0, 0, 0), fx.phantom() == fx.KIDNEY
    )
    tags = {segmentId: qualityTags(entry(0.5, 0.4, 0.6, place=None), volume, before.painted)}
    results.write([one], volume, node, tags=tags)
    assert read(node, painted)[segmentId].predicted.dice == 0.5
    results.undo(node)
    assert read(node, painted) == {segmentId: before}


def test_a_point_follows_the_volume_and_its_transforms(scene):
    from MedMetaSegLib.scene.answer_quality import pointInWorld

    transform = fx.linear(scene, fx.moved(10.0, 0.0, 0.0) @ fx.rotation(90, (0, 0, 1)))
    volume, painted, node, _ = answered(scene, entry(place=(1.0, -2.5, 30.0)), transform)
    (quality,) = read(node, painted).values()
    assert pointInWorld(volume, quality.nextSlice.point) == pytest.approx((1.0, -2.5, 30.0))
    matrix = fx.moved(0.0, 0.0, 5.0)
    transform.SetMatrixTransformToParent(_vtk(matrix @ fx.moved(10.0, 0.0, 0.0) @ fx.rotation(90, (0, 0, 1))))
    assert pointInWorld(volume, quality.nextSlice.point) == pytest.approx((1.0, -2.5, 35.0))


def test_a_point_of_a_volume_under_a_bent_transform_is_where_that_puts_it(scene):
    from MedMetaSegLib.scene.answer_quality import pointInWorld
    from scene_positions import toWorld

    volume, painted, node, _ = answered(scene, entry(place=(1.0, -2.5, 30.0)), fx.thinPlate(scene))
    (quality,) = read(node, painted).values()
    expected = toWorld(np.array([[1.0, -2.5, 30.0]]), volume)[0]
    assert pointInWorld(volume, quality.nextSlice.point) == pytest.approx(expected, abs=1e-3)
    assert np.abs(expected - (1.0, -2.5, 30.0)).max() > 0.1


def _vtk(matrix):
    import slicer.util

    return slicer.util.vtkMatrixFromArray(matrix)
