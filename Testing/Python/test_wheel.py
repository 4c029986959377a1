"""The wheel as pip installs it, with the models inside, outside the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rooms
from command_files import write_array
from MedMetaSegLib.demo.phantom import LABEL, make_patient, painted
from MedMetaSegLib.evaluation.metrics import dice
from MedMetaSegLib.imageio.volume import Volume, write_labels

ROOT = Path(__file__).parents[2]


def run(command: list[object], **options) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, encoding="utf-8", timeout=300, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the installed wheel alone; built from a copy, so that no old build gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "MedMetaSeg", source / "MedMetaSeg", ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run([*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, source])
    (wheel,) = folder.glob("*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel])
    shutil.rmtree(source)
    return folder / "site"


def outside(installed: Path, command: list[object]) -> str:
    """What the command prints, in an empty folder and with the installed wheel in front of anything else."""
    elsewhere = installed.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    return run(command, cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(installed)})


def test_every_module_of_every_room_is_in_it_and_its_types_may_be_used(installed):
    inside = installed / "MedMetaSegLib"
    assert set(rooms.modules(inside)) == set(rooms.modules())
    assert (inside / "py.typed").is_file()


def test_the_models_in_it_are_those_of_the_extension(installed):
    shipped, inside = ROOT / "MedMetaSeg" / "Resources" / "Models", installed / "MedMetaSegLib" / "Models"
    names = sorted(path.name for path in shipped.iterdir())
    assert sorted(path.name for path in inside.iterdir()) == names
    for name in names:
        assert (inside / name).read_bytes() == (shipped / name).read_bytes()


def test_it_segments_with_them(installed):
    liver = LABEL["liver"]
    patient = make_patient(0, (24, 56, 72), (8.0, 5.0, 5.0))
    folder = installed.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    write_labels(folder / "painted.nii.gz", painted(patient.truth, (liver,)), patient.volume.geometry)
    write_array(folder / "ct.nii.gz", patient.volume.array, patient.volume.geometry)
    where = outside(
        installed, [sys.executable, "-c", "from MedMetaSegLib import models; print(models.MODELS)"]
    )
    assert Path(where.strip()) == installed / "MedMetaSegLib" / "Models"
    command = [sys.executable, "-m", "MedMetaSegLib.cli", "segment", "ct.nii.gz", "painted.nii.gz"]
    outside(installed, [*command, "-o", "whole.nii.gz", "--device", "cpu"])
    found = Volume.read(folder / "whole.nii.gz").array == liver
    assert dice(found, patient.truth == liver) > 0.9


def test_the_library_is_imported_from_it_and_names_load(installed):
    code = (
        "import MedMetaSegLib\n"
        "from MedMetaSegLib import Segmenter, Support, Task, Volume\n"
        "from MedMetaSegLib.batch import run_batch\n"
        "print(MedMetaSegLib.__file__, Volume.read.__name__, sep='\\n')"
    )
    where, name = outside(installed, [sys.executable, "-c", code]).split()
    assert Path(where).resolve() == (installed / "MedMetaSegLib/__init__.py").resolve()
    assert name == "read"


def test_the_command_says_its_version(installed):
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
    script = installed / "bin" / "medmetaseg"
    for command in ([sys.executable, "-m", "MedMetaSegLib.cli"], [sys.executable, script]):
        assert version in outside(installed, [*command, "--version"])
