"""The harness takes Slicer's own Python files from the folder it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
CODE = (
    "from Harness import start\n"
    "start()\n"
    "import importlib.util, slicer\n"
    "names = 'i18n', 'parameterNodeWrapper', 'ScriptedLoadableModule'\n"
    "print(*(getattr(slicer, name).__file__ for name in names))\n"
    "print(importlib.util.find_spec('slicer.packaging'))\n"
)


def start_with(folder: Path) -> subprocess.CompletedProcess[str]:
    search = os.pathsep.join(str(ROOT / one) for one in ("MedMetaSeg", "Testing"))
    return subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "PYTHONPATH": search, "SLICER_PYTHON_SOURCES": str(folder)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture
def sources(tmp_path):
    """Laid out as Base/Python/slicer is in Slicer's repository, which holds more than the three."""
    (tmp_path / "parameterNodeWrapper").mkdir()
    for name in ("i18n", "parameterNodeWrapper/__init__", "parameterNodeWrapper/wrapper", "packaging"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "parameterNodeWrapper" / "__init__.py").write_text("from . import wrapper\n")
    (tmp_path / "ScriptedLoadableModule.py").write_text("from slicer.i18n import __file__ as other\n")
    return tmp_path


def test_three_things_are_taken_from_the_folder_and_no_other(sources):
    files, other = start_with(sources).stdout.strip().splitlines()[-2:]
    wanted = ("i18n.py", "parameterNodeWrapper/__init__.py", "ScriptedLoadableModule.py")
    assert [Path(one) for one in files.split()] == [sources / one for one in wanted]
    assert other == "None"


def test_a_folder_that_lacks_one_is_refused_by_name(sources):
    (sources / "ScriptedLoadableModule.py").unlink()
    ended = start_with(sources)
    assert ended.returncode != 0
    assert f"{sources}, in which there is no ScriptedLoadableModule." in ended.stderr
