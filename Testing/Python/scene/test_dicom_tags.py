"""What Slicer's DICOM export says of segments that this module made: never that they were drawn by hand."""

from __future__ import annotations

import vtk

import scene_phantom as fx
from MedMetaSegLib import __version__
from MedMetaSegLib.support.structure import Structure
from scene_sequence import add_sequence, scrubbing
from scene_stand_in import SegmentedByStandIn, StandInSegmenter
from task_phantom import make_task

NAME = f"MedMetaSeg {__version__}"


def tags(node) -> list[tuple[str, str]]:
    """Type and name of the algorithm of each segment, "" for a tag that it lacks, as the export asks."""
    segmentation, told = node.GetSegmentation(), []
    for segmentId in segmentation.GetSegmentIDs():
        values = []
        for name in ("DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"):
            value = vtk.reference("")
            segmentation.GetSegment(segmentId).GetTag(name, value)
            values.append(str(value))
        told.append((values[0], values[1]))
    return told


def logic():
    from MedMetaSegLib.scene import SceneLogic

    return SceneLogic(load=lambda device: StandInSegmenter())


def task_of(folder):
    make_task().write(folder / "two.medmetaseg")
    return folder / "two.medmetaseg"


def test_what_was_painted_for_is_semiautomatic(scene):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    resultNode = logic().segment(volumeNode, paintedNode)
    assert set(tags(resultNode)) == {("SEMIAUTOMATIC", NAME)}
    assert set(tags(paintedNode)) == {("", "")}


def test_what_a_task_found_is_automatic(scene, tmp_path):
    node = logic().apply(task_of(tmp_path), fx.addVolume(scene))
    assert set(tags(node)) == {("AUTOMATIC", NAME)}


def test_what_a_task_found_in_a_sequence_is_automatic(scene, tmp_path):
    scrubbing(scene)
    _, volumeNode = add_sequence(scene, [fx.phantom()] * 2, [fx.STRAIGHT] * 2, ("0", "1"))
    node = logic().applyToSequence(task_of(tmp_path), volumeNode)
    assert set(tags(node)) == {("AUTOMATIC", NAME)}


def test_an_answer_that_comes_back_has_its_tags(scene):
    from MedMetaSegLib.scene.results import ResultSegments

    volumeNode, results = fx.addVolume(scene), ResultSegments()
    structure, mask = Structure("liver", 1, (1.0, 0.0, 0.0), segment_id="painted"), fx.phantom() == fx.LIVER
    node = results.write([SegmentedByStandIn(structure, (0, 0, 0), mask)], volumeNode)
    results.write([SegmentedByStandIn(structure, (0, 0, 0), fx.phantom() > 0)], volumeNode, node)
    results.undo(node)
    assert tags(node) == [("SEMIAUTOMATIC", NAME)]


def test_a_painted_segment_is_semiautomatic_once_a_result_is_accepted_into_it_and_until_it_is_undone(scene):
    from MedMetaSegLib.scene.accept import Acceptance, resultsFor

    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    resultNode, acceptance = logic().segment(volumeNode, paintedNode), Acceptance()
    ids = list(paintedNode.GetSegmentation().GetSegmentIDs())
    pairs = resultsFor(resultNode, ids)[:1]
    acceptance.accept(resultNode, paintedNode, volumeNode, pairs)
    accepted = ids.index(pairs[0][1])
    wanted = [("SEMIAUTOMATIC", NAME) if n == accepted else ("", "") for n in range(len(ids))]
    assert tags(paintedNode) == wanted
    acceptance.undo()
    assert tags(paintedNode) == [("", "")] * len(ids)
