"""Label maps of patients whose images are not at hand: read once, and seen at places, spacings and angles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..datasets.cases import LabelMap
from ..datasets.patients import training_label_maps
from ..imageio.volume import read_image
from .anatomy import subject_of
from .canvas import Rng, smooth_noise
from .real import numbered

LESION_SHAPES = ("lab_stroke",)
"""Data sets whose maps are shapes of lesions, for other maps to hold."""
WHOLE = ("lab_brain",)
"""Data sets whose maps leave nothing of the body unlabelled."""
_TURN, _STRETCH = 0.2, 0.1
"""Radians by which a view is turned about each axis, and fraction by which it is stretched, at the most."""
_WARP_MM = (1.0, 5.0)
"""Displacement of a view's warp, at least and at most."""
_SIDES = re.compile(r"(?i)(^|[\s_-])(left|right|lt|rt)(?=$|[\s_-])")
_FREESURFER = re.compile(r"FreeSurfer\S* label (\d+)$")
_FREESURFER_LEFT = {
    **{41: 2, 42: 3, 43: 4, 44: 5, 46: 7, 47: 8, 49: 10, 50: 11, 51: 12, 52: 13, 53: 17, 54: 18},
    **{58: 26, 60: 28, 62: 30, 63: 31},
}
"""FreeSurfer's numbers of structures on the right, and those of the same on the left."""


@dataclass(frozen=True)
class ReadMap:
    """A label map: (k, j, i), canonical, structures numbered from 1 on as `names` has them; spacing in mm."""

    dataset: str
    patient: str
    modality: str
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]
    names: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether what has no label is outside the body."""
        return self.dataset in WHOLE


@dataclass(frozen=True)
class View:
    """What a view shows: its shape (k, j, i), the spacing of its slices and in them."""

    shape: tuple[int, int, int]
    slice_mm: float
    pixel_mm: float

    @property
    def aspect(self) -> float:
        """Slice spacing in in-plane voxels."""
        return self.slice_mm / self.pixel_mm

    @property
    def steps_mm(self) -> tuple[float, float, float]:
        """Spacing along (k, j, i)."""
        return (self.slice_mm, self.pixel_mm, self.pixel_mm)


def read_maps(folders: Sequence[Path]) -> list[ReadMap]:
    """Every label map without an image that the manifests of the folders name.

    Raises InputError for a map that cannot be read or is empty.
    """
    return [_read(one) for folder in folders for one in training_label_maps(folder)]


def _read(one: LabelMap) -> ReadMap:
    volume = read_image(one.labels).canonical()[0]
    labels, values = numbered(volume.array, one.labels)
    names = subject_of(one, values, 1.0).names
    labels = np.ascontiguousarray(labels[ndimage.find_objects((labels > 0).view(np.uint8))[0]])
    return ReadMap(one.dataset, one.patient, one.modality, labels, volume.geometry.spacing_mm, names)


def tissue_name(name: str) -> str:
    """A structure's name without its side: what is alike on both sides looks alike."""
    found = _FREESURFER.search(name)
    if found:
        number = int(found[1])
        return f"FreeSurfer {_FREESURFER_LEFT.get(number, number)}"
    return _SIDES.sub(" ", name).strip(" _-").lower()


def seen(rng: Rng, one: ReadMap, label: int, view: View) -> np.ndarray:
    """The map's numbers in a view, turned, stretched, warped; a voxel of a structure is about in the middle.

    0 beyond the map.
    """
    inside = np.flatnonzero(one.labels == label)
    centre = np.array(np.unravel_index(int(inside[rng.integers(len(inside))]), one.labels.shape))
    away = rng.uniform(-0.15, 0.15, 3) * view.shape
    axes = [
        (np.arange(n) - (n - 1) / 2 + shift) * step
        for n, shift, step in zip(view.shape, away, view.steps_mm, strict=True)
    ]
    places = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    turn = Rotation.from_euler("xyz", rng.uniform(-_TURN, _TURN, 3)).as_matrix()
    turn = turn @ np.diag(1 + rng.uniform(-_STRETCH, _STRETCH, 3))
    places = np.tensordot(turn.astype(np.float32), places, 1)
    amount, wavelength = rng.uniform(*_WARP_MM), rng.uniform(30, 80) / view.pixel_mm
    for axis in range(3):
        places[axis] += 0.5 * amount * smooth_noise(rng, view.shape, wavelength, view.aspect)
    index = places / np.array(one.spacing_mm, np.float32)[:, None, None, None]
    index += centre.astype(np.float32)[:, None, None, None]
    return ndimage.map_coordinates(one.labels, index, order=0, mode="constant", cval=0)


def lesion(rng: Rng, shape: ReadMap, view: View) -> np.ndarray:
    """The shape of a lesion at a view's spacing, flipped, its axes exchanged; bool (k, j, i)."""
    order = rng.permutation(3)
    flips = tuple(slice(None, None, int(rng.choice([-1, 1]))) for _ in range(3))
    mask = (shape.labels > 0).transpose(order)[flips]
    spacing = np.array(shape.spacing_mm)[order] * rng.uniform(0.7, 1.3)
    return ndimage.zoom(mask.astype(np.float32), spacing / view.steps_mm, order=1) > 0.5
