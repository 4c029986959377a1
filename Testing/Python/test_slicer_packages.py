"""Everything a user can do works with the packages that Slicer ships and the module's requirements name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import slicer_actions
from slicer_packages import environment

PROGRAM = Path(slicer_actions.__file__)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What went wrong in each action, in one process without the other packages."""
    folder = tmp_path_factory.mktemp("a user's own")
    results = folder / "results.json"
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), str(results)],
        # Threads that wait for each other are slow on a busy machine.
        env={**environment(), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert results.is_file(), ran.stdout[-2000:] + ran.stderr[-2000:]
    return json.loads(results.read_text(encoding="utf-8"))


@pytest.mark.parametrize("action", slicer_actions.actions())
def test_every_action_needs_only_what_slicer_has_and_the_module_requires(done: dict[str, str], action: str):
    assert done[action] == ""


@pytest.mark.parametrize("package", ["typer", "rich", "matplotlib", "sklearn"])
def test_packages_that_slicer_has_not_are_hidden(package: str):
    assert not is_found(package, environment())


@pytest.mark.parametrize(
    ("package", "module"),
    [("slicerio", "slicerio"), ("pynrrd", "nrrd"), ("monai", "monai"), ("safetensors", "safetensors")],
)
def test_what_the_requirements_do_not_name_is_hidden(package: str, module: str):
    """Else the actions could not fail for a requirement that was forgotten."""
    versions = f"import importlib.metadata as m; print(*m.packages_distributions().get({module!r}, ()))"
    assert is_found(module, environment())
    assert output_of(versions, environment()) == package
    assert not is_found(module, environment(requirements=()))
    assert output_of(versions, environment(requirements=())) == ""


def is_found(module: str, variables: dict[str, str]) -> bool:
    return output_of(f"import importlib.util as u; print(u.find_spec({module!r}))", variables) != "None"


def output_of(code: str, variables: dict[str, str]) -> str:
    """What a process prints that was started by a Python with these packages."""
    starter = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {code!r}]))"
    ran = subprocess.run(
        [sys.executable, "-c", starter], env=variables, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()
