"""Lights and the next slice to paint on the harness: real nodes, and a stand-in of the worker."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
from MedMetaSegLib.demo.phantom import LABEL, painted_slices
from panel_bench import Bench, running, settle, shown, stand_in_worker, until
from slice_nodes import place_of


def told(dice, plane="axial", index=12, ras_mm=(1.0, 2.0, 3.0)):
    """Entries of a report; nothing was found where dice is None."""
    place = {"plane": plane, "index": index, "reason": "the widest gap between slices", "ras_mm": ras_mm}
    return {
        "predicted_dice": dice,
        "predicted_dice_low": None if dice is None else dice - 0.06,
        "predicted_dice_high": None if dice is None else dice + 0.04,
        "next_slice": place,
    }


@pytest.fixture
def press(bench, monkeypatch):
    """Press Segment and be answered with these qualities, by name of the structure."""
    client = stand_in_worker(bench, monkeypatch)

    def pressed(**quality):
        client.quality = quality
        bench.choose().press()
        until(lambda: not running(bench.panel))
        return bench

    return pressed


def lights(bench):
    """Name, colour at the middle of the light ("" for none), text and tooltip of each row."""
    import qt

    table, found = bench.ui.segmentTable, []
    for row in range(table.rowCount):
        item = table.item(row, 3)
        image = item.icon().pixmap(qt.QSize(12, 12)).toImage()
        color = "" if image.isNull() else image.pixelColor(6, 6).name()
        found.append((table.item(row, 0).text(), color, item.text(), item.toolTip()))
    return found


GREEN, AMBER, RED, GREY = "#2e9e44", "#e69f00", "#d0312d", "#9a9a9a"


@pytest.mark.parametrize(
    ("dice", "color", "text"),
    [
        (0.91, GREEN, "0.91"),
        (0.85, GREEN, "0.85"),
        (0.848, GREEN, "0.85"),
        (0.84, AMBER, "0.84"),
        (0.7, AMBER, "0.70"),
        (0.69, RED, "0.69"),
    ],
)
def test_a_light_tells_what_to_expect(press, dice, color, text):
    ((name, *light, tip),) = lights(press(liver=told(dice)))
    assert (name, *light) == ("liver", color, text)
    assert tip == f"About {text}, between {dice - 0.06:.2f} and {dice + 0.04:.2f} (nine times out of ten)."


def test_where_nothing_was_found_the_light_is_red_and_says_what_to_do(press):
    ((_, color, text, tip),) = lights(press(liver=told(None)))
    assert (color, text) == (RED, "none")
    assert "paint one more slice" in tip


def test_without_an_answer_there_is_no_light(bench, press):
    bench.paint("spleen").choose()
    expected = [("liver", "", ""), ("spleen", "", "")]
    assert [one[:3] for one in lights(bench)] == expected
    assert [one[:3] for one in lights(press())] == expected


def test_a_light_goes_out_where_one_paints_and_comes_back_with_undo(bench, press):
    bench.paint("spleen")
    press(liver=told(0.91), spleen=told(0.72))
    bench.paint("liver", painted_slices(bench.truth, LABEL["liver"], 4))
    settle(bench.panel)
    (_, color, text, tip), spleen = lights(bench)
    assert (color, text) == (GREY, "old")
    assert tip == (
        "Painted since: press Update for a new figure. It was: About 0.91, between 0.85 and 0.95 (nine "
        "times out of ten)."
    )
    assert spleen[1:3] == (AMBER, "0.72")
    bench.paint("liver")
    settle(bench.panel)
    assert lights(bench)[0][1:3] == (GREEN, "0.91")


def test_what_is_painted_while_it_runs_makes_the_light_grey(bench, press, monkeypatch):
    press(liver=told(0.5))
    bench.panel.run._client.quality = {"liver": told(0.91)}
    bench.press()
    bench.paint("liver", painted_slices(bench.truth, LABEL["liver"], 4))
    until(lambda: not running(bench.panel))
    assert lights(bench)[0][1:3] == (GREY, "old")


def test_a_new_answer_brings_a_new_light(press):
    press(liver=told(0.5))
    assert lights(press(liver=told(0.91)))[0][1:3] == (GREEN, "0.91")


def test_a_segment_that_is_removed_is_no_trouble_before_the_table_knows(bench, press):
    bench.paint("spleen")
    press(liver=told(0.91), spleen=told(0.72))
    bench.panel.segmentTab._expectations.onPainted()
    bench.paintedNode.GetSegmentation().RemoveSegment(bench.ids["spleen"])
    bench.panel.parameters.untickedSegmentIds = [bench.ids["liver"]]
    assert [one[1] for one in lights(bench)] == [GREEN, ""]
    settle(bench.panel)
    assert [one[0] for one in lights(bench)] == ["liver"]


def test_back_brings_the_light_of_the_answer_before(bench, press):
    press(liver=told(0.5))
    press(liver=told(0.91))
    bench.ui.backButton.click()
    assert lights(bench)[0][1:3] == (RED, "0.50")
    bench.ui.backButton.click()
    assert lights(bench)[0][1:3] == ("", "")


def test_lights_go_with_the_volume_and_with_the_segmentation(bench, press):
    press(liver=told(0.91))
    other = bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    fx.addSegment(other, "liver", bench.mask("liver", [10, 11, 12]), bench.matrix)
    bench.ui.segmentationSelector.setCurrentNode(other)
    settle(bench.panel)
    assert lights(bench)[0][1:3] == ("", "")
    assert not bench.ui.nextSliceButton.enabled
    bench.ui.segmentationSelector.setCurrentNode(bench.paintedNode)
    settle(bench.panel)
    assert lights(bench)[0][1:3] == (GREEN, "0.91")
    bench.ui.volumeSelector.setCurrentNode(fx.addVolume(bench.scene, name="Other"))
    settle(bench.panel)
    assert lights(bench)[0][1:3] == ("", "")


def test_lights_come_back_with_the_scene(bench, press, tmp_path):
    press(liver=told(0.91))
    path = tmp_path / "scene.mrb"
    assert bench.scene.WriteToMRB(str(path))
    bench.scene.Clear(0)
    assert lights(bench) == []
    assert bench.scene.ReadFromMRB(str(path), True)
    settle(bench.panel)
    assert lights(bench)[0][1:3] == (GREEN, "0.91")
    assert bench.ui.nextSliceButton.enabled


# ---------------------------------------------------------------- the next slice


def test_the_button_goes_to_the_slice_of_the_worst_answer(bench, press, slice_view):
    bench.paint("spleen")
    views = {one: slice_view(one) for one in ("axial", "coronal")}
    press(liver=told(0.91), spleen=told(0.72, "coronal", 33, (4.0, 5.0, 6.0)))
    words = "spleen, coronal slice 33: the widest gap between slices"
    assert bench.ui.nextSliceButton.toolTip == words
    assert (bench.ui.nextSliceLabel.text, bench.ui.nextSliceLabel.isHidden()) == (words, False)
    bench.ui.nextSliceButton.click()
    assert np.allclose(place_of(views["coronal"]), (4.0, 5.0, 6.0))
    assert np.allclose(place_of(views["axial"]), 0.0)


def test_the_segment_is_chosen_in_the_editor_of_the_panel(bench, press, slice_view):
    bench.paint("spleen")
    slice_view("axial")
    press(liver=told(0.91), spleen=told(0.72))
    bench.ui.paintHereCheck.click()
    editor = bench.panel.segmentTab._editor._editor
    assert editor.currentSegmentID() == bench.ids["liver"]
    bench.ui.nextSliceButton.click()
    assert editor.currentSegmentID() == bench.ids["spleen"]


def test_an_unticked_segment_and_one_that_was_painted_on_are_passed_over(bench, press):
    import qt

    bench.paint("spleen").paint("left kidney")
    press(**{"liver": told(0.91), "spleen": told(0.8), "left kidney": told(None)})
    assert bench.ui.nextSliceButton.toolTip.startswith("left kidney, ")
    bench.ui.segmentTable.item(2, 0).setCheckState(qt.Qt.Unchecked)
    assert bench.ui.nextSliceButton.toolTip.startswith("spleen, ")
    bench.paint("spleen", painted_slices(bench.truth, LABEL["spleen"], 4))
    settle(bench.panel)
    assert bench.ui.nextSliceButton.toolTip.startswith("liver, ")


def test_without_a_slice_to_go_to_the_button_says_why(bench, press):
    bench.choose()
    assert not bench.ui.nextSliceButton.enabled
    assert bench.ui.nextSliceButton.toolTip.startswith("Press Segment first")
    assert bench.ui.nextSliceLabel.isHidden()
    press(liver={**told(0.91), "next_slice": None})
    assert not bench.ui.nextSliceButton.enabled
    assert bench.ui.nextSliceButton.toolTip.startswith("No slice is known")


def test_a_layout_without_that_plane_is_an_error_in_words(bench, press, slice_view):
    slice_view("coronal")
    press(liver=told(0.91))
    bench.ui.nextSliceButton.click()
    assert shown(bench.panel)["error"] == "No view shows axial slices: choose a layout with one."


# ---------------------------------------------------------------- the legend


def test_the_legend_is_filled_when_it_is_opened(panel, patient, monkeypatch):
    from MedMetaSegLib.confidence.calibration import shipped_calibration

    assert panel.ui.legendBox.collapsed
    panel.ui.legendBox.collapsed = False
    text = panel.ui.legendLabel.text
    assert "It is an estimate, not a measurement" in text
    assert "Green: from 0.85. Amber: from 0.7." in text
    assert "painted slices" in text
    panel.ui.legendBox.collapsed = True
    assert shipped_calibration().made


def test_the_legend_says_on_which_data_it_was_checked():
    from MedMetaSegLib.scene.panel.legend import legendText

    made = {"patients": 214, "collections": ["CT heads", "MR prostates"]}
    text = "It was checked on 214 patients of 2 collections, each left out of the fit in turn: CT heads, MR"
    assert text in legendText(made)
    assert "does not say on which data" in legendText({"note": "provisional"})


def test_a_calibration_that_cannot_be_read_is_said_in_the_legend(panel, tmp_path, monkeypatch):
    from MedMetaSegLib.confidence import calibration

    broken = tmp_path / "confidence.json"
    broken.write_text("{}")
    monkeypatch.setattr(
        "MedMetaSegLib.scene.panel.legend.shipped_calibration",
        lambda: calibration.shipped_calibration(broken),
    )
    panel.ui.legendBox.collapsed = False
    assert "cannot be read as a calibration" in panel.ui.legendLabel.text
    panel.ui.legendBox.collapsed = True


def test_the_label_of_the_next_slice_is_not_cut_off(application, press):
    from Harness.layout import clipped, fit

    bench: Bench = press(liver=told(0.91, "sagittal", 128))
    bench.ui.legendBox.collapsed = False
    window = bench.panel.parent
    window.show()
    for _ in range(3):
        application.processEvents()
        fit(window, 420)
    application.processEvents()
    assert clipped(window) == []
    bench.ui.legendBox.collapsed = True
    window.hide()
