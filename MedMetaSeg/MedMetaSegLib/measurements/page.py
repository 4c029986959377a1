"""The page of one case: what was measured, in one file that opens from disk, with the definitions used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from ..imageio.volume import Volume
from ..results.millilitres import millilitres_text
from ..results.web_page import definitions, document, number_cell, number_text, small, table, text
from ..support.structure import StructureMask
from .lesion_picture import STYLE as PICTURE_STYLE
from .lesion_picture import LesionPictures
from .measurements import IntensityStatistics, Lesion, Measurements, MeasureOptions, StructureMeasurements
from .table import NO_VOXELS

PICTURED = 40
"""Lesions that have a picture, the largest of all structures."""

_STYLE = """
.scroll { overflow-x: auto; }
th:not(:first-child) { text-align: right; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem; }
figure { margin: 0; }
figure:target { outline: 3px solid #4dd0e1; outline-offset: 3px; }
figcaption { font-size: .9rem; }
.key { font-weight: 600; padding: 0 .3rem; background: #000; }
.key.outline { color: #ffd54a; }
.key.longest { color: #4dd0e1; }
.key.perpendicular { color: #ff8a65; }
"""
_STRUCTURE_HEADS = (
    "structure",
    "voxels",
    "cm3",
    "surface mm2",
    "Feret mm",
    "mean",
    "median",
    "stdev",
    "min",
    "max",
    "5 %",
    "95 %",
    "lesions",
    "burden cm3",
    "too small",
)
_LESION_HEADS = (
    "structure",
    "lesion",
    "cm3",
    "longest mm",
    "perpendicular mm",
    "slice",
    "centre R, A, S mm",
    "to the nearest structure mm",
)
_INTENSITY = tuple(one.name for one in fields(IntensityStatistics))
_BORDER = "at the image's border"


def case_page(
    measurements: Measurements,
    volume: Volume,
    masks: Sequence[StructureMask],
    window: tuple[float, float],
    sections: Sequence[str] = (),
) -> str:
    """The page as HTML; nothing in it is loaded from anywhere.

    masks: of the structures, in the order of the measurements, on the volume's grid. window: intensities that
    are black and white in pictures. sections: more HTML, as of a comparison, before the definitions.
    """
    lesions = [
        (number, lesion) for number, one in enumerate(measurements.structures) for lesion in one.lesions
    ]
    # The largest first; of two as large as one another the one that comes first.
    pictured = sorted(lesions, key=lambda entry: -entry[1].volume_cm3)[:PICTURED]
    return document(
        "MedMetaSeg measurements",
        [
            "<h1>MedMetaSeg measurements</h1>",
            f"<p>{text(volume.name)}. For research; look at every result.</p>",
            *(f"<p>{text(note)}</p>" for note in measurements.notes),
            "<h2>Structures</h2>",
            _scroll(table(_STRUCTURE_HEADS, _structure_rows(measurements))),
            *(_lesion_section(measurements, lesions, pictured) if lesions else ()),
            *(_picture_section(measurements, volume, masks, window, pictured) if pictured else ()),
            *sections,
            "<h2>How it was measured</h2>",
            definitions(_definitions(measurements.options)),
            "<h2>Limits</h2>",
            definitions(_LIMITS),
        ],
        _STYLE + PICTURE_STYLE,
    )


def _scroll(html: str) -> str:
    """A wide table moves by itself where the window is narrow."""
    return f'<div class="scroll">{html}</div>'


def _structure_rows(measurements: Measurements) -> list[str]:
    return [_structure_row(one, measurements.options) for one in measurements.structures]


def _structure_row(one: StructureMeasurements, options: MeasureOptions) -> str:
    remark = "" if one.voxel_count else NO_VOXELS
    cells = [
        f"<td>{text(one.name)}{small(remark, _BORDER if one.touches_border else '')}</td>",
        number_cell(str(one.voxel_count), one.voxel_count),
        number_cell(millilitres_text(one.volume_cm3), one.volume_cm3),
        number_cell(number_text(one.surface_area_mm2), one.surface_area_mm2),
        number_cell(f"{one.feret_diameter_mm:.1f}", one.feret_diameter_mm),
    ]
    for name in _INTENSITY:
        value = None if one.intensity is None else getattr(one.intensity, name)
        cells.append(number_cell("" if value is None else number_text(value), value))
    if options.asks_for(one.name):
        cells.append(number_cell(str(len(one.lesions)), len(one.lesions)))
        cells.append(number_cell(millilitres_text(one.lesions_cm3), one.lesions_cm3))
        cells.append(number_cell(str(one.small_count), one.small_count))
    else:
        cells += [number_cell("", None)] * 3
    return f"<tr>{''.join(cells)}</tr>"


def _lesion_section(
    measurements: Measurements,
    lesions: Sequence[tuple[int, Lesion]],
    pictured: Sequence[tuple[int, Lesion]],
) -> list[str]:
    there = {(number, lesion.number) for number, lesion in pictured}
    rows = [
        _lesion_row(measurements.structures[number].name, number, lesion, (number, lesion.number) in there)
        for number, lesion in lesions
    ]
    count = "1 lesion" if len(lesions) == 1 else f"{len(lesions)} lesions"
    return [f"<h2>{count}</h2>", _scroll(table(_LESION_HEADS, rows))]


def _lesion_row(structure: str, number: int, lesion: Lesion, pictured: bool) -> str:
    told = f'<a href="#{_anchor(number, lesion)}">{lesion.number}</a>' if pictured else str(lesion.number)
    nearest = "none" if lesion.nearest_mm is None else f"{lesion.nearest_mm:.1f}"
    centre = ", ".join(f"{value:.1f}" for value in lesion.centroid_ras)
    cells = [
        f"<td>{text(structure)}{small(_BORDER if lesion.touches_border else '')}</td>",
        f'<td class="number" data-sort="{lesion.number}">{told}</td>',
        number_cell(millilitres_text(lesion.volume_cm3), lesion.volume_cm3),
        number_cell(f"{lesion.longest.length_mm:.1f}", lesion.longest.length_mm),
        number_cell(f"{lesion.perpendicular.length_mm:.1f}", lesion.perpendicular.length_mm),
        number_cell(str(lesion.slice_index), lesion.slice_index),
        number_cell(centre, lesion.centroid_ras[2]),
        number_cell(nearest, lesion.nearest_mm, small(lesion.nearest_structure)),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _picture_section(
    measurements: Measurements,
    volume: Volume,
    masks: Sequence[StructureMask],
    window: tuple[float, float],
    pictured: Sequence[tuple[int, Lesion]],
) -> list[str]:
    pictures = LesionPictures(volume, masks, window)
    figures = [
        _figure(pictures, measurements.structures[number].name, number, lesion) for number, lesion in pictured
    ]
    which = f"the {len(pictured)} largest, seen" if len(pictured) == PICTURED else "seen"
    return [
        "<h2>Slices of the diameters</h2>",
        f"<p>Lesions, {which} from the feet, with the "
        '<span class="key outline">outline of the structure</span>, the '
        '<span class="key longest">longest diameter</span> and the '
        '<span class="key perpendicular">perpendicular one</span>.</p>',
        f'<div class="pictures">{"".join(figures)}</div>',
    ]


def _figure(pictures: LesionPictures, structure: str, number: int, lesion: Lesion) -> str:
    title = f"{structure}, lesion {lesion.number}"
    size = f"{lesion.longest.length_mm:.1f} x {lesion.perpendicular.length_mm:.1f} mm"
    caption = f"{title}: {size}, {millilitres_text(lesion.volume_cm3)} cm3, slice {lesion.slice_index}"
    svg = pictures.svg(number, lesion, title)
    return f'<figure id="{_anchor(number, lesion)}">{svg}<figcaption>{text(caption)}</figcaption></figure>'


def _anchor(number: int, lesion: Lesion) -> str:
    return f"lesion-{number}-{lesion.number}"


def _definitions(options: MeasureOptions) -> list[tuple[str, str]]:
    named = (
        f"Only of {', '.join(options.lesions)}."
        if options.lesions
        else ("Of every structure, organs too: name those that are meant with --lesions.")
    )
    return [
        (
            "Lesion",
            f"A connected part of a structure, of voxels with {options.connectivity} neighbours, that has "
            f"{options.smallest_mm3:g} mm3 or more. {named} Smaller parts are only counted, under too small. "
            "The burden is the volume of all lesions of a structure.",
        ),
        (
            "Longest and perpendicular diameter",
            "The longest line between two points of the outline of one connected piece of a lesion, in any "
            "one slice across the image's axis nearest to superior, and the longest at right angles to it in "
            "the same slice. Both end at outer edges of voxels, and may leave a concave lesion in between. "
            "Slices are counted from 0.",
        ),
        (
            "Feret diameter, surface, stdev, percentiles",
            "By the definitions of Slicer's Segment Statistics: the largest distance between the centres of "
            "two voxels; ITK's estimate of the surface; the standard deviation of the voxels' values, with "
            "the divisor n - 1; values of voxels.",
        ),
        (
            "Distance",
            "From a lesion's surface to that of the nearest other structure; 0 where they touch.",
        ),
    ]


_LIMITS = (
    (
        "The image's border",
        "What touches it may go on beyond it: its size is a lower bound.",
    ),
    (
        "The outline decides",
        "Every figure is that of the segmentation, and as good as it: look at the slices.",
    ),
    (
        "Thick slices",
        "A lesion of few slices has an uncertain volume, and its longest diameter may lie between two.",
    ),
    (
        "Confluent lesions",
        "Lesions that touch are one part and counted once; one that is interrupted is counted more often.",
    ),
    (
        "No clinical category",
        "Nothing here is a measurement by RECIST or another standard, nor a finding of a radiologist.",
    ),
)
