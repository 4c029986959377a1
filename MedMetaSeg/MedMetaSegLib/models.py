"""Where what was learned is shipped: the network's weights, and the calibration of its confidence."""

from __future__ import annotations

from pathlib import Path


def models_folder(package: Path) -> Path:
    """Models inside the package, as a wheel installs it; else beside it, as Slicer and a checkout have it."""
    inside = package / "Models"
    return inside if inside.is_dir() else package.parent / "Resources" / "Models"


MODELS = models_folder(Path(__file__).resolve().parent)
"""The folder of shipped models."""
