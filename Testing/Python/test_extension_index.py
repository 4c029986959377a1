"""What the Extensions Index checks of a description file and asks of the code that runs in Slicer."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "MedMetaSeg"
CONNECTIONS = {
    "urllib.request",
    "http.client",
    "requests",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
    "socket",
    "ssl",
}
"""Modules that open connections. distributed (Dask) does, too: to the address that the user gives."""
INSTALLER = "MedMetaSegLib/scene/panel/installation.py"


def run_time_files() -> list[str]:
    """Files that Slicer's build packages, from the module's folder; another test holds them complete."""
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(r"set\(MODULE_PYTHON_SCRIPTS\s+(.*?)\)", text, re.DOTALL)[1].split()


def imported_anywhere(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, in functions too, and of those they lie in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for parts in (name.split(".") for name in names):
            yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def called_names(path: Path) -> Iterator[str]:
    """The last part of the name of every function that a file calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", ""))


def test_the_description_file_is_what_the_index_reads() -> None:
    raw = (ROOT / "MedMetaSeg.json").read_bytes()
    assert b"\r" not in raw
    told = json.loads(raw)
    types = {key: type(value) for key, value in told.items() if key != "build_dependencies"}
    assert types.pop("tier") is int
    assert set(types.values()) == {str}
    assert all(isinstance(one, str) for one in told["build_dependencies"])
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.search(r"project\((\w+)\)", text)[1] == "MedMetaSeg"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")


def test_icon_and_screenshots_are_addresses_of_pngs() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    (icon,) = re.findall(r'set\(EXTENSION_ICONURL "([^"]+)"\)', text)
    (screenshots,) = re.findall(r'set\(EXTENSION_SCREENSHOTURLS "([^"]+)"\)', text)
    raw = "https://raw.githubusercontent.com/MedMetaSeg/SlicerMedMetaSeg/main/"
    for address in (icon, *screenshots.split()):
        assert address.startswith(raw)
        assert (ROOT / address.removeprefix(raw)).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", run_time_files())
def test_what_runs_in_slicer_opens_no_connection_and_installs_in_one_place(name: str) -> None:
    assert not set(imported_anywhere(MODULE / name)) & CONNECTIONS
    installs = {"pip_install", "pip_ensure"} & set(called_names(MODULE / name))
    assert not installs or name == INSTALLER


def test_pytorch_is_installed_by_its_extension_alone() -> None:
    calls = set(called_names(MODULE / INSTALLER))
    assert {"pip_install", "pip_ensure", "installTorch"} <= calls
    requirements = (MODULE / "Resources/requirements.txt").read_text(encoding="utf-8")
    assert not re.search(r"^(torch|torchvision)\b", requirements, re.MULTILINE)


def test_weights_are_described_as_they_are() -> None:
    page = (ROOT / "docs/weights.md").read_text(encoding="utf-8")
    for path in (MODULE / "Resources/Models").iterdir():
        assert f"`{path.name}`" in page, path.name
        if path.suffix != ".md":
            assert f"{path.stat().st_size:,} bytes" in page, path.name
