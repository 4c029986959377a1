"""The first run: what is missing is asked for and installed, or a sentence says why not. Stand-ins only."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from Harness import start

REQUIREMENTS = Path(__file__).parents[4] / "MedMetaSeg/Resources/requirements.txt"
ALL = {"torch", "monai", "safetensors"}


@pytest.fixture(scope="module")
def room():
    """The module under test; it needs slicer.i18n, which the harness brings."""
    start()
    from MedMetaSegLib.scene.panel import installation

    return installation


class StandInPackages:
    """Stands in for the user, pip and the PyTorch extension."""

    def __init__(self, installed=(), says=True, failure=None, forgets=()):
        self.installed = set(installed)
        self.says, self.failure, self.forgets = says, failure, set(forgets)
        self.questions, self.done = [], []

    def isInstalled(self, package):
        return package in self.installed

    def confirm(self, text):
        self.questions.append(text)
        return self.says

    def installTorch(self):
        self._install("torch", {"torch"})

    def installRequirements(self, path):
        assert path == REQUIREMENTS
        self._install("requirements", {"monai", "safetensors"})

    def _install(self, what, brings):
        self.done.append(what)
        if self.failure is not None:
            raise self.failure
        self.installed |= brings - self.forgets


def test_nothing_is_asked_when_everything_is_there(room):
    packages = StandInPackages(ALL)
    room.Installation(REQUIREMENTS, packages).ensure()
    assert packages.questions == packages.done == []


def test_a_yes_to_the_stand_in_installs_torch_first_and_then_the_rest(room):
    packages = StandInPackages()
    installation = room.Installation(REQUIREMENTS, packages)
    assert installation.missing() == ["torch", "monai", "safetensors"]
    installation.ensure()
    assert packages.done == ["torch", "requirements"]
    assert len(packages.questions) == 1
    for text in ("PyTorch", "GB", "monai, safetensors", "Your images stay on this computer"):
        assert text in packages.questions[0]
    installation.ensure()
    assert len(packages.questions) == 1


def test_only_what_is_missing_is_asked_for_and_installed(room):
    packages = StandInPackages({"torch", "monai"})
    room.Installation(REQUIREMENTS, packages).ensure()
    assert packages.done == ["requirements"]
    assert "PyTorch" not in packages.questions[0]
    assert "- safetensors" in packages.questions[0]


def test_a_no_installs_nothing_and_the_next_press_asks_again(room):
    packages = StandInPackages(says=False)
    installation = room.Installation(REQUIREMENTS, packages)
    for _ in range(2):
        with pytest.raises(room.InstallationError, match="press the button to be asked again"):
            installation.ensure()
    assert packages.done == []
    assert len(packages.questions) == 2


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (ModuleNotFoundError("No module named 'PyTorchUtils'"), "install it in the Extensions Manager"),
        (ConnectionError("no route to host"), "check the internet connection"),
        (subprocess.CalledProcessError(1, "pip"), "PyTorch could not be installed"),
        (RuntimeError("no wheel"), "PyTorch could not be installed"),
        (OSError(28, "No space left on device"), "the disk space"),
    ],
)
def test_a_failure_of_the_stand_in_is_one_sentence_that_says_what_to_do(room, failure, sentence):
    packages = StandInPackages(failure=failure)
    with pytest.raises(room.InstallationError, match=sentence) as caught:
        room.Installation(REQUIREMENTS, packages).ensure()
    assert "\n" not in str(caught.value)
    assert packages.done == ["torch"]


def test_what_is_not_found_after_installing_is_reported(room):
    packages = StandInPackages(forgets={"torch"})
    with pytest.raises(room.InstallationError, match="torch is still not found: restart Slicer"):
        room.Installation(REQUIREMENTS, packages).ensure()


# ---------------------------------------------------------------- what Slicer is asked to do


def test_what_is_installed_is_found_without_importing_it(room, tmp_path, monkeypatch):
    (tmp_path / "never_imported.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)
    assert room.SlicerPackages().isInstalled("never_imported")
    assert not room.SlicerPackages().isInstalled("medmetaseg_of_nobody")


def stand_in_module(monkeypatch, name, **members):
    import sys
    import types

    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


def test_torch_comes_through_a_stand_in_of_the_extension(room, monkeypatch):
    asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation):
            asked.append(askConfirmation)

    stand_in_module(monkeypatch, "PyTorchUtils", PyTorchUtilsLogic=PyTorchUtilsLogic)
    room.SlicerPackages().installTorch()
    assert asked == [False]


def test_a_missing_extension_is_a_missing_module(room):
    with pytest.raises(ModuleNotFoundError, match="PyTorchUtils"):
        room.SlicerPackages().installTorch()


def test_the_rest_comes_through_a_stand_in_of_slicer_packaging(room, monkeypatch):
    calls = []
    stand_in_module(
        monkeypatch,
        "slicer.packaging",
        load_requirements=lambda path: f"requirements in {Path(path).name}",
        pip_ensure=lambda requirements, **options: calls.append((requirements, options)),
    )
    room.SlicerPackages().installRequirements(REQUIREMENTS)
    options = {"prompt_install": False, "requester": "MedMetaSeg"}
    assert calls == [("requirements in requirements.txt", options)]


def test_in_slicer_5_10_the_rest_comes_through_a_stand_in_of_pip_install(room, monkeypatch):
    import slicer.util

    calls = []
    monkeypatch.setattr(slicer.util, "pip_install", calls.append)
    room.SlicerPackages().installRequirements(REQUIREMENTS)
    assert calls == [["-r", str(REQUIREMENTS)]]
