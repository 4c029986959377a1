"""One case: an image with its segmentation, as measurements, embeddings and a checksum."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..imageio.geometry import index3
from ..imageio.volume import Volume
from ..measurements.measure import measure
from ..measurements.measurements import MeasureOptions
from ..network.inference import Predictor
from ..progress import check_cancelled, never
from ..support.structure import StructureMask, tight
from ..working_grid.black_margins import without_margins
from ..working_grid.intensity import IntensityNormalization, intensity_normalization
from ..working_grid.reduced_image import without_world_position
from .embedding import pooled_embedding
from .measured_values import SEPARATOR, VOLUME_FRACTION, is_size, structure_values

_VOLUME = "volume_cm3"


@dataclass(frozen=True, eq=False)
class CaseFeatures:
    """What is known of a case.

    modality: "CT", or "MR" for all else. image_sha256: see `voxel_checksum`. values: by structure, in the
    order of the segmentation, then by kind; empty for a structure without voxels. embeddings: (E,) by
    structure; empty where none were asked for. notes: sentences that a reader must see.
    """

    modality: str
    image_sha256: str
    values: Mapping[str, Mapping[str, float]]
    embeddings: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()

    def problem(self, structures: Sequence[str]) -> str:
        """Why the case has not got what is measured of these structures, a sentence; "" if it has."""
        for name in structures:
            if name not in self.values:
                return f"There is no structure '{name}'; there are {', '.join(self.values) or 'none'}."
            if not self.values[name]:
                return f"The structure '{name}' is empty, so nothing can be measured of it."
        return ""

    def measurements(self, names: Sequence[str], structures: Sequence[str]) -> tuple[float, ...]:
        """The measurements called STRUCTURE:KIND; shares of volume are of these structures together.

        Raises InputError for one that is missing or not finite, and for a size that is not above 0.
        """
        return tuple(self._measurement(name, structures) for name in names)

    def _measurement(self, name: str, structures: Sequence[str]) -> float:
        structure, _, kind = name.rpartition(SEPARATOR)
        values = self.values[structure]
        if kind == VOLUME_FRACTION:
            value = values[_VOLUME] / sum(self.values[one][_VOLUME] for one in structures)
        else:
            value = values.get(kind, math.nan)
        if not math.isfinite(value):
            raise InputError(f"The measurement {name} is missing, so the case cannot be compared by it.")
        if is_size(name) and value <= 0:
            raise InputError(
                f"The measurement {name} is {value:g}, and sizes are compared by their logarithm: it must be "
                "above 0."
            )
        return value


def case_features(
    volume: Volume,
    masks: Sequence[StructureMask],
    options: MeasureOptions,
    predictor: Predictor | None,
    notes: Sequence[str] = (),
    cancelled: Callable[[], bool] = never,
) -> CaseFeatures:
    """Measure a case; masks lie on the volume's grid.

    predictor: makes the embeddings; None for none. notes: of the reading, which the case keeps. Raises
    InputError for two structures of one name and for no structure at all, and Cancelled.
    """
    names = [one.structure.name for one in masks]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"Several structures are called '{doubled[0]}'; cases are compared by their names.")
    if not masks:
        raise InputError("There is no structure in the segmentation.")
    plain, placed = _canonical(volume, masks)
    intensities = intensity_normalization(plain)
    measured = measure(volume, masks, options)
    values = {
        one.name: structure_values(one, intensities) if one.voxel_count else {} for one in measured.structures
    }
    embeddings = {} if predictor is None else _embeddings(plain, placed, intensities, predictor, cancelled)
    cut_off = (
        f"{one.name} touches the image's border: perhaps it is cut off, and its size that of a part."
        for one in measured.structures
        if one.touches_border
    )
    told = (*notes, *measured.notes, *cut_off)
    return CaseFeatures(intensities.modality, voxel_checksum(volume), values, embeddings, told)


def voxel_checksum(volume: Volume) -> str:
    """SHA-256 of the voxels from left to right, posterior to anterior, inferior to superior.

    The same whatever type they are stored as and however the axes are stored; it knows nothing of the place.
    """
    array = volume.canonical()[0].array
    digest = hashlib.sha256(repr(array.shape).encode())
    for plane in array:
        digest.update(np.ascontiguousarray(plane, "<f4").data)
    return digest.hexdigest()


def _canonical(volume: Volume, masks: Sequence[StructureMask]) -> tuple[Volume, tuple[StructureMask, ...]]:
    """The volume as the network sees it, without black margins and world position, and the masks there."""
    there = [one for one in masks if one.voxels]
    inner, start = without_margins(volume, there)
    canonical, axis_map = inner.canonical()
    placed = []
    for one in there:
        offset, mask = tight(one.mask, one.offset)
        offset = axis_map.apply_offset(index3(np.subtract(offset, start)), index3(mask.shape))
        placed.append(StructureMask(one.structure, offset, np.ascontiguousarray(axis_map.apply(mask))))
    return without_world_position(canonical), tuple(placed)


def _embeddings(
    volume: Volume,
    masks: Sequence[StructureMask],
    intensities: IntensityNormalization,
    predictor: Predictor,
    cancelled: Callable[[], bool],
) -> dict[str, np.ndarray]:
    found = {}
    for one in masks:
        check_cancelled(cancelled)
        found[one.structure.name] = pooled_embedding(volume, intensities, one, predictor, cancelled)
    return found
