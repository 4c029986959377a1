"""Importing the package, and what costs time only when it is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import MedMetaSegLib

ROOT = Path(__file__).parents[2]


def modules_after(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after `code`."""
    code += "\nimport sys; print(*sys.modules, file=sys.__stdout__)"
    command = [sys.executable, "-c", code]
    # A locale that Qt or VTK set in this process says nothing about what the other one prints.
    shown = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    return set(shown.split())


def test_importing_the_package_imports_no_torch_and_nothing_else_that_is_slow():
    assert not modules_after("import MedMetaSegLib") & {
        "torch",
        "monai",
        "numpy",
        "SimpleITK",
        "slicer",
        "vtk",
    }


def test_volume_and_support_come_without_torch():
    assert "torch" not in modules_after("from MedMetaSegLib import Volume, Support, InputError")


def test_the_commands_help_needs_neither_torch_nor_numpy():
    code = "from MedMetaSegLib.cli import run\nassert run(['segment', '--help']) == 0"
    assert not modules_after(code) & {"torch", "numpy", "SimpleITK", "MedMetaSegLib.support.support"}


@pytest.mark.parametrize(("command", "out"), [("segment", "a.nii"), ("measure", "a.csv")])
def test_a_bad_path_is_found_before_anything_is_read_or_torch_is_imported(command: str, out: str):
    bad = [command, "none.nii", "none.nii", "-o", out]
    code = f"from MedMetaSegLib.cli import run\nassert run({bad}) == 2"
    assert not modules_after(code) & {"torch", "numpy", "SimpleITK"}


def test_the_names_the_documentation_uses_are_there():
    from MedMetaSegLib.imageio.volume import Volume
    from MedMetaSegLib.support.support import Support

    assert MedMetaSegLib.Volume is Volume
    assert MedMetaSegLib.Support is Support
    assert set(MedMetaSegLib.__all__) <= set(dir(MedMetaSegLib))
    assert MedMetaSegLib.__version__.count(".") == 2


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Segmentor"):
        _ = MedMetaSegLib.Segmentor


@pytest.mark.parametrize(
    ("name", "line"), [("pyproject.toml", r'^version = "(.+)"$'), ("CITATION.cff", r"^version: (.+)$")]
)
def test_the_version_is_the_same_wherever_it_is_written(name, line):
    written = re.findall(line, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert written == [MedMetaSegLib.__version__]


def test_the_version_has_its_changes_listed():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(
        rf"^## {re.escape(MedMetaSegLib.__version__)} - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE
    )
