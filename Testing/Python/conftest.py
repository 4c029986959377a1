"""Real cases, small phantoms, Slicer's scene and stand-ins that several rooms of tests use."""

from __future__ import annotations

import os

# Before anything imports numpy or torch: processes that run side by side share the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from affines import offset, rotation
from MedMetaSegLib.imageio.volume import Volume

if TYPE_CHECKING:
    from batch_stand_in import Elsewhere
    from MedMetaSegLib.demo.slicer_core import SlicerCore

REPOSITORY = Path(__file__).resolve().parents[2]


def _real_cases(variable: str, name: str) -> Path:
    """A folder of real cases: that of the environment's variable, else ../shared/NAME beside the checkout."""
    folder = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / name))
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no real cases in {folder}; name their folder in {variable}")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real cases: $MEDMETASEG_DATA, else ../shared/data beside the checkout."""
    return _real_cases("MEDMETASEG_DATA", "data")


@pytest.fixture(scope="session")
def more_data() -> Path:
    """The folder of further real cases: $MEDMETASEG_MORE_DATA, else ../shared/more_data."""
    return _real_cases("MEDMETASEG_MORE_DATA", "more_data")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For tests of tiny networks, which more threads only slow down, and of streams, which take them away."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def oblique_affine() -> np.ndarray:
    """An oblique, right-handed affine with a spacing of (k, j, i) = (3.0, 0.8, 0.7) mm."""
    return rotation(0.2, -0.1, 0.35) @ np.diag([0.7, 0.8, 3.0, 1.0]) + offset(-31.0, 12.5, 140.0)


@pytest.fixture
def patient(oblique_affine: np.ndarray) -> Volume:
    """A 12 x 20 x 24 phantom without symmetry, int16, oblique."""
    array = np.random.default_rng(7).integers(-900, 1200, (12, 20, 24)).astype(np.int16)
    return Volume.from_array(array, oblique_affine, "patient")


@pytest.fixture(scope="session")
def core() -> SlicerCore:
    """Slicer's core without its application."""
    from MedMetaSegLib.demo.slicer_core import boot

    return boot()


@pytest.fixture
def scene(core: SlicerCore) -> Iterator[Any]:
    """An empty MRML scene with a subject hierarchy."""
    import slicer

    core.scene.Clear(0)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(core.scene)
    yield core.scene
    core.scene.Clear(0)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """A folder with a task, and processes in which a stand-in takes the segmenter's place."""
    from batch_stand_in import make_elsewhere

    return make_elsewhere(tmp_path, monkeypatch)


@pytest.fixture
def store_otherwise() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A function that stores the same voxels in the same place with other axes, worked out independently."""
    return stored


def stored(
    array: np.ndarray, affine: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """array (k, j, i) with its axes in `order`, those of the result flipped where `flips` says so."""
    other = array.transpose(order)
    from_new = np.zeros((4, 4))
    from_new[3, 3] = 1
    for new_axis, (old_axis, flip) in enumerate(zip(order, flips, strict=True)):
        size = array.shape[old_axis]
        if flip:
            other = np.flip(other, new_axis)
        # Matrices are in (i, j, k), arrays in (k, j, i).
        from_new[2 - old_axis, 2 - new_axis] = -1 if flip else 1
        from_new[2 - old_axis, 3] = size - 1 if flip else 0
    return np.ascontiguousarray(other), affine @ from_new
