"""The preview on the harness: real nodes; the real worker unless a name says stand-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scene_phantom as fx
from MedMetaSegLib.demo.phantom import LABEL
from MedMetaSegLib.support.structure import StructureMask
from MedMetaSegLib.worker.exchange import read_in_pieces, save_mask, sent_mask
from MedMetaSegLib.worker.messages import Failed, Preview
from panel_bench import StandInClient, nodes, running, shown, until


def preview_of(bench):
    """The node of the preview, None while there is none."""
    found = [
        bench.scene.GetNthNodeByClass(n, "vtkMRMLSegmentationNode")
        for n in range(bench.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"))
    ]
    return next((node for node in found if node.GetName() == "Phantom (preview)"), None)


def items(scene):
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene).GetNumberOfItems()


def test_a_first_answer_is_shown_goes_with_cancel_and_gives_way_to_the_result(bench):
    panel = bench.panel
    bench.paint("spleen").choose()
    painted, before, items_before = fx.snapshot(bench.paintedNode), nodes(bench.scene), items(bench.scene)
    bench.press()
    kept = until(lambda: preview_of(bench) is not None)
    assert running(panel)
    node = preview_of(bench)
    assert bench.dice(node, "liver") > 0.8
    assert not node.GetSaveWithScene()
    assert panel.parameters.segmentation is bench.paintedNode
    bench.ui.cancelButton.click()
    until(lambda: not running(panel))
    assert nodes(bench.scene) == before
    assert items(bench.scene) == items_before

    # What is kept of the cancelled press may answer before a preview is seen.
    bench.press()
    kept = max(kept, until(lambda: not running(panel)))
    assert preview_of(bench) is None
    assert bench.dice(panel.parameters.output, "liver") > 0.85
    assert items(bench.scene) == items_before + 1
    assert fx.snapshot(bench.paintedNode) == painted
    print(f"the event loop was kept for at most {1000 * kept:.0f} ms")


class StandInThatPreviews(StandInClient):
    """Sends the first mask of what was painted, and no other event until a test gives it one."""

    def __init__(self, truth, folder):
        super().__init__(truth)
        self.folder, self.last = folder, []

    def segment(self, volume, support, device, key, **options):
        super().segment(volume, support, device, key, **options)
        self.last, self.events = self.events, []
        if options["preview"]:
            mask = self.truth == LABEL["liver"]
            structure = support.structures[0].structure
            description = save_mask(self.folder / "preview.npy", StructureMask(structure, (0, 0, 0), mask))
            self.events = [Preview(sent_mask({**description, "shape": mask.shape}))]


@pytest.fixture
def stand_in(bench, tmp_path, monkeypatch):
    from MedMetaSegLib.scene.panel.worker_run import WorkerRun

    client = StandInThatPreviews(bench.truth, tmp_path)
    monkeypatch.setattr(bench.panel, "run", WorkerRun(client, bench.panel.settingsTab.onDeviceFound))
    bench.choose()
    return client


def test_without_the_tick_the_stand_in_is_not_asked_for_a_preview(bench, stand_in):
    assert bench.ui.previewCheck.checked
    bench.ui.previewCheck.click()
    assert not bench.panel.parameters.showPreview
    bench.press()
    stand_in.events = stand_in.last
    until(lambda: not running(bench.panel))
    assert stand_in.sent[0]["preview"] is False
    assert bench.panel.parameters.output is not None


def test_the_preview_of_a_stand_in_gives_way_to_the_result(bench, stand_in):
    before = nodes(bench.scene)
    bench.press()
    until(lambda: preview_of(bench) is not None)
    stand_in.events = stand_in.last
    until(lambda: not running(bench.panel))
    output = bench.panel.parameters.output
    assert preview_of(bench) is None
    assert nodes(bench.scene) - before == {output.GetID(), output.GetDisplayNode().GetID()}


def test_a_stand_in_that_fails_after_its_preview_leaves_nothing(bench, stand_in):
    before = nodes(bench.scene)
    bench.press()
    until(lambda: preview_of(bench) is not None)
    assert bench.dice(preview_of(bench), "liver") == 1
    stand_in.events = [Failed("Memory ran out.")]
    until(lambda: not running(bench.panel))
    assert shown(bench.panel)["error"] == "Memory ran out."
    assert nodes(bench.scene) == before


def test_the_preview_of_a_stand_in_goes_when_the_volume_does(bench, stand_in):
    bench.press()
    until(lambda: preview_of(bench) is not None)
    bench.scene.RemoveNode(bench.volumeNode)
    assert not running(bench.panel)
    assert preview_of(bench) is None


def test_the_preview_of_a_stand_in_goes_with_the_scene(bench, stand_in):
    bench.press()
    until(lambda: preview_of(bench) is not None)
    bench.scene.Clear(0)
    assert not running(bench.panel)
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_preview_that_the_user_removed_stays_away_and_the_stand_in_goes_on(bench, stand_in):
    bench.press()
    until(lambda: preview_of(bench) is not None)
    again = stand_in.folder / "preview.npy"
    mask = bench.truth == LABEL["liver"]
    structure = stand_in.sent[0]["support"].structures[0].structure
    bench.scene.RemoveNode(preview_of(bench))
    assert running(bench.panel)
    description = save_mask(again, StructureMask(structure, (0, 0, 0), mask))
    stand_in.events = [Preview(sent_mask({**description, "shape": mask.shape}))]
    until(lambda: not stand_in.events)
    until(lambda: True)
    assert preview_of(bench) is None
    stand_in.events = stand_in.last
    until(lambda: not running(bench.panel))
    assert bench.dice(bench.panel.parameters.output, "liver") == 1


def test_a_mask_is_read_piece_by_piece(tmp_path, bench, monkeypatch):
    from MedMetaSegLib.worker import exchange

    monkeypatch.setattr(exchange, "MASK_PIECE_BYTES", 1000)
    mask = np.random.default_rng(0).random((7, 30, 31)) > 0.5
    path = Path(tmp_path) / "mask.npy"
    np.save(path, mask)
    out = np.zeros(mask.shape, np.uint8)
    assert len(list(read_in_pieces(path, out))) == 7
    np.testing.assert_array_equal(out, mask)
    with pytest.raises(ValueError, match="no mask of the shape"):
        next(read_in_pieces(path, np.zeros((7, 30, 30), np.uint8)))
