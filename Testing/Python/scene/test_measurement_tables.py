"""What the logic tells of measured segments, and the table nodes that it makes."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from measured_scene import whole
from MedMetaSegLib.errors import Cancelled, InputError
from processes import printed_by


def logic_of(core):
    from MedMetaSegLib.scene import SceneLogic

    return SceneLogic()


def columns(table):
    """Header and unit of each column."""
    names = [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]
    return {name: (table.GetColumnTitle(name), table.GetColumnUnitLabel(name)) for name in names}


def values(table, name):
    """What is in a column, as text for names and numbers otherwise."""
    array = table.GetTable().GetColumnByName(name)
    if array.IsA("vtkStringArray"):
        return [array.GetValue(row) for row in range(table.GetNumberOfRows())]
    return [array.GetTuple(row) for row in range(table.GetNumberOfRows())]


def test_the_logic_reports_and_makes_tables_with_the_columns_of_segment_statistics(core, scene):
    volumeNode, node = whole(scene)
    logic = logic_of(core)
    report = logic.measure(volumeNode, node, lesions=["kidney"], smallest_mm3=5)
    assert report is logic.lastReport
    assert [one["name"] for one in report["structures"]] == ["liver", "kidney", "nothing"]
    assert report["options"] == {"lesions": ("kidney",), "connectivity": 26, "smallest_mm3": 5}
    assert (report["volume"], report["segmentation"]) == ("CT", "Organs")
    assert (report["table"], report["lesion_table"]) == ("Organs measurements", "Organs lesions")
    table = scene.GetFirstNodeByName("Organs measurements")
    found = columns(table)
    assert found["Volume cm3"] == ("Volume [cm3]", "cm3")
    assert found["Surface mm2"] == ("Surface area [mm2]", "mm2")
    assert {"Segment", "Voxel count", "Feret diameter mm", "Centroid", "Mean", "Median", "Minimum"} < set(
        found
    )
    assert {"Maximum", "Standard deviation", "Percentile 5", "Percentile 95"} < set(found)
    assert values(table, "Segment") == ["liver", "kidney", "nothing"]
    liver, kidney, nothing = report["structures"]
    for name, key in (("Volume cm3", "volume_cm3"), ("Surface mm2", "surface_area_mm2")):
        assert [one for (one,) in values(table, name)] == [one[key] for one in (liver, kidney, nothing)]
    assert values(table, "Centroid")[:2] == [liver["centroid_ras"], kidney["centroid_ras"]]
    assert np.isnan(values(table, "Centroid")[2]).all()
    assert np.isnan(values(table, "Mean")[2]).all()
    lesions = scene.GetFirstNodeByName("Organs lesions")
    (lesion,) = kidney["lesions"]
    assert values(lesions, "Segment") == ["kidney"]
    assert values(lesions, "Nearest segment") == ["liver"]
    for name, expected in (
        ("Lesion", 1),
        ("Volume cm3", kidney["volume_cm3"]),
        ("Longest diameter mm", lesion["longest"]["length_mm"]),
        ("Perpendicular diameter mm", lesion["perpendicular"]["length_mm"]),
        ("Slice", lesion["slice_index"]),
        ("Nearest segment mm", lesion["nearest_mm"]),
    ):
        assert values(lesions, name) == [(expected,)]


def test_measuring_again_fills_the_same_tables_but_not_one_that_was_renamed(core, scene):
    volumeNode, node = whole(scene)
    logic = logic_of(core)
    logic.measure(volumeNode, node)
    logic.measure(volumeNode, node, smallest_mm3=1e6)
    tables = scene.GetNodesByClass("vtkMRMLTableNode")
    tables.UnRegister(None)
    assert tables.GetNumberOfItems() == 2
    assert scene.GetFirstNodeByName("Organs lesions").GetNumberOfRows() == 0
    kept = scene.GetFirstNodeByName("Organs measurements")
    kept.SetName("March")
    node.GetSegmentation().RemoveSegment("Segment_3")
    report = logic.measure(volumeNode, node)
    assert kept.GetNumberOfRows() == 3
    assert scene.GetFirstNodeByName(report["table"]).GetNumberOfRows() == 2


def test_cancelled_or_refused_nothing_is_in_the_scene(core, scene):
    volumeNode, node = whole(scene)
    count, told = scene.GetNumberOfNodes(), []
    with pytest.raises(Cancelled):
        logic_of(core).measure(
            volumeNode,
            node,
            progress=lambda share, what: told.append((share, what)),
            cancelled=lambda: bool(told),
        )
    assert told == [(0, "liver")]
    with pytest.raises(InputError, match="lung"):
        logic_of(core).measure(volumeNode, node, lesions=["lung"])
    with pytest.raises(InputError, match="6, 18 or 26"):
        logic_of(core).measure(volumeNode, node, connectivity=8)
    assert scene.GetNumberOfNodes() == count


def test_measuring_needs_no_torch():
    code = (
        "import sys\n"
        "from MedMetaSegLib.demo.slicer_core import boot\n"
        "scene = boot().scene\n"
        "import numpy as np, slicer, slicer.util\n"
        "import scene_phantom as fx\n"
        "from MedMetaSegLib.scene import SceneLogic\n"
        "node = scene.AddNewNodeByClass('vtkMRMLSegmentationNode', 'Organs')\n"
        "fx.addSegment(node, 'liver', fx.phantom() == fx.LIVER, fx.STRAIGHT)\n"
        "report = SceneLogic().measure(fx.addVolume(scene), node)\n"
        "print(report['structures'][0]['voxel_count'], 'torch' in sys.modules)\n"
    )
    count = np.count_nonzero(fx.phantom() == fx.LIVER)
    assert printed_by(code, "MedMetaSeg", "Testing/Fixtures")[-1] == f"{count} False"
