"""What the network needs and Slicer does not bring: installed after one question, or a sentence."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import slicer.util
from packaging.requirements import Requirement
from slicer.i18n import tr as _

from ...errors import InputError

TORCH = Requirement("torch>=2.4.1")
"""Not among the requirements: the PyTorch extension installs the build that fits the machine."""
_EXTENSION = "PyTorchUtils"


class InstallationError(InputError):
    """Something the network needs is not there; the message says what to do."""


class Packages(Protocol):
    """The world outside: what is installed, the user, and what installs."""

    def version(self, package: str) -> str | None:
        """The version of an installed package; None when it is not there. Imports nothing."""

    def confirm(self, text: str) -> bool:
        """Ask the user; True for yes."""

    def installTorch(self, bounds: str) -> None:
        """Install PyTorch in a version within bounds. ModuleNotFoundError: its extension is missing."""

    def installRequirements(self, path: Path, torch: str) -> None:
        """Install what a requirements file names; the installed version `torch` of PyTorch stays."""

    def reinstall(self, requirements: Sequence[str]) -> None:
        """Install these anew, whether they are there or not, and nothing that they depend on."""


@dataclass(frozen=True)
class _Unmet:
    """A requirement that is not met; version is None where the package is not installed."""

    requirement: Requirement
    version: str | None

    @property
    def words(self) -> str:
        """The package, and where another version is installed that one and which is needed."""
        name = self.requirement.name
        if self.version is None:
            return name
        return f"{name} {self.version} ({_neededVersion(self.requirement, self.version)})"


class Installation:
    """Brings what is missing to segment, at the time it is needed and never before.

    installation = Installation(resources / "requirements.txt", SlicerPackages())
    installation.ensure()       # asks and installs the first time; then it takes no time
    """

    def __init__(self, requirements: Path, packages: Packages) -> None:
        self._path, self._packages = requirements, packages
        self._others = readRequirements(requirements)

    def missing(self) -> list[str]:
        """Names of the packages that are not installed in a version that is needed; imports nothing."""
        return [one.requirement.name for one in self._unmet()]

    def ensure(self) -> None:
        """Install what is missing after asking once; an installed PyTorch stays as it is.

        Raises InstallationError when the user refuses, when PyTorch is too old and when anything fails; the
        next call asks again.
        """
        unmet = self._unmet()
        if not unmet:
            return
        self._refuseOtherTorch(unmet)
        if not self._packages.confirm(_question(unmet)):
            raise InstallationError(
                _("Nothing was installed, so nothing can be segmented: press the button to be asked again.")
            )
        if unmet[0].requirement is TORCH:
            self._installTorch()
        if unmet[-1].requirement is not TORCH:
            self._installOthers()
        self._raiseUnlessFound(self.missing())

    def repair(self) -> None:
        """Install everything but PyTorch anew, as it is now, after asking. Raises as `ensure`."""
        names = [one.name for one in self._others]
        if not self._packages.confirm(_("Install {packages} anew, by pip?").format(packages=_listed(names))):
            raise InstallationError(_("Nothing was installed."))
        # The same versions: a newer one of monai may need another PyTorch.
        versions = {name: self._packages.version(name) for name in names}
        exact = [name if version is None else f"{name}=={version}" for name, version in versions.items()]
        try:
            self._packages.reinstall(exact)
        except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise _failed(_listed(names)) from error

    def describe(self) -> str:
        """What is installed and what is not, in words; imports none of it."""
        unmet = self._unmet()
        missing = [one.words for one in unmet]
        names = {one.requirement.name for one in unmet}
        there = [
            f"{one.name} {self._packages.version(one.name)}"
            for one in (TORCH, *self._others)
            if one.name not in names
        ]
        # Two in a line: four are wider than the panel.
        lines = [", ".join(there[first : first + 2]) for first in range(0, len(there), 2)]
        if missing:
            lines += [_("not installed: {packages}").format(packages=one) for one in missing]
        return "\n".join(lines)

    def _unmet(self) -> list[_Unmet]:
        """What is not there in a version that is needed, PyTorch first."""
        versions = [(one, self._packages.version(one.name)) for one in (TORCH, *self._others)]
        return [
            _Unmet(one, version)
            for one, version in versions
            if version is None or not one.specifier.contains(version, prereleases=True)
        ]

    def _refuseOtherTorch(self, unmet: Sequence[_Unmet]) -> None:
        """PyTorch in a version that will not do may be there for another extension: the user replaces it."""
        torch = unmet[0]
        if torch.requirement is TORCH and torch.version is not None:
            raise InstallationError(
                _(
                    "{package}: install that version in the module PyTorch Util of the extension PyTorch, "
                    "restart Slicer, then press the button again."
                ).format(package=torch.words)
            )

    def _installTorch(self) -> None:
        try:
            self._packages.installTorch(str(TORCH.specifier))
        except ModuleNotFoundError as error:
            if error.name != _EXTENSION:
                raise _notImported(error) from error
            raise InstallationError(
                _(
                    "The extension PyTorch is missing: install it in the Extensions Manager, restart Slicer, "
                    "then press the button again."
                )
            ) from error
        except ImportError as error:
            raise _notImported(error) from error
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise _failed("PyTorch") from error
        # Without it pip would bring a PyTorch of its own.
        self._raiseUnlessFound([one for one in self.missing() if one == TORCH.name])

    def _installOthers(self) -> None:
        torch = self._packages.version(TORCH.name)
        assert torch is not None
        try:
            self._packages.installRequirements(self._path, torch)
        except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            names = _listed([one.name for one in self._others])
            beside = _("{packages}, such as go with PyTorch {version}, which stays as it is,")
            raise _failed(beside.format(packages=names, version=torch)) from error

    def _raiseUnlessFound(self, missing: Sequence[str]) -> None:
        if missing:
            raise InstallationError(
                _("{packages} is still not found: restart Slicer, then press the button again.").format(
                    packages=", ".join(missing)
                )
            )


class SlicerPackages:
    """Packages of the Python that Slicer runs."""

    def version(self, package: str) -> str | None:
        importlib.invalidate_caches()
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def confirm(self, text: str) -> bool:
        return bool(slicer.util.confirmOkCancelDisplay(text, windowTitle=_("MedMetaSeg: first run")))

    def installTorch(self, bounds: str) -> None:
        import PyTorchUtils

        # None, too, when its own download fails; `Installation` then finds torch still missing.
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=bounds)

    def installRequirements(self, path: Path, torch: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            constraints = Path(folder) / "constraints.txt"
            constraints.write_text(f"{TORCH.name}=={torch}\n", encoding="utf-8")
            _installWithin(path, constraints)

    def reinstall(self, requirements: Sequence[str]) -> None:
        slicer.util.pip_install(["--force-reinstall", "--no-deps", *requirements])


def readRequirements(path: Path) -> tuple[Requirement, ...]:
    """What a requirements file names, a requirement a line; lines that begin with # are comments."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(Requirement(line) for line in lines if line and not line.startswith("#"))


def _installWithin(path: Path, constraints: Path) -> None:
    """pip, with a file of versions that it may not change."""
    try:
        from slicer.packaging import load_requirements, pip_ensure
    except ModuleNotFoundError as error:
        if error.name != "slicer.packaging":
            raise
        # Slicer 5.10
        slicer.util.pip_install(["-r", str(path), "-c", str(constraints)])
    else:
        pip_ensure(
            load_requirements(path), constraints=constraints, prompt_install=False, requester="MedMetaSeg"
        )


def _neededVersion(requirement: Requirement, version: str) -> str:
    """Which of its bounds the version is out of, in words."""
    words = {">=": _("{version} or later is needed"), "<": _("a version before {version} is needed")}
    out = next(one for one in requirement.specifier if not one.contains(version, prereleases=True))
    return words[out.operator].format(version=out.version)


def _listed(names: Sequence[str]) -> str:
    return _(" and ").join(name for name in (", ".join(names[:-1]), names[-1]) if name)


def _notImported(error: ImportError) -> InstallationError:
    return InstallationError(
        _(
            "PyTorch could not be installed ({reason}): update the extension PyTorch in the Extensions "
            "Manager, restart Slicer, then press the button again."
        ).format(reason=error)
    )


def _failed(what: str) -> InstallationError:
    return InstallationError(
        _(
            "{package} could not be installed: check the internet connection and the disk space "
            "(the Python console tells more), then press the button again."
        ).format(package=what)
    )


def _question(unmet: Sequence[_Unmet]) -> str:
    lines = []
    if unmet[0].requirement is TORCH:
        lines.append(
            _("- PyTorch, by the extension PyTorch: 0.2 GB, or up to 3 GB where it finds a CUDA GPU")
        )
    others = [one.words for one in unmet if one.requirement is not TORCH]
    if others:
        lines.append(_("- {packages}, by pip: less than 10 MB").format(packages=", ".join(others)))
    return "\n".join(
        [
            _("To segment, MedMetaSeg needs Python packages that are not installed yet:"),
            "",
            *lines,
            "",
            _("They are downloaded once, into Slicer's own Python. Your images stay on this computer."),
            _("Install them now? It can take some minutes."),
        ]
    )
