"""From nodes to nodes: what the module's logic does, with a stand-in segmenter unless the name says real."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import types
import unittest
from pathlib import Path

import pytest

import scene_phantom as fx
import scene_positions as at
from batch_stand_in import Elsewhere
from dicom_phantom import write_series
from MedMetaSegLib.errors import Cancelled, InputError
from scene_phantom import everyPlacement
from scene_stand_in import StandInSegmenter
from task_phantom import make_task

MODULE = Path(__file__).parents[3] / "MedMetaSeg" / "MedMetaSeg.py"


def logic_with_stand_in(**named):
    from MedMetaSegLib.scene import SceneLogic

    standIn = StandInSegmenter(**named)
    return SceneLogic(load=lambda device: standIn), standIn


def dice_in_world(node, name, volumeNode, value):
    segmentId = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    found = at.segmentAt(node, segmentId, at.voxelsInWorld(volumeNode))
    return at.dice(found, fx.phantom().ravel() == value)


@everyPlacement
def test_painted_structures_are_segmented_where_they_are(scene, placement):
    volumeNode, paintedNode = placement.build(scene)
    before, modified = fx.snapshot(paintedNode), paintedNode.GetSegmentation().GetMTime()
    logic, _ = logic_with_stand_in()
    node = logic.segment(volumeNode, paintedNode)
    assert node is not paintedNode
    assert dice_in_world(node, "liver", volumeNode, fx.LIVER) >= 0.99
    assert dice_in_world(node, "kidney", volumeNode, fx.KIDNEY) >= 0.99
    assert fx.snapshot(paintedNode) == before
    assert paintedNode.GetSegmentation().GetMTime() == modified


def test_where_the_answer_is_unsure_is_shown_until_the_next_call(scene, composite):
    import slicer.util

    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    view = composite("Red", volumeNode)
    logic, _ = logic_with_stand_in()
    logic.segment(volumeNode, paintedNode, uncertainty=True)
    shown = scene.GetNodeByID(view.GetForegroundVolumeID())
    assert (slicer.util.arrayFromVolume(shown) == 255).all()
    logic.segment(volumeNode, paintedNode)
    assert view.GetForegroundVolumeID() is None
    assert shown.GetScene() is None


@everyPlacement
def test_a_result_added_to_the_painted_node_is_in_place(scene, placement):
    volumeNode, paintedNode = placement.build(scene)
    before = fx.snapshot(paintedNode)
    logic, _ = logic_with_stand_in()
    assert logic.segment(volumeNode, paintedNode, paintedNode) is paintedNode
    assert dice_in_world(paintedNode, "liver 2", volumeNode, fx.LIVER) >= placement.leastDiceElsewhere
    after = fx.snapshot(paintedNode)
    assert {one: after[one] for one in before} == before


def test_pressing_again_reads_what_was_painted_not_the_last_result(scene):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    logic, standIn = logic_with_stand_in()
    for _ in range(2):
        logic.segment(volumeNode, paintedNode, paintedNode)
    assert [len(one.structures) for one in standIn.supports] == [2, 2]
    assert paintedNode.GetSegmentation().GetNumberOfSegments() == 6


def test_the_segmenter_is_loaded_once_for_a_device(scene):
    from MedMetaSegLib.scene import SceneLogic

    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    devices = []
    logic = SceneLogic(load=lambda device: devices.append(device) or StandInSegmenter())
    for device in ("auto", "auto", "cpu"):
        logic.segment(volumeNode, paintedNode, device=device)
    assert devices == ["auto", "cpu"]


def test_the_report_is_kept_and_a_bent_way_is_reported(scene):
    logic, _ = logic_with_stand_in()
    assert logic.lastReport is None
    logic.segment(*fx.PLACEMENTS[0].build(scene))
    assert [one["name"] for one in logic.lastReport["structures"]] == ["liver", "kidney"]
    assert "notes" not in logic.lastReport
    logic.segment(*next(one for one in fx.PLACEMENTS if one.bent).build(scene))
    assert "not linear" in logic.lastReport["notes"][0]


def test_the_surface_is_made_when_the_painted_one_is_shown(scene):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    logic, _ = logic_with_stand_in()
    node = logic.segment(volumeNode, paintedNode)
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    paintedNode.CreateClosedSurfaceRepresentation()
    node = logic.segment(volumeNode, paintedNode)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_progress_is_passed_on(scene):
    reported = []
    logic, _ = logic_with_stand_in()
    logic.segment(*fx.PLACEMENTS[0].build(scene), progress=lambda part, text: reported.append((part, text)))
    assert reported == [(0.5, "Segmenting")]


@pytest.mark.parametrize(
    "failure", [InputError("not this"), Cancelled("stop"), RuntimeError("out of memory")]
)
def test_a_failure_leaves_the_scene_as_it_was(scene, failure):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    nodes, before = scene.GetNumberOfNodes(), fx.snapshot(paintedNode)
    logic, _ = logic_with_stand_in(failure=failure)
    with pytest.raises(type(failure), match=str(failure)):
        logic.segment(volumeNode, paintedNode)
    assert scene.GetNumberOfNodes() == nodes
    assert fx.snapshot(paintedNode) == before
    assert logic.lastReport is None


def test_cancelling_leaves_the_scene_as_it_was(scene):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    nodes = scene.GetNumberOfNodes()
    logic, _ = logic_with_stand_in()
    with pytest.raises(Cancelled):
        logic.segment(volumeNode, paintedNode, cancelled=lambda: True)
    assert scene.GetNumberOfNodes() == nodes


def test_a_volume_removed_meanwhile_is_reported(scene):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    logic, _ = logic_with_stand_in()
    with pytest.raises(InputError, match="removed"):
        logic.segment(volumeNode, paintedNode, progress=lambda *_: scene.RemoveNode(volumeNode))


@pytest.mark.parametrize(
    ("package", "advice"),
    [("torch", "PyTorch extension"), ("monai", "Install or repair"), ("slicerio", "Install or repair")],
)
def test_a_missing_package_is_named(monkeypatch, package, advice):
    from MedMetaSegLib.scene.logic import loadSegmenter

    class WithoutIt:
        """Stands in for a Python without the package."""

        def find_spec(self, name, path=None, target=None):
            if name == "MedMetaSegLib.segmenter":
                raise ModuleNotFoundError(f"No module named '{package}'", name=package)

    monkeypatch.delitem(sys.modules, "MedMetaSegLib.segmenter", raising=False)
    monkeypatch.setattr(sys, "meta_path", [WithoutIt(), *sys.meta_path])
    with pytest.raises(InputError, match=advice):
        loadSegmenter("auto")


def test_an_output_that_cannot_take_the_result_is_refused_before_the_work(scene):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    logic, standIn = logic_with_stand_in()
    with pytest.raises(InputError, match="no segmentation"):
        logic.segment(volumeNode, paintedNode, volumeNode)
    assert standIn.volumes == []


@pytest.fixture
def module_on_stand_in_bases(core, monkeypatch):
    """MedMetaSeg.py itself; the application's base classes and translation are stood in for."""
    import slicer

    bases = types.ModuleType("slicer.ScriptedLoadableModule")
    for name in ("", "Widget", "Logic"):
        name = f"ScriptedLoadableModule{name}"
        setattr(bases, name, type(name, (), {"__init__": lambda self, parent=None: None}))
    bases.ScriptedLoadableModuleTest = type("ScriptedLoadableModuleTest", (unittest.TestCase,), {})
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    for stood in (bases, i18n):
        monkeypatch.setitem(sys.modules, stood.__name__, stood)
        monkeypatch.setattr(slicer, stood.__name__.rpartition(".")[2], stood, raising=False)
    spec = importlib.util.spec_from_file_location("MedMetaSeg", MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_module_logic_segments_and_reports(scene, module_on_stand_in_bases):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    sceneLogic, _ = logic_with_stand_in()
    logic = module_on_stand_in_bases.MedMetaSegLogic(sceneLogic)
    assert logic.lastReport is None
    node = logic.segment(volumeNode, paintedNode, segmentIds=["Segment_1"])
    assert dice_in_world(node, "liver", volumeNode, fx.LIVER) >= 0.99
    assert len(logic.lastReport["structures"]) == 1


def test_the_module_says_what_it_is(module_on_stand_in_bases, monkeypatch):
    import slicer

    parent, connected = types.SimpleNamespace(), []
    application = types.SimpleNamespace(connect=lambda signal, slot: connected.append(signal))
    monkeypatch.setattr(slicer, "app", application, raising=False)
    module_on_stand_in_bases.MedMetaSeg(parent)
    assert parent.title == "MedMetaSeg"
    assert parent.categories == ["Segmentation"]
    assert parent.helpText
    assert connected == ["startupCompleted()"]


@pytest.fixture(scope="module")
def real_untrained(tmp_path_factory):
    """The real segmenter with random weights: only what does not depend on learning can be asked of it."""
    import torch

    from MedMetaSegLib.network.model import FewShotNetwork
    from MedMetaSegLib.network.weights import weights_bytes
    from MedMetaSegLib.segmenter import Segmenter

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on volumes this small, threads that wait for each other cost most of the time
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    path.write_bytes(weights_bytes(FewShotNetwork(), {"steps": 0}))
    yield Segmenter.load("cpu", path)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "name",
    [
        "each under its own rigid transform",
        "stored sagittal",
        "left-handed",
        "volume moved, segmentation bent",
    ],
)
def test_the_real_segmenter_keeps_what_was_drawn_where_it_was_drawn(scene, real_untrained, name):
    from MedMetaSegLib.scene import SceneLogic

    volumeNode, paintedNode = next(one for one in fx.PLACEMENTS if one.name == name).build(scene)
    node = SceneLogic(load=lambda device: real_untrained).segment(volumeNode, paintedNode)
    world = at.voxelsInWorld(volumeNode)
    liver, kidney = (at.segmentAt(paintedNode, one, world) for one in ("Segment_1", "Segment_2"))
    result = at.segmentAt(node, "Segment_1", world)
    assert result[liver].mean() >= 0.99
    assert not result[kidney].any()


def test_the_real_segmenter_takes_a_segmentation_turned_after_painting(scene, real_untrained):
    from MedMetaSegLib.scene import SceneLogic

    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    turn = fx.moved(1, 2, 0) @ fx.rotation(10, (1, 1, 0))
    paintedNode.SetAndObserveTransformNodeID(fx.linear(scene, turn).GetID())
    node = SceneLogic(load=lambda device: real_untrained).segment(volumeNode, paintedNode)
    world = at.voxelsInWorld(volumeNode)
    result, liver = at.segmentAt(node, "Segment_1", world), at.segmentAt(paintedNode, "Segment_1", world)
    assert result[liver].mean() >= 0.99


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("volume under a linear transform", "no transforms"),
        ("segmentation under a linear transform", "no transforms"),
        ("both under one linear transform", "no transforms"),
        ("each under its own rigid transform", "oblique"),
        ("oblique", "no transforms"),
    ],
)
def test_the_shipped_network_answers_alike_under_transforms(scene, name, reference):
    from MedMetaSegLib.scene import SceneLogic
    from MedMetaSegLib.segmenter import Segmenter

    segmenter, found = Segmenter.load("cpu"), []
    for wanted in (name, reference):
        volumeNode, paintedNode = next(one for one in fx.PLACEMENTS if one.name == wanted).build(scene)
        node = SceneLogic(load=lambda device: segmenter).segment(volumeNode, paintedNode)
        world = at.voxelsInWorld(volumeNode)
        found.append([at.segmentAt(node, one, world) for one in ("Segment_1", "Segment_2")])
    for one, other in zip(*found, strict=True):
        assert one.any()
        assert at.dice(one, other) >= 0.99


def test_a_task_is_learned_into_a_file_and_only_what_it_finds_becomes_segments(scene, tmp_path):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    logic, standIn = logic_with_stand_in()
    before = fx.snapshot(paintedNode)
    logic.learn([(volumeNode, paintedNode)], tmp_path / "two.medmetaseg", annotation="complete")
    assert [support.annotation for support in standIn.supports] == ["complete"]
    node = logic.apply(tmp_path / "two.medmetaseg", volumeNode)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    assert segmentation.GetNthSegment(0).GetName() == "Niere rechts"
    assert [one["found"] for one in logic.lastReport["structures"]] == [True, False]
    assert fx.snapshot(paintedNode) == before


def test_choices_of_the_console_reach_the_segmenter(scene, tmp_path):
    volumeNode, paintedNode = fx.PLACEMENTS[0].build(scene)
    make_task().write(tmp_path / "two.medmetaseg")
    logic, standIn = logic_with_stand_in()
    logic.segment(volumeNode, paintedNode, confidence=False)
    logic.apply(tmp_path / "two.medmetaseg", volumeNode, keepDoubtful=False, force=["left kidney"])
    assert standIn.options[0]["confidence"] is False
    usual = {"keep_doubtful": False, "force": ["left kidney"], "confidence": True}
    assert standIn.options[1] == {**usual, "within": None}


def test_a_damaged_task_leaves_the_scene_as_it_was(scene, tmp_path):
    volumeNode, _ = fx.PLACEMENTS[0].build(scene)
    (tmp_path / "bad.medmetaseg").write_bytes(b"no task")
    count = scene.GetNumberOfNodes()
    logic, _ = logic_with_stand_in()
    with pytest.raises(InputError, match="damaged"):
        logic.apply(tmp_path / "bad.medmetaseg", volumeNode)
    assert scene.GetNumberOfNodes() == count


def test_with_a_stand_in_segmenter_a_batch_from_the_console_returns_rows_and_keeps_windows_alive(
    module_on_stand_in_bases,
    elsewhere: Elsewhere,
    monkeypatch,
    capsys,
):
    import slicer

    lived = []
    application = types.SimpleNamespace(processEvents=lambda: lived.append(1))
    monkeypatch.setattr(slicer, "app", application, raising=False)
    elsewhere.images(2)
    (elsewhere.folder / "in" / "broken.nii.gz").write_bytes(b"no image")
    logic = module_on_stand_in_bases.MedMetaSegLogic()
    task, images, out = (str(elsewhere.folder / name) for name in ("two.medmetaseg", "in", "out"))
    rows = logic.batch(task, images, out, report=str(elsewhere.folder / "r.csv"))
    assert [row["status"] for row in rows] == ["failed", "done", "done"]
    assert rows[1]["structures"][0]["millilitres"] == 0.2
    assert len(lived) > 3
    assert "2 of 3: p000, done" in capsys.readouterr().out
    with pytest.raises(InputError, match="already"):
        logic.batch(task, images, out)
    with pytest.raises(Cancelled):
        logic.batch(task, images, out, overwrite=True, cancelled=lambda: True)
    assert len(logic.batch(task, images, out, resume=True)) == 3
    write_series(elsewhere.folder / "dicom", number=3, slices=6)
    series = [sorted((elsewhere.folder / "dicom").iterdir())]
    (row,) = logic.batch(task, (), out, series=series)
    assert (row["status"], row["image"][:7]) == ("done", "series_")


def test_a_batch_from_the_console_that_is_killed_is_one_sentence(
    module_on_stand_in_bases, elsewhere: Elsewhere, monkeypatch
):
    import slicer

    monkeypatch.setattr(slicer, "app", None, raising=False)
    elsewhere.images(3)
    logic = module_on_stand_in_bases.MedMetaSegLogic()
    task, images, out = (str(elsewhere.folder / name) for name in ("two.medmetaseg", "in", "out"))

    def kill(progress):
        if progress.state == "done":
            os.kill(elsewhere.applied[0][1], signal.SIGKILL)

    with pytest.raises(InputError, match=r"ended unexpectedly .* go on with resume"):
        logic.batch(task, images, out, progress=kill)
    assert len(logic.batch(task, images, out, resume=True)) == 3
