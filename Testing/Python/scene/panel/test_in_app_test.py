"""The test that Slicer runs inside the application, run on the harness, and the page that goes with it."""

from __future__ import annotations

import re
import unittest
from xml.etree import ElementTree

import pytest

from panel_bench import ROOT, nothing_is_left

# The harness has no slice views.
NOT_HERE = {9}
LINE = re.compile(r"^ ?(\d+)  (ok|not checked here|FAILED): (.+)$", re.MULTILINE)
PAGE = ROOT / "docs" / "try-in-slicer.md"
UI = ROOT / "MedMetaSeg" / "Resources" / "UI" / "MedMetaSeg.ui"


@pytest.fixture
def runner(panel):
    """The module under test; it needs slicer.i18n, which the harness brings."""
    from MedMetaSegLib.scene.panel.self_test import runner

    return runner


@pytest.fixture
def in_app_test(module):
    """The class that Slicer runs."""
    return module.python.MedMetaSegTest


@pytest.fixture
def without_torch(panel, monkeypatch):
    packages = panel.installation._packages
    version = packages.version
    monkeypatch.setattr(packages, "version", lambda one: None if one == "torch" else version(one))


@pytest.fixture
def quick_worker(monkeypatch, one_thread):
    """The worker, too, with one thread: two on a busy machine wait for each other most of the time."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def checked_numbers(runner):
    return [number for one in runner.SCENARIOS for number in one.numbers]


def user_data():
    import slicer.util

    return [
        node.GetName()
        for node in slicer.util.getNodesByClass("vtkMRMLStorableNode")
        if node.GetSaveWithScene() and not node.GetHideFromEditors()
    ]


def test_every_step_is_right_or_says_why_it_is_not_checked(
    panel, runner, in_app_test, quick_worker, capsys, tmp_path
):
    folder = panel.tasksTab.folder.path

    in_app_test().runTest()

    said = {int(number): state for number, state, _ in LINE.findall(capsys.readouterr().out)}
    expected = {one: "not checked here" if one in NOT_HERE else "ok" for one in checked_numbers(runner)}
    assert said == expected
    assert user_data() == []
    assert panel.run.workerPid is None
    assert nothing_is_left(tmp_path)
    assert panel.tasksTab.folder.path == folder


def test_without_torch_the_button_test_says_why_and_nothing_fails(panel, in_app_test, without_torch, capsys):
    in_app_test().runTest()
    assert capsys.readouterr().out == "Not checked here: torch is not installed.\n"


def test_without_torch_slicers_build_skips_every_test_with_the_reason(in_app_test, without_torch):
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(in_app_test).run(result)
    assert result.wasSuccessful()
    assert result.testsRun == len(result.skipped) > 1
    assert {reason for _, reason in result.skipped} == {"Not checked here: torch is not installed."}


def test_every_scenario_has_a_test(runner, in_app_test, monkeypatch):
    called = []
    monkeypatch.setattr(in_app_test, "_check", lambda self, name: called.append(name))
    in_app_test().runTest()
    assert called == [one.name for one in runner.SCENARIOS]


def test_the_console_leaves_a_scene_with_data_as_it_is(panel, runner, capsys):
    import slicer

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    before = [slicer.mrmlScene.GetNthNode(n).GetID() for n in range(slicer.mrmlScene.GetNumberOfNodes())]
    assert not runner.run()
    assert capsys.readouterr().out == "The scene holds 'Mine': save and close your scene first.\n"
    after = [slicer.mrmlScene.GetNthNode(n).GetID() for n in range(slicer.mrmlScene.GetNumberOfNodes())]
    assert after == before


def test_the_steps_with_two_editors_go_right_where_a_stroke_can_be_made(
    panel, runner, monkeypatch, capsys, error_log
):
    """The stroke is the harness's: Slicer's slice views and clickAndDrag are not here."""
    import numpy as np

    from Harness.segment_editor import views
    from MedMetaSegLib.scene.panel.self_test import steps, trial
    from MedMetaSegLib.scene.space import imageFromMask

    dot = np.zeros(trial.SHAPE, bool)
    dot[steps._UNPAINTED] = True
    monkeypatch.setattr(steps, "_redView", lambda trial: imageFromMask(dot, (0, 0, 0), volume_affine(trial)))
    monkeypatch.setattr(steps, "_stroke", views.stroke)
    error_log.expect("no previous state available")  # Undo of the module's editor, which has none
    runner.check("two editors")
    assert [line[:2] for line in LINE.findall(capsys.readouterr().out)] == [("9", "ok")]


def volume_affine(trial):
    from scene_positions import ijkToRas

    return ijkToRas(trial.volumeNode)


@pytest.fixture
def scenario_of(runner, monkeypatch):
    """Makes these steps the only ones."""

    def make(steps, numbers):
        one = runner.Scenario("made up", numbers, steps)
        monkeypatch.setattr(runner, "SCENARIOS", (one,))

    return make


def test_a_step_that_fails_is_named_and_what_needs_it_is_not_checked(panel, runner, scenario_of, capsys):
    def steps(trial):
        yield "this went right"
        trial.volumeNode.SetName("left behind")
        raise AssertionError("two instead of one")

    scenario_of(steps, (4, 5, 12))
    assert not runner.run()
    assert LINE.findall(capsys.readouterr().out) == [
        ("4", "ok", "this went right"),
        ("5", "FAILED", "two instead of one"),
        ("12", "not checked here", "the step before failed"),
    ]
    assert user_data() == []
    with pytest.raises(AssertionError, match="two instead of one"):
        runner.check("made up")
    assert user_data() == []


def test_a_step_that_says_less_than_it_should_fails(panel, runner, scenario_of, capsys):
    def steps(trial):
        yield "this went right"

    scenario_of(steps, (4, 5))
    assert not runner.run()
    assert ("5", "FAILED", "this step was left out") in LINE.findall(capsys.readouterr().out)


# ---------------------------------------------------------------- docs/try-in-slicer.md


def page_steps():
    """Number of each step of the page -> its text."""
    found = re.split(r"^(\d+)\. ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(map(int, found[::2]), found[1::2], strict=True))


def test_the_page_has_twenty_steps_and_says_which_check_themselves(runner):
    steps = page_steps()
    assert list(steps) == list(range(1, 21))
    marked = [number for number, text in steps.items() if "(checks itself)" in text]
    assert marked == sorted(checked_numbers(runner))


def test_what_the_page_prints_bold_is_what_the_panel_shows(panel):
    from MedMetaSegLib.scene.panel import parameters

    shown = {(node.text or "").strip().rstrip(":") for node in ElementTree.parse(UI).iter("string")}
    shown.add("Update")  # what the button Segment says once there is a result
    bold = {text.rstrip(":") for text in re.findall(r"\*\*(.+?)\*\*", PAGE.read_text(encoding="utf-8"))}
    assert len(bold) > 20
    assert bold <= shown
    labels = {
        member.label()
        for kind in vars(parameters).values()
        if isinstance(kind, type)
        and issubclass(kind, parameters.enum.Enum)
        and kind is not parameters.enum.Enum
        for member in kind
    }
    chosen = set(re.findall(r"\*(?!\*)([^*\n]+)\*", re.sub(r"\*\*.+?\*\*", "", PAGE.read_text("utf-8"))))
    assert chosen <= labels


def test_the_command_on_the_page_is_there():
    command = re.search(r"```python\n(.+?)\n```", PAGE.read_text(encoding="utf-8"))[1]
    assert command == "from MedMetaSegLib.scene.panel.self_test import run; run()"
    names = {}
    exec(command.partition(";")[0], names)
    assert callable(names["run"])
