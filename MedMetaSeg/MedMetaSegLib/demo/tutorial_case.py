"""The tutorial's volume, its painting, and the two presses in a real Slicer scene."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from ..errors import InputError
from ..evaluation.metrics import dice
from ..imageio.volume import Volume, read_volume
from ..scene.sample_data import TUTORIAL
from ..support.structure import Structure, StructureMask
from . import tutorial_outlines as outlines
from .slicer_core import boot

if TYPE_CHECKING:
    from ..scene.logic import SceneLogic

VENTRICLES = Structure("ventricles", 1, (0.20, 0.75, 0.95))
LESION = Structure("lesion", 2, (0.95, 0.35, 0.30))
STRUCTURES = (VENTRICLES, LESION)
VENTRICLES_FROM = 2000
"""The lower end of the editable intensity range that the ventricles are painted with."""
_SMALLEST_PART = 40
"""Voxels of one slice: smaller parts inside a loose outline are sulci that nobody would paint."""

Masks = dict[str, np.ndarray]


@dataclass(frozen=True)
class Answer:
    """What was found of a structure.

    dice: over the slices of the second painting. expected_dice, next_slice: as the report tells; next_slice
    counts axial slices from 0 and is None where nothing is proposed.
    """

    millilitres: float
    dice: float
    expected_dice: float
    next_slice: int | None


@dataclass(frozen=True)
class Step:
    """One press of the button: nodes of its painting and its result, seconds, answers by name."""

    painted: Any
    result: Any
    seconds: float
    answers: Mapping[str, Answer]


def tutorial_volume(path: Path) -> Volume:
    """Read the tutorial's volume. Raises InputError for any other file, since the outlines fit it alone."""
    if not path.is_file():
        raise InputError(
            f"There is no file {path}: give BaselineVolume as Slicer's Sample Data downloads it."
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != TUTORIAL[2]:
        raise InputError(
            f"{path} is not the tutorial's volume: give BaselineVolume as Slicer's Sample Data downloads it."
        )
    return read_volume(path)


def first_painting(array: np.ndarray) -> Masks:
    """What is painted first, bool (k, j, i) by name; array: the tutorial's volume (k, j, i)."""
    return {
        VENTRICLES.name: ventricles_inside(array, outlines.VENTRICLES),
        LESION.name: filled(outlines.LESION, array.shape),
    }


def corrected_painting(array: np.ndarray) -> Masks:
    """What is painted after the correction; as in `first_painting`."""
    masks = first_painting(array)
    return {**masks, LESION.name: masks[LESION.name] | filled(outlines.LESION_CORRECTION, array.shape)}


def second_painting(array: np.ndarray) -> Masks:
    """The painting that answers are compared with, on slices that nobody paints; as in `first_painting`."""
    return {
        VENTRICLES.name: ventricles_inside(array, outlines.VENTRICLES_CHECK),
        LESION.name: filled(outlines.LESION_CHECK, array.shape),
    }


def filled(drawn: outlines.Outlines, shape: Iterable[int]) -> np.ndarray:
    """The voxels inside the outlines, bool (k, j, i) of the given shape."""
    from matplotlib.path import Path as Polygon

    mask = np.zeros(tuple(shape), bool)
    rows, columns = np.indices(mask.shape[1:])
    voxels = np.column_stack([columns.ravel(), rows.ravel()])
    for number, polygons in drawn.items():
        for vertices in polygons:
            mask[number] |= Polygon(vertices).contains_points(voxels).reshape(rows.shape)
    return mask


def ventricles_inside(array: np.ndarray, drawn: outlines.Outlines) -> np.ndarray:
    """The bright voxels inside loose outlines, holes filled and crumbs left out, bool (k, j, i)."""
    mask = filled(drawn, array.shape) & (array >= VENTRICLES_FROM)
    for number in drawn:
        parts, _ = scipy.ndimage.label(mask[number], np.ones((3, 3)))
        large = np.bincount(parts.ravel()) >= _SMALLEST_PART
        large[0] = False
        mask[number] = scipy.ndimage.binary_fill_holes(large[parts])
    return mask


def press_twice(volume: Volume, logic: SceneLogic, device: str) -> tuple[Any, Step, Step]:
    """The volume's node, and the two presses in the booted scene."""
    from . import nodes

    volume_node = nodes.addVolume(boot().scene, volume)
    paintings = (first_painting(volume.array), corrected_painting(volume.array))
    first, second = (_press(volume, volume_node, masks, logic, device) for masks in paintings)
    return volume_node, first, second


def _press(volume: Volume, volume_node: Any, masks: Masks, logic: SceneLogic, device: str) -> Step:
    from . import nodes

    painted = [StructureMask(one, (0, 0, 0), masks[one.name]) for one in STRUCTURES]
    painted_node = nodes.addSegments(volume_node, "Painted", painted, volume.geometry)
    started = time.perf_counter()
    result = logic.segment(volume_node, painted_node, device=device)
    seconds = time.perf_counter() - started
    found = nodes.segmentMasks(result, volume_node)
    check = second_painting(volume.array)
    rows = (logic.lastReport or {})["structures"]
    answers = {row["name"]: _answer(volume, found[row["name"]], check[row["name"]], row) for row in rows}
    return Step(painted_node, result, seconds, answers)


def _answer(volume: Volume, mask: np.ndarray, check: np.ndarray, row: Mapping[str, Any]) -> Answer:
    compared = check.any((1, 2))
    proposed = row["next_slice"]
    return Answer(
        millilitres=float(mask.sum() * volume.geometry.voxel_ml),
        dice=dice(mask[compared], check[compared]),
        expected_dice=row["predicted_dice"],
        next_slice=None if proposed is None else proposed["index"],
    )
