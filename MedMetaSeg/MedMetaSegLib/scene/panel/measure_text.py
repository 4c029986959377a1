"""What the Measure tab says of figures: in cells, in sentences, and how they are defined."""

from __future__ import annotations

from slicer.i18n import tr as _

from ...measurements.measurements import (
    IntensityStatistics,
    Lesion,
    Measurements,
    MeasureOptions,
    StructureMeasurements,
)
from ...results.millilitres import millilitres_text


def meanText(intensity: IntensityStatistics | None) -> str:
    """Mean and standard deviation of the volume's values; "" of a segment without voxels."""
    return "" if intensity is None else f"{intensity.mean:.4g} ± {intensity.stdev:.3g}"


def diametersText(lesion: Lesion) -> str:
    """The longest diameter and the perpendicular one in mm, without the unit."""
    return f"{lesion.longest.length_mm:.1f} × {lesion.perpendicular.length_mm:.1f}"


def structureDetails(one: StructureMeasurements) -> str:
    """Everything that was measured of a segment, in lines."""
    if not one.voxel_count or one.intensity is None:
        return _("{name}: it has no voxels.").format(name=one.name)
    lines = [
        _("{name}: {volume} cm³, {voxels} voxels").format(
            name=one.name, volume=millilitres_text(one.volume_cm3), voxels=one.voxel_count
        ),
        _("Surface {surface:.1f} cm², Feret diameter {feret:.1f} mm").format(
            surface=one.surface_area_mm2 / 100, feret=one.feret_diameter_mm
        ),
        _intensityDetails(one.intensity),
        _("Connected parts: {parts}").format(parts=one.part_count),
    ]
    if one.touches_border:
        lines.append(_("It reaches the border of the image: part of it may be outside."))
    return "\n".join(lines)


def _intensityDetails(one: IntensityStatistics) -> str:
    return _(
        "Values: mean {mean:.4g}, standard deviation {stdev:.4g}, median {median:.4g}, from {low:.4g} to "
        "{high:.4g}, nine tenths of them from {p05:.4g} to {p95:.4g}"
    ).format(
        mean=one.mean,
        stdev=one.stdev,
        median=one.median,
        low=one.min,
        high=one.max,
        p05=one.percentile_05,
        p95=one.percentile_95,
    )


def lesionDetails(structure: StructureMeasurements, lesion: Lesion) -> str:
    """Everything that was measured of a lesion, in lines."""
    lines = [
        _("{name} {number}: {volume} cm³, {voxels} voxels").format(
            name=structure.name,
            number=lesion.number,
            volume=millilitres_text(lesion.volume_cm3),
            voxels=lesion.voxel_count,
        ),
        _("Diameters in slice {index}: {diameters} mm").format(
            index=lesion.slice_index, diameters=diametersText(lesion)
        ),
    ]
    if lesion.nearest_mm == 0:
        lines.append(_("It touches {name}.").format(name=lesion.nearest_structure))
    elif lesion.nearest_mm is not None:
        lines.append(
            _("{distance:.1f} mm from {name}").format(
                distance=lesion.nearest_mm, name=lesion.nearest_structure
            )
        )
    if lesion.touches_border:
        lines.append(_("It reaches the border of the image: part of it may be outside."))
    return "\n".join(lines)


def nearestText(lesion: Lesion) -> str:
    """The closest other segment and how far it is; "" without one."""
    if lesion.nearest_mm is None:
        return ""
    return _("{name}, {distance:.0f} mm").format(name=lesion.nearest_structure, distance=lesion.nearest_mm)


def summaryText(measured: Measurements) -> str:
    """How many lesions each segment has and how large they are together, and every note."""
    options = measured.options
    asked = [one for one in measured.structures if one.voxel_count and options.asks_for(one.name)]
    return "\n".join([*(_lesionsText(one, options) for one in asked), *measured.notes])


def _lesionsText(one: StructureMeasurements, options: MeasureOptions) -> str:
    count = len(one.lesions)
    text = _("{name}: 1 lesion") if count == 1 else _("{name}: {count} lesions")
    text = text.format(name=one.name, count=count)
    if count:
        burden = millilitres_text(one.lesions_cm3)
        text = _("{text}, {burden} cm³ in all").format(text=text, burden=burden)
    if one.small_count:
        text = _("{text}; not counted: {count} below {smallest:g} mm³ ({volume} cm³)").format(
            text=text,
            count=one.small_count,
            smallest=options.smallest_mm3,
            volume=millilitres_text(one.small_volume_cm3),
        )
    return text


def limitsText() -> str:
    """What stands below the tables at all times."""
    return _(
        "For research: look at every result. Thick slices, and lesions that flow together, change numbers "
        "and diameters."
    )


def definitionsText(measured: Measurements | None) -> str:
    """How the figures are defined. measured: what the tables show, None while they are empty."""
    paragraphs = [
        _(
            "Volumes, surfaces, Feret diameters and values are those of Slicer's Segment Statistics, "
            "measured on the volume's voxels where they lie in the world. A linear transform that stretches "
            "the volume stretches what is measured. The standard deviation is that of the segment's values."
        ),
        _(
            "A lesion is a connected part of a segment. How many there are depends on what counts as "
            "connected, by faces, edges or corners of voxels, and on the smallest volume that is counted."
        ),
        _(
            "The longest diameter is the longest in any axial slice of the grid, from outer edge to outer "
            "edge of its voxels; the second one is the longest at right angles to it in the same slice. In "
            "an oblique volume these are the slices closest to axial. Slices are counted from 0. No "
            "category of a response is given."
        ),
        _(
            "A diameter cannot be more exact than a voxel, and slices of 5 mm may miss the largest section. "
            "Lesions that touch each other count as one; one that falls apart in a thin place counts as two."
        ),
    ]
    if measured is not None:
        paragraphs.append(
            _("Shown: {neighbours} neighbours, from {smallest:g} mm³.").format(
                neighbours=measured.options.connectivity, smallest=measured.options.smallest_mm3
            )
        )
    return "\n\n".join(paragraphs)
