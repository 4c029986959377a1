"""Diameters of measured lesions as lines in the views."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from measured_scene import matrix_of, under, whole
from MedMetaSegLib.measurements.measurements import MeasureOptions


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
