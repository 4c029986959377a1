"""Segments of a scene measured: places, transforms and refusals on real MRML, and tables and lines of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import scene_phantom as fx
from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.measurements.measurements import MeasureOptions

ROOT = Path(__file__).parents[3]
FLAT = [one for one in fx.PLACEMENTS if not one.bent and "under" not in one.name]
STRETCH = np.diag([2.0, 1.0, 1.0, 1.0])


@pytest.fixture
def measure_scene(core):
    from MedMetaSegLib.scene.measure import measureScene

    return measureScene


def whole(scene, matrix=fx.STRAIGHT):
    """Volume and segmentation with the liver, the kidney and an empty segment on the volume's voxels."""
    volumeNode = fx.addVolume(scene, matrix)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    for name, value in (("liver", fx.LIVER), ("kidney", fx.KIDNEY)):
        fx.addSegment(node, name, fx.phantom() == value, matrix)
    fx.addSegment(node, "nothing", None, matrix)
    return volumeNode, node


def under(scene, matrix, *nodes):
    transform = fx.linear(scene, matrix)
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def centre(value, matrix):
    """The mean position of a structure's voxels, (r, a, s)."""
    return (matrix @ np.append(np.argwhere(fx.phantom() == value)[:, ::-1].mean(axis=0), 1))[:3]


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


def matrix_of(array):
    import slicer.util

    return slicer.util.vtkMatrixFromArray(array)


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


# ---------------------------------------------------------------- the logic, and the tables


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
    search = os.pathsep.join(str(ROOT / one) for one in ("MedMetaSeg", "Testing/Fixtures"))
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=True,
    )
    count = np.count_nonzero(fx.phantom() == fx.LIVER)
    assert shown.stdout.strip().splitlines()[-1] == f"{count} False"


# ---------------------------------------------------------------- diameters in the views


def lines(scene):
    import slicer.util

    return slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")


def ends(line):
    return [line.GetNthControlPointPositionWorld(point) for point in (0, 1)]


@pytest.fixture
def shown_lines(core, scene, measure_scene):
    """Lines of both organs: the lines, what was measured, and the rows."""
    from MedMetaSegLib.scene.diameter_lines import DiameterLines
    from MedMetaSegLib.scene.measurement_tables import lesionRows

    volumeNode, node = whole(scene)
    under(scene, fx.moved(4, 5, 6) @ fx.rotation(15, (0, 0, 1)), volumeNode, node)
    measured = measure_scene(volumeNode, node)
    rows, drawn = lesionRows(measured.measurements), DiameterLines()
    assert drawn.show(measured, rows) == rows
    return drawn, measured, rows


def test_each_lesion_gets_two_lines_between_the_ends_of_its_diameters(scene, shown_lines):
    drawn, _, rows = shown_lines
    found = {line.GetName(): line for line in lines(scene)}
    assert len(found) == 2 * len(rows) == 4
    for structure, lesion in rows:
        for what in ("longest", "perpendicular"):
            line, diameter = found[f"{structure.name} {lesion.number} {what}"], getattr(lesion, what)
            assert np.allclose(ends(line), diameter.ends_ras)
            assert line.GetMeasurement("length").GetValue() == pytest.approx(diameter.length_mm)
            assert line.GetLocked()
    assert drawn.areShown


def test_lines_go_with_the_volume_when_it_is_moved(scene, shown_lines):
    _, measured, rows = shown_lines
    more = fx.moved(10, 0, 0)
    transform = measured.volumeNode.GetParentTransformNode()
    import slicer.util

    now = slicer.util.arrayFromTransformMatrix(transform)
    transform.SetMatrixTransformToParent(matrix_of(more @ now))
    expected = np.array(rows[0][1].longest.ends_ras) + (10, 0, 0)
    assert np.allclose(ends(lines(scene)[0]), expected)


def test_lines_and_their_folder_go_again_also_when_some_were_deleted(scene, shown_lines):
    import slicer

    drawn, _, _ = shown_lines
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemByName("Organs diameters")
    deleted = lines(scene)[0]
    # What Slicer does, where the application hears of a node that goes.
    hierarchy.RemoveItem(hierarchy.GetItemByDataNode(deleted), False)
    scene.RemoveNode(deleted)
    assert len(lines(scene)) == 3
    drawn.remove()
    assert lines(scene) == []
    assert not hierarchy.GetItemByName("Organs diameters")
    assert not drawn.areShown


def test_the_folder_stays_when_somebody_put_something_into_it(scene, shown_lines):
    import slicer

    drawn, measured, _ = shown_lines
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemByName("Organs diameters")
    hierarchy.CreateItem(folder, measured.volumeNode)
    drawn.remove()
    assert measured.volumeNode.GetScene() is scene
    assert hierarchy.GetItemByName("Organs diameters") == folder


def test_of_very_many_lesions_the_largest_are_drawn(scene, measure_scene, monkeypatch):
    from MedMetaSegLib.scene import diameter_lines
    from MedMetaSegLib.scene.measurement_tables import lesionRows

    monkeypatch.setattr(diameter_lines, "MOST_LESIONS", 1)
    measured = measure_scene(*whole(scene), MeasureOptions())
    drawn = diameter_lines.DiameterLines()
    rows = lesionRows(measured.measurements)[::-1]
    assert [structure.name for structure, _ in drawn.show(measured, rows)] == ["liver"]
    assert len(lines(scene)) == 2
