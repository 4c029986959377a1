"""What Slicer's build packages is what runs, and it runs on the Pythons Slicer has."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "MedMetaSeg"
NOT_IN_SLICER = ("training", "evaluation", "datasets", "demo")
NOT_PACKAGED_RESOURCES = {"Resources/Icons/MedMetaSeg.svg"}
INDEX_SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
    "slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))),
]


def run_time_files():
    files = [MODULE / "MedMetaSeg.py", *(MODULE / "MedMetaSegLib").rglob("*.py")]
    relative = [path.relative_to(MODULE) for path in files]
    return {path.as_posix() for path in relative if not set(path.parts) & set(NOT_IN_SLICER)}


def listed(variable):
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    block = re.search(rf"set\({variable}\s+(.*?)\)", text, re.DOTALL)
    assert block is not None
    return [line.strip() for line in block[1].splitlines() if line.strip()]


def test_scripts_are_the_run_time_files():
    scripts = listed("MODULE_PYTHON_SCRIPTS")
    assert len(scripts) == len(set(scripts))
    assert set(scripts) == run_time_files()


def test_resources_are_the_files_there():
    there = {
        path.relative_to(MODULE).as_posix() for path in (MODULE / "Resources").rglob("*") if path.is_file()
    }
    assert set(listed("MODULE_PYTHON_RESOURCES")) == there - NOT_PACKAGED_RESOURCES


def test_the_shipped_weights_are_packaged():
    assert "Resources/Models/medmetaseg.safetensors" in listed("MODULE_PYTHON_RESOURCES")


def test_the_extension_names_the_module_and_pytorch():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "add_subdirectory(MedMetaSeg)" in text
    assert re.search(r'EXTENSION_DEPENDS "PyTorch"', text)
    assert re.search(r'EXTENSION_CATEGORY "Segmentation"', text)
    for field in ("HOMEPAGE", "ICONURL", "SCREENSHOTURLS"):
        assert re.search(rf'EXTENSION_{field} "https://\S+( https://\S+)*"', text), field


def test_the_index_description_agrees_with_the_extension():
    told = json.loads((ROOT / "MedMetaSeg.json").read_text(encoding="utf-8"))
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert set(told) == {
        "$schema",
        "build_dependencies",
        "build_subdirectory",
        "category",
        "scm_revision",
        "scm_url",
        "tier",
    }
    assert told["$schema"] == INDEX_SCHEMA
    assert told["tier"] in range(1, 6)
    assert told["build_subdirectory"] == "."
    assert told["scm_revision"] == "main"
    assert told["scm_url"].rpartition("/")[2] == "SlicerMedMetaSeg"
    assert re.search(r'EXTENSION_DEPENDS "(.*?)"', text)[1].split() == told["build_dependencies"]
    assert re.search(r'EXTENSION_CATEGORY "(.*?)"', text)[1] == told["category"]
    assert re.search(r'EXTENSION_HOMEPAGE "(.*?)"', text)[1] == told["scm_url"]


@pytest.mark.parametrize("name", PAGES)
def test_the_pictures_and_pages_a_page_shows_exist(name):
    page = ROOT / name
    for link in re.findall(r'(?:src="|\]\()(?!http)([^")#]+)', page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("name", PAGES)
def test_the_modules_a_page_names_exist(name):
    there = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    for named in re.findall(r"`([\w./]+\.py)`", (ROOT / name).read_text(encoding="utf-8")):
        assert any(f"/{path}".endswith(f"/{named}") for path in there), named


def test_the_pictures_the_extension_shows_exist():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for path in re.findall(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/main/([^\s\"]+)", text):
        assert (ROOT / path).is_file(), path


def test_the_icon_is_a_128_pixel_png():
    header = (MODULE / "Resources/Icons/MedMetaSeg.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (128, 128)


@pytest.mark.parametrize("name", sorted(run_time_files()))
def test_files_parse_with_the_grammar_of_python_3_10(name):
    ast.parse((MODULE / name).read_text(encoding="utf-8"), filename=name, feature_version=(3, 10))


def requirements_of_the_module():
    lines = (MODULE / "Resources/requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_pytorch_comes_from_its_extension():
    assert "torch" not in {one.name for one in requirements_of_the_module()}


def test_the_panel_can_say_every_bound_in_words():
    for one in requirements_of_the_module():
        assert {bound.operator for bound in one.specifier} == {">=", "<"}, one


def test_slicer_needs_no_other_versions_than_the_package():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = (\[.*?^\])", text, re.DOTALL | re.MULTILINE)
    project = [Requirement(one) for one in ast.literal_eval(listed[1])]
    lowest = {one.name: next(iter(one.specifier)).version for one in project}
    for one in requirements_of_the_module():
        assert f">={lowest[one.name]}" in str(one.specifier).split(","), one
    text = (MODULE / "MedMetaSegLib/scene/panel/installation.py").read_text(encoding="utf-8")
    assert f'TORCH = Requirement("torch>={lowest["torch"]}")' in text


def imported_at_file_scope(path):
    """Top-level names a file imports when it is imported itself; not what functions import."""
    found = set()
    pending = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))
    return found


def test_the_module_file_imports_neither_torch_nor_qt_at_file_scope():
    assert not imported_at_file_scope(MODULE / "MedMetaSeg.py") & {
        "torch",
        "monai",
        "safetensors",
        "qt",
        "ctk",
    }


def test_the_scene_imports_no_qt():
    for path in (MODULE / "MedMetaSegLib/scene").glob("*.py"):
        assert not imported_at_file_scope(path) & {"qt", "ctk", "torch", "PySide6"}, path.name


def test_only_the_scene_and_the_demo_know_slicer():
    for name in run_time_files() - {"MedMetaSeg.py"}:
        if "/scene/" not in name:
            assert not imported_at_file_scope(MODULE / name) & {"slicer", "vtk", "qt", "ctk"}, name


def test_importing_the_library_and_the_scene_loads_no_torch():
    code = (
        "import sys, MedMetaSegLib\n"
        "from MedMetaSegLib.demo.slicer_core import boot\n"
        "boot()\n"
        "import MedMetaSegLib.scene\n"
        "assert not {'torch', 'monai', 'qt', 'PySide6'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(MODULE)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
