"""A task applied to every item of a sequence: real MRML, real browser, a stand-in segmenter."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.errors import Cancelled, InputError
from scene_sequence import INDEX_VALUES, add_sequence, scrubbing
from scene_stand_in import StandInSegmenter
from task_phantom import make_task

MATRICES = (fx.STRAIGHT, fx.moved(4, 0, 0) @ fx.STRAIGHT, fx.OBLIQUE)


@pytest.fixture
def sequences(scene):
    return scrubbing(scene)


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "two.medmetaseg"
    make_task().write(path)
    return path


def beats():
    """A different part of the phantom in each item; nothing in the last but one."""
    first = fx.phantom()
    nothing = np.zeros_like(first)
    return [first, nothing, np.where(first == fx.KIDNEY, first, 0).astype(np.int16)]


def logic_on(standIn):
    from MedMetaSegLib.scene import SceneLogic

    return SceneLogic(load=lambda device: standIn)


def state(scene):
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


@pytest.mark.parametrize("selected", [0, 2])
@pytest.mark.parametrize("transform", [None, fx._turned, fx.grid], ids=["none", "linear", "bent"])
def test_every_item_gets_its_segmentation_and_scrubbing_shows_it(scene, sequences, task, transform, selected):
    arrays = beats()
    browser, volume = add_sequence(scene, arrays, MATRICES)
    if transform is not None:
        volume.SetAndObserveTransformNodeID(transform(scene).GetID())
    browser.SetSelectedItemNumber(selected)
    before, standIn = state(scene), StandInSegmenter()
    logic = logic_on(standIn)
    node = logic.applyToSequence(task, volume)
    assert browser.GetSelectedItemNumber() == selected
    assert [one.name for one in standIn.volumes] == ["Heart"] * 3
    result = browser.GetSequenceNode(node)
    added = [scene.GetNodeByID(one).GetClassName() for one in state(scene) - before]
    assert sorted(added) == [
        "vtkMRMLSegmentationDisplayNode",
        "vtkMRMLSegmentationNode",
        "vtkMRMLSequenceNode",
    ]
    assert tuple(result.GetNthIndexValue(n) for n in range(result.GetNumberOfDataNodes())) == INDEX_VALUES
    assert (result.GetIndexName(), result.GetIndexUnit()) == ("time", "ms")
    assert [one["index"] for one in logic.lastReport["items"]] == list(INDEX_VALUES)
    assert {tuple(result.GetNthDataNode(n).GetSegmentation().GetSegmentIDs()) for n in range(3)} == {
        tuple(node.GetSegmentation().GetSegmentIDs())
    }
    for number in (selected, 0, 1, 2, 0):
        browser.SetSelectedItemNumber(number)
        (segmentId,) = node.GetSegmentation().GetSegmentIDs()
        expected = (arrays[number] > 0).ravel()
        assert node.GetParentTransformNode() is volume.GetParentTransformNode()
        if not expected.any():
            empty = node.GetSegmentation().GetSegment(segmentId).GetRepresentation("Binary labelmap")
            assert empty is None or empty.IsEmpty() or not at.storedMask(node, segmentId)[0].any()
            continue
        assert at.dice(at.segmentAt(node, segmentId, at.voxelsInWorld(volume)), expected) > 0.99


def test_items_are_read_under_the_transform_of_the_volume(scene, sequences, task):
    _, volume = add_sequence(scene, beats(), MATRICES)
    turned = fx._turned(scene)
    volume.SetAndObserveTransformNodeID(turned.GetID())
    standIn = StandInSegmenter()
    logic_on(standIn).applyToSequence(task, volume)
    matrix = fx.moved(12, -30, 7) @ fx.rotation(25, (0, 1, 2))
    for read, own in zip(standIn.volumes, MATRICES, strict=True):
        np.testing.assert_allclose(read.geometry.affine, matrix @ own, atol=1e-9)


def test_volumes_and_paintings_are_not_changed(scene, sequences, task):
    import slicer.util

    browser, volume = add_sequence(scene, beats(), MATRICES)
    painted = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")
    fx.addSegment(painted, "liver", fx.phantom() == fx.LIVER, fx.STRAIGHT)
    sequence = browser.GetMasterSequenceNode()
    items = [sequence.GetNthDataNode(n) for n in range(3)]
    inside = sequence.GetSequenceScene().GetNumberOfNodes()
    before = fx.snapshot(painted)
    times = [(one.GetMTime(), one.GetImageData().GetMTime()) for one in (volume, *items)]
    logic_on(StandInSegmenter()).applyToSequence(task, volume)
    assert fx.snapshot(painted) == before
    assert [one.GetImageData().GetMTime() for one in (volume, *items)] == [image for _, image in times]
    assert [one.GetMTime() for one in items] == [node for node, _ in times[1:]]
    assert [sequence.GetNthDataNode(n) for n in range(3)] == items
    assert sequence.GetSequenceScene().GetNumberOfNodes() == inside
    for n, array in enumerate(beats()):
        assert np.array_equal(slicer.util.arrayFromVolume(sequence.GetNthDataNode(n)), array)


def test_what_the_user_changed_in_the_shown_nodes_stays(scene, sequences, task):
    import slicer.util

    browser, volume = add_sequence(scene, beats(), MATRICES)
    assert not browser.GetSaveChanges(browser.GetMasterSequenceNode())
    slicer.util.arrayFromVolume(volume)[0, 0, 0] = 77
    slicer.util.arrayFromVolumeModified(volume)
    logic_on(StandInSegmenter()).applyToSequence(task, volume)
    assert slicer.util.arrayFromVolume(volume)[0, 0, 0] == 77


def test_cancelling_in_the_middle_leaves_nothing(scene, sequences, task):
    browser, volume = add_sequence(scene, beats(), MATRICES)
    standIn, before = StandInSegmenter(), state(scene)
    with pytest.raises(Cancelled):
        logic_on(standIn).applyToSequence(task, volume, cancelled=lambda: len(standIn.volumes) == 2)
    assert len(standIn.volumes) == 2
    assert state(scene) == before
    assert browser.GetNumberOfSynchronizedSequenceNodes(True) == 1


def test_a_failure_while_writing_leaves_nothing(scene, sequences, task, monkeypatch):
    from MedMetaSegLib.scene import sequence

    browser, volume = add_sequence(scene, beats(), MATRICES)
    before = state(scene)

    def fail(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr(sequence, "placeBeside", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        logic_on(StandInSegmenter()).applyToSequence(task, volume)
    assert state(scene) == before
    assert browser.GetNumberOfSynchronizedSequenceNodes(True) == 1


def test_nothing_found_anywhere_writes_nothing(scene, sequences, task):
    _, volume = add_sequence(scene, [np.zeros(fx.SHAPE, np.int16)] * 3, MATRICES)
    before = state(scene)
    logic = logic_on(StandInSegmenter())
    assert logic.applyToSequence(task, volume) is None
    assert state(scene) == before
    assert len(logic.lastReport["items"]) == 3


def test_an_item_that_goes_away_meanwhile_is_reported(scene, sequences, task):
    browser, volume = add_sequence(scene, beats(), MATRICES)
    sequence = browser.GetMasterSequenceNode()

    class Removing(StandInSegmenter):
        def apply(self, *arguments, **named):
            if sequence.GetNumberOfDataNodes() == len(INDEX_VALUES):
                sequence.RemoveDataNodeAtValue("125")
            return super().apply(*arguments, **named)

    with pytest.raises(InputError, match="was changed"):
        logic_on(Removing()).applyToSequence(task, volume)


def test_a_volume_of_no_sequence_is_refused(scene, sequences, task):
    add_sequence(scene, beats(), MATRICES)
    with pytest.raises(InputError, match="sequence"):
        logic_on(StandInSegmenter()).applyToSequence(task, fx.addVolume(scene))


def test_the_progress_is_of_the_whole_sequence(scene, sequences, task):
    class Telling(StandInSegmenter):
        def apply(self, task, volume, *, progress=None, cancelled=None, **options):
            progress(0.5, "Segmenting")
            return super().apply(task, volume)

    reported = []
    _, volume = add_sequence(scene, beats(), MATRICES)
    logic_on(Telling()).applyToSequence(task, volume, progress=lambda *step: reported.append(step))
    assert reported == [((n + 0.5) / 3, f"Segmenting, item {n + 1} of 3") for n in range(3)]
