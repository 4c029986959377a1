"""The measurements that cases are compared by: what they are called, how they are made, and which are chosen.

A measurement is called STRUCTURE:KIND, such as `liver:volume_cm3`. Sizes and counts are compared by their
logarithm, since twice as large is as far as half as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import InputError
from ..measurements.measurements import IntensityStatistics, StructureMeasurements
from ..working_grid.intensity import IntensityNormalization

MOST_MEASUREMENTS = 8
"""Measurements that cases are compared by, at most: few examples do not bear more."""
STRUCTURES_BY_DEFAULT = 4
"""Structures, the first of the list, whose measurements are taken where none are named."""
VOLUME_FRACTION = "volume_fraction"
"""A structure's volume over that of all structures together; made when these are known."""
SEPARATOR = ":"

_SIZES = ("volume_cm3", "surface_area_mm2", "feret_diameter_mm")
_COUNTS = ("lesion_count",)
_INTENSITIES = ("mean", "median", "stdev", "min", "max", "percentile_05", "percentile_95")
_SPREADS = ("stdev",)
_RELATIVE = "relative_"
_SHAPES = ("sphericity", "elongation")
_DEFAULT = (
    "volume_cm3",
    VOLUME_FRACTION,
    "mean",
    "sphericity",
    "stdev",
    "elongation",
    "lesion_count",
    "percentile_95",
)
"""Kinds in the order in which they are taken where none are named, each of every structure in turn."""


def structure_values(one: StructureMeasurements, intensities: IntensityNormalization) -> dict[str, float]:
    """Every kind of measurement of a structure that has voxels, but for its volume fraction, by kind.

    CT has intensities in Hounsfield units. Those of other images mean nothing by themselves: they are called
    `relative_mean` and so on, 0 at the low and 1 at the high end of the image's own range. sphericity:
    surface of the ball of the same volume over the structure's; elongation: longest diameter over the ball's.
    """
    values = {kind: float(getattr(one, kind)) for kind in _SIZES}
    # The ball of the same volume is what shapes are compared with.
    ball_mm = (6000 * one.volume_cm3 / math.pi) ** (1 / 3)
    values["sphericity"] = math.pi * ball_mm**2 / one.surface_area_mm2
    values["elongation"] = one.feret_diameter_mm / ball_mm
    values["lesion_count"] = float(one.part_count - one.small_count)
    if one.intensity is not None:
        values |= _intensities(one.intensity, intensities)
    return values


def kinds(modality: str) -> tuple[str, ...]:
    """All kinds of measurement for images of this modality, "CT" or "MR"."""
    prefix = "" if modality == "CT" else _RELATIVE
    return (*_SIZES, VOLUME_FRACTION, *_SHAPES, *_COUNTS, *(prefix + kind for kind in _INTENSITIES))


def default_measurements(structures: Sequence[str], modality: str) -> tuple[str, ...]:
    """The measurements of these structures that are taken where the user names none: at most eight.

    In a fixed order, which looks at neither groups nor values: volume of the first four structures, their
    share of all volumes (from the second structure on, since shares add up to 1), mean intensity, sphericity,
    standard deviation, elongation, number of lesions, 95 percentile.
    """
    first = structures[:STRUCTURES_BY_DEFAULT]
    prefix = "" if modality == "CT" else _RELATIVE
    names = [
        name + SEPARATOR + (prefix + kind if kind in _INTENSITIES else kind)
        for kind in _DEFAULT
        for name in (first[1:] if kind == VOLUME_FRACTION else first)
    ]
    return tuple(names[:MOST_MEASUREMENTS])


def check_kinds(names: Sequence[str]) -> None:
    """Raise InputError for a measurement that is none of any structure in any image."""
    known = dict.fromkeys((*kinds("CT"), *kinds("MR")))
    for name in names:
        structure, _, kind = name.rpartition(SEPARATOR)
        if not structure or kind not in known:
            raise InputError(
                f"There is no measurement {name!r}; write STRUCTURE:KIND with one of {', '.join(known)}."
            )


def check_measurements(names: Sequence[str], structures: Sequence[str], modality: str) -> tuple[str, ...]:
    """The measurements that a user names. Raises InputError for unknown ones, doubles and more than eight."""
    known = kinds(modality)
    for name in names:
        structure, _, kind = name.rpartition(SEPARATOR)
        if structure not in structures:
            raise InputError(
                f"There is no structure {structure!r} for the measurement {name!r}; there are "
                f"{', '.join(structures) or 'none'}."
            )
        if kind not in known:
            raise InputError(
                f"There is no measurement {kind!r} for images that are {image_words(modality)}; there are "
                f"{', '.join(known)}."
            )
    if len(set(names)) < len(names):
        raise InputError("A measurement is named twice; name each once.")
    if len(names) > MOST_MEASUREMENTS:
        raise InputError(f"{len(names)} measurements are named; name at most {MOST_MEASUREMENTS}.")
    return tuple(names)


def is_size(name: str) -> bool:
    """Whether a measurement called STRUCTURE:KIND is a size, which must be above 0 to have a logarithm."""
    return name.rpartition(SEPARATOR)[2] in _SIZES


def compared_value(name: str, value: float) -> float:
    """A measurement as it is compared: the decimal logarithm of a size, of a count + 1, others unchanged."""
    if is_size(name):
        return math.log10(value)
    return math.log10(1 + value) if name.rpartition(SEPARATOR)[2] in _COUNTS else value


def image_words(modality: str) -> str:
    """What images of a modality are called, "CT" or "MR", which stands for all else."""
    return "CT" if modality == "CT" else "other than CT"


def _intensities(statistics: IntensityStatistics, scale: IntensityNormalization) -> dict[str, float]:
    values = {kind: float(getattr(statistics, kind)) for kind in _INTENSITIES}
    if scale.modality == "CT":
        return values
    span = scale.high - scale.low
    return {
        _RELATIVE + kind: (value if kind in _SPREADS else value - scale.low) / span
        for kind, value in values.items()
    }
