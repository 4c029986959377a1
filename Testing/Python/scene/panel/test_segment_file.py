"""From file: segments of a file become what is painted, in a segmentation of their own."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.demo.phantom import LABEL
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.support.seg_nrrd import write_segmentation
from MedMetaSegLib.support.structure import Structure, StructureMask
from panel_bench import nodes, rows, settle, shown


@pytest.fixture
def choose(monkeypatch):
    """What the user chooses in the dialog."""
    import qt

    def chosen(path):
        monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *_: str(path), raising=False)

    return chosen


def test_a_file_becomes_what_is_painted(bench, choose, tmp_path):
    mask = bench.mask("spleen", range(bench.truth.shape[0]))
    painted = [StructureMask(Structure("spleen", LABEL["spleen"], (1.0, 0.0, 0.0)), (0, 0, 0), mask)]
    write_segmentation(tmp_path / "mine.seg.nrrd", painted, Geometry(mask.shape, np.array(bench.matrix)))
    bench.choose()
    choose(tmp_path / "mine.seg.nrrd")
    bench.ui.segmentFileButton.click()
    settle(bench.panel)
    assert bench.ui.segmentationSelector.currentNode().GetName() == "mine"
    assert [row[0] for row in rows(bench.panel)] == ["spleen"]
    assert shown(bench.panel)["result"] == "spleen from a file, in the new segmentation mine"
    assert list(bench.paintedNode.GetSegmentation().GetSegmentIDs()) == list(bench.ids.values())


def test_a_file_that_is_none_is_one_sentence_and_changes_nothing(bench, choose, tmp_path):
    bench.choose()
    before = nodes(bench.scene)
    (tmp_path / "broken.dcm").write_bytes(b"nothing")
    choose(tmp_path / "broken.dcm")
    bench.ui.segmentFileButton.click()
    assert "broken.dcm" in shown(bench.panel)["error"]
    choose("")
    bench.ui.segmentFileButton.click()
    assert nodes(bench.scene) == before
    assert bench.ui.segmentationSelector.currentNode() is bench.paintedNode


def test_without_a_volume_there_is_nothing_to_read_it_onto(panel):
    assert not panel.ui.segmentFileButton.enabled
