"""What the network needs and Slicer does not bring: installed after one question, or a sentence."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import subprocess
from pathlib import Path
from typing import Protocol

import slicer.util
from slicer.i18n import tr as _

from ...errors import InputError

TORCH = "torch"
_OTHERS = ("monai", "safetensors")


class InstallationError(InputError):
    """Something the network needs is not there; the message says what to do."""


class Packages(Protocol):
    """The world outside: what is installed, the user, and what installs."""

    def isInstalled(self, package: str) -> bool: ...

    def confirm(self, text: str) -> bool:
        """Ask the user; True for yes."""

    def installTorch(self) -> None:
        """Install PyTorch. ModuleNotFoundError: its extension is missing."""

    def version(self, package: str) -> str:
        """The version of an installed package."""

    def installRequirements(self, path: Path) -> None:
        """Install what a requirements file names."""

    def reinstallRequirements(self, path: Path) -> None:
        """Install it anew, whether it is there or not."""


class Installation:
    """Brings what is missing to segment, at the time it is needed and never before.

    installation = Installation(resources / "requirements.txt", SlicerPackages())
    installation.ensure()       # asks and installs the first time; then it takes no time
    """

    def __init__(self, requirements: Path, packages: Packages) -> None:
        self._requirements, self._packages = requirements, packages

    def missing(self) -> list[str]:
        """Names of the packages that are not installed; imports nothing."""
        return [one for one in (TORCH, *_OTHERS) if not self._packages.isInstalled(one)]

    def ensure(self) -> None:
        """Install what is missing after asking once.

        Raises InstallationError when the user refuses and when anything fails; the next call asks again.
        """
        missing = self.missing()
        if not missing:
            return
        if not self._packages.confirm(_question(missing)):
            raise InstallationError(
                _("Nothing was installed, so nothing can be segmented: press the button to be asked again.")
            )
        if TORCH in missing:
            self._install(TORCH)
        if set(missing) & set(_OTHERS):
            self._install(_OTHERS[0])
        left = self.missing()
        if left:
            raise InstallationError(
                _("{packages} is still not found: restart Slicer, then press the button again.").format(
                    packages=", ".join(left)
                )
            )

    def repair(self) -> None:
        """Install everything but PyTorch anew, after asking. Raises InstallationError as `ensure`."""
        question = _("Install {packages} anew, by pip?").format(packages=_(" and ").join(_OTHERS))
        if not self._packages.confirm(question):
            raise InstallationError(_("Nothing was installed."))
        self._install(_OTHERS[0], again=True)

    def describe(self) -> str:
        """What is installed and what is not, in words; imports none of it."""
        missing = self.missing()
        there = [f"{one} {self._packages.version(one)}" for one in (TORCH, *_OTHERS) if one not in missing]
        lines = [", ".join(there)] if there else []
        if missing:
            lines.append(_("not installed: {packages}").format(packages=", ".join(missing)))
        return "\n".join(lines)

    def _install(self, package: str, again: bool = False) -> None:
        try:
            if package == TORCH:
                self._packages.installTorch()
            elif again:
                self._packages.reinstallRequirements(self._requirements)
            else:
                self._packages.installRequirements(self._requirements)
        except ModuleNotFoundError as error:
            raise InstallationError(
                _(
                    "The extension PyTorch is missing: install it in the Extensions Manager, restart Slicer, "
                    "then press the button again."
                )
            ) from error
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise InstallationError(
                _(
                    "{package} could not be installed: check the internet connection and the disk space "
                    "(the Python console tells more), then press the button again."
                ).format(package="PyTorch" if package == TORCH else package)
            ) from error


class SlicerPackages:
    """Packages of the Python that Slicer runs."""

    def isInstalled(self, package: str) -> bool:
        importlib.invalidate_caches()
        return importlib.util.find_spec(package) is not None

    def version(self, package: str) -> str:
        return importlib.metadata.version(package)

    def confirm(self, text: str) -> bool:
        return bool(slicer.util.confirmOkCancelDisplay(text, windowTitle=_("MedMetaSeg: first run")))

    def installTorch(self) -> None:
        import PyTorchUtils

        # None, too, when its own download fails; `Installation` then finds torch still missing.
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False)

    def installRequirements(self, path: Path) -> None:
        try:
            from slicer.packaging import load_requirements, pip_ensure
        except ModuleNotFoundError:
            # Slicer 5.10
            slicer.util.pip_install(["-r", str(path)])
        else:
            pip_ensure(load_requirements(path), prompt_install=False, requester="MedMetaSeg")

    def reinstallRequirements(self, path: Path) -> None:
        # Not what they depend on: torch, the PyTorch extension's, is among that.
        slicer.util.pip_install(["--force-reinstall", "--no-deps", "-r", str(path)])


def _question(missing: list[str]) -> str:
    lines = []
    if TORCH in missing:
        lines.append(
            _("- PyTorch, by the extension PyTorch: 0.2 GB, or up to 3 GB where it finds a CUDA GPU")
        )
    others = [one for one in missing if one != TORCH]
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
