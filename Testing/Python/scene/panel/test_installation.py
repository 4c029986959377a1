"""The first run: what is missing is asked for and installed, or a sentence says why not. Stand-ins only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from Harness import start

REQUIREMENTS = Path(__file__).parents[4] / "MedMetaSeg/Resources/requirements.txt"
ALL = {
    "torch": "2.13.0+cpu",
    "monai": "1.6.1",
    "safetensors": "0.8.0",
    "nibabel": "5.4.2",
    "slicerio": "1.4.0",
}
OTHERS = {name: version for name, version in ALL.items() if name != "torch"}


@pytest.fixture(scope="module")
def room():
    """The module under test; it needs slicer.i18n, which the harness brings."""
    start()
    from MedMetaSegLib.scene.panel import installation

    return installation


class StandInPackages:
    """Stands in for the user, pip and the PyTorch extension."""

    def __init__(self, installed=None, says=True, failure=None, forgets=()):
        self.installed = dict(installed or {})
        self.says, self.failure, self.forgets = says, failure, set(forgets)
        self.questions, self.done = [], []

    def version(self, package):
        return self.installed.get(package)

    def confirm(self, text):
        self.questions.append(text)
        return self.says

    def installTorch(self, bounds):
        self._install(f"torch{bounds}", {"torch": ALL["torch"]})

    def installRequirements(self, path, torch):
        assert path == REQUIREMENTS
        self._install(f"requirements beside torch {torch}", OTHERS)

    def reinstall(self, requirements):
        self._install(" ".join(requirements), OTHERS)

    def _install(self, what, brings):
        self.done.append(what)
        if self.failure is not None:
            raise self.failure
        self.installed |= {name: version for name, version in brings.items() if name not in self.forgets}


def without(*packages):
    return {name: version for name, version in ALL.items() if name not in packages}


def test_nothing_is_asked_when_everything_is_there(room):
    packages = StandInPackages(ALL)
    room.Installation(REQUIREMENTS, packages).ensure()
    assert packages.questions == packages.done == []


def test_a_yes_to_the_stand_in_installs_torch_first_and_then_the_rest(room):
    packages = StandInPackages()
    installation = room.Installation(REQUIREMENTS, packages)
    assert installation.missing() == ["torch", "monai", "safetensors", "nibabel", "slicerio"]
    installation.ensure()
    assert packages.done == ["torch>=2.4.1", "requirements beside torch 2.13.0+cpu"]
    assert len(packages.questions) == 1
    for text in (
        "PyTorch",
        "GB",
        "monai, safetensors, nibabel, slicerio",
        "Your images stay on this computer",
    ):
        assert text in packages.questions[0]
    installation.ensure()
    assert len(packages.questions) == 1


def test_only_what_is_missing_is_asked_for_and_installed(room):
    packages = StandInPackages(without("slicerio"))
    room.Installation(REQUIREMENTS, packages).ensure()
    assert packages.done == ["requirements beside torch 2.13.0+cpu"]
    assert "PyTorch" not in packages.questions[0]
    assert "- slicerio, by pip" in packages.questions[0]


@pytest.mark.parametrize(
    ("version", "words"),
    [("1.2.0", "1.5 or later is needed"), ("1.7.2", "a version before 1.7 is needed")],
)
def test_a_package_in_another_version_is_missing_and_the_question_says_which(room, version, words):
    packages = StandInPackages({**ALL, "monai": version})
    installation = room.Installation(REQUIREMENTS, packages)
    assert installation.missing() == ["monai"]
    assert f"monai {version} ({words})" in installation.describe()
    installation.ensure()
    assert f"- monai {version} ({words}), by pip" in packages.questions[0]
    assert installation.missing() == []


def test_a_pytorch_that_is_too_old_stays_and_the_sentence_says_how_to_get_another(room):
    packages = StandInPackages({**ALL, "torch": "2.1.2+cu118"})
    installation = room.Installation(REQUIREMENTS, packages)
    with pytest.raises(
        room.InstallationError, match=r"torch 2\.1\.2\+cu118 \(2\.4\.1 or later .*PyTorch Util"
    ):
        installation.ensure()
    assert packages.questions == packages.done == []


@pytest.mark.parametrize("version", ["2.4.1+cu121", "2.6.0", "2.9.0.dev20250801+cu128"])
def test_the_pytorch_of_another_extension_will_do_and_pip_may_not_replace_it(room, version):
    packages = StandInPackages({"torch": version})
    room.Installation(REQUIREMENTS, packages).ensure()
    assert packages.done == [f"requirements beside torch {version}"]


def test_where_nothing_goes_with_the_installed_pytorch_a_sentence_says_so(room):
    packages = StandInPackages({"torch": "2.6.0"}, failure=subprocess.CalledProcessError(1, "pip"))
    with pytest.raises(
        room.InstallationError, match=r"such as go with PyTorch 2\.6\.0, which stays as it is"
    ):
        room.Installation(REQUIREMENTS, packages).ensure()


def test_repair_installs_the_same_versions_anew(room):
    packages = StandInPackages({**ALL, "torch": "2.6.0", "monai": "1.5.2"})
    room.Installation(REQUIREMENTS, packages).repair()
    assert packages.done == ["monai==1.5.2 safetensors==0.8.0 nibabel==5.4.2 slicerio==1.4.0"]


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
        (
            ModuleNotFoundError("No module named 'PyTorchUtils'", name="PyTorchUtils"),
            "The extension PyTorch is missing: install it in the Extensions Manager",
        ),
        (
            ModuleNotFoundError("No module named 'light_the_torch'", name="light_the_torch"),
            r"could not be installed \(No module named 'light_the_torch'\): update the extension",
        ),
        (ImportError("cannot import name 'x'"), r"could not be installed \(cannot import name 'x'\)"),
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
    assert packages.done == ["torch>=2.4.1"]


def test_what_is_not_found_after_installing_is_reported(room):
    packages = StandInPackages(forgets={"torch"})
    with pytest.raises(room.InstallationError, match="torch is still not found: restart Slicer"):
        room.Installation(REQUIREMENTS, packages).ensure()
    # pip would bring a torch that is not for this machine.
    assert packages.done == ["torch>=2.4.1"]


# ---------------------------------------------------------------- what Slicer is asked to do


def test_what_is_installed_is_found_without_importing_it(room, tmp_path, monkeypatch):
    (tmp_path / "never_imported.py").write_text("raise AssertionError")
    (tmp_path / "never_imported-1.2.dist-info").mkdir()
    (tmp_path / "never_imported-1.2.dist-info/METADATA").write_text("Name: never_imported\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert room.SlicerPackages().version("never_imported") == "1.2"
    assert room.SlicerPackages().version("medmetaseg_of_nobody") is None


def stand_in_module(monkeypatch, name, **members):
    import types

    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


def test_torch_comes_through_a_stand_in_of_the_extension(room, monkeypatch):
    asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation, torchVersionRequirement):
            asked.append((askConfirmation, torchVersionRequirement))

    stand_in_module(monkeypatch, "PyTorchUtils", PyTorchUtilsLogic=PyTorchUtilsLogic)
    room.SlicerPackages().installTorch(">=2.4.1")
    assert asked == [(False, ">=2.4.1")]


def test_a_missing_extension_is_a_missing_module(room):
    with pytest.raises(ModuleNotFoundError, match="PyTorchUtils"):
        room.SlicerPackages().installTorch(">=2.4.1")


def constrained(path):
    return Path(path).read_text(encoding="utf-8").strip()


def test_the_rest_comes_through_a_stand_in_of_slicer_packaging(room, monkeypatch):
    calls = []
    stand_in_module(
        monkeypatch,
        "slicer.packaging",
        load_requirements=lambda path: f"requirements in {Path(path).name}",
        pip_ensure=lambda requirements, constraints, **options: calls.append(
            (requirements, constrained(constraints), options)
        ),
    )
    room.SlicerPackages().installRequirements(REQUIREMENTS, "2.6.0+cu124")
    options = {"prompt_install": False, "requester": "MedMetaSeg"}
    assert calls == [("requirements in requirements.txt", "torch==2.6.0+cu124", options)]


def test_in_slicer_5_10_the_rest_comes_through_a_stand_in_of_pip_install(room, monkeypatch):
    import slicer.util

    calls = []
    monkeypatch.setattr(
        slicer.util, "pip_install", lambda words: calls.append([*words[:3], constrained(words[3])])
    )
    monkeypatch.setattr(slicer, "packaging", None, raising=False)
    monkeypatch.setattr(sys, "meta_path", [WithoutSlicerPackaging(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "slicer.packaging", raising=False)
    room.SlicerPackages().installRequirements(REQUIREMENTS, "2.6.0")
    assert calls == [["-r", str(REQUIREMENTS), "-c", "torch==2.6.0"]]


class WithoutSlicerPackaging:
    """Stands in for the Python of Slicer 5.10."""

    def find_spec(self, name, path=None, target=None):
        if name == "slicer.packaging":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def test_pip_keeps_the_installed_torch_or_changes_nothing(room, tmp_path, monkeypatch):
    """Real pip on wheels made here: one version needs a newer torch than there is, and one does not."""
    import slicer.util

    for version, needs in (("1.5.2", "torch>=2.4.1"), ("1.6.1", "torch>=2.8.0")):
        make_wheel(tmp_path, "monai", version, needs)
    installed, requirements = tmp_path / "installed", tmp_path / "requirements.txt"
    make_wheel(tmp_path, "torch", "2.6.0")
    make_wheel(tmp_path, "torch", "2.9.0")
    pip("install", "--target", str(installed), "torch==2.6.0", wheels=tmp_path)
    requirements.write_text("monai>=1.5,<1.7\n")

    def pip_install(words):
        pip(
            "install",
            "--dry-run",
            "--report",
            str(tmp_path / "report.json"),
            *words,
            wheels=tmp_path,
            path=installed,
        )

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    monkeypatch.setattr(sys, "meta_path", [WithoutSlicerPackaging(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "slicer.packaging", raising=False)
    room.SlicerPackages().installRequirements(requirements, "2.6.0")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    chosen = {one["metadata"]["name"]: one["metadata"]["version"] for one in report["install"]}
    assert chosen["monai"] == "1.5.2"
    assert chosen.get("torch", "2.6.0") == "2.6.0"
    requirements.write_text("monai>=1.6\n")
    with pytest.raises(subprocess.CalledProcessError):
        room.SlicerPackages().installRequirements(requirements, "2.6.0")


def pip(*words, wheels, path=None):
    """pip that looks nowhere but into a folder of wheels."""
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PYTHONPATH": str(path or "")}
    where = ["--isolated", "--no-index", "--find-links", str(wheels), "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", words[0], *where, *words[1:]]
    subprocess.run(command, check=True, env=environment, capture_output=True)


def make_wheel(folder, name, version, needs=""):
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if needs:
        about += f"Requires-Dist: {needs}\n"
    inside = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{inside}/METADATA", about)
        wheel.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{inside}/RECORD", "")
