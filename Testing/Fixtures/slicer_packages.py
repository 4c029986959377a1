"""The packages that Slicer's Python has where MedMetaSeg runs, of those that are installed here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "MedMetaSeg/Resources/requirements.txt"

_SHIPPED = """
    certifi cffi chardet charset-normalizer couchdb cryptography deprecated dicomweb-client gitdb gitpython
    idna numpy packaging pillow pip pycparser pydicom pygithub pyjwt pynacl pyparsing python-dateutil requests
    retrying scipy setuptools simpleitk six smmap typing-extensions urllib3 wheel wrapt
"""
"""What 5.10 and 5.12 both ship (SuperBuild/External_python-*.cmake, and SimpleITK)."""
_STAND_INS = "slicer-core vtk pyside6-essentials shiboken6 pytest pluggy iniconfig pygments"
"""Slicer itself and its Qt, as the harness has them, and what the fixtures of the tests import."""


def environment(requirements: Iterable[str] | None = None) -> dict[str, str]:
    """The environment of a process, and of those it starts, whose Python has Slicer's packages and no others.

    requirements: what is installed into Slicer's Python beside PyTorch; None for the module's own.
    """
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines() if requirements is None else requirements
    names = [Requirement(line).name for line in lines if line and not line.startswith("#")]
    packages = {*_SHIPPED.split(), *_STAND_INS.split(), *_with_dependencies(("torch", *names))}
    modules = [
        module for module, owners in packages_distributions().items() if {*map(_plain, owners)} & packages
    ]
    search = ("Testing/Fixtures/slicer_python", "MedMetaSeg", "Testing", "Testing/Fixtures")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / one) for one in search),
        "SLICER_MODULES": ",".join(modules),
        "SLICER_PACKAGES": ",".join(packages),
    }


def _with_dependencies(names: Iterable[str]) -> set[str]:
    """Distributions, and all that is installed with them."""
    found: set[str] = set()
    pending = [_plain(name) for name in names]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(one) for one in requires(name) or ()]
        except PackageNotFoundError:
            continue
        pending += [
            _plain(one.name) for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
