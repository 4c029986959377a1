"""Options that several commands share, as typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

AllowNonfinite = Annotated[
    bool, typer.Option("--allow-nonfinite", help="Read NaN and infinite voxels as the image's minimum.")
]
ResampleUneven = Annotated[
    bool,
    typer.Option("--resample-uneven", help="Put DICOM slices that are not evenly spaced onto even ones."),
]
Painting = Annotated[
    Literal["slices", "complete", "scribbles"],
    typer.Option(help="What the painting says: whole slices, every voxel, or painted voxels only."),
]
Plane = Annotated[
    Literal["axial", "coronal", "sagittal"] | None,
    typer.Option(help="Only slices of this plane are complete; seen from the paint without it."),
]
Frame = Annotated[
    str | None,
    typer.Option(
        "--volume", metavar="N|all", help="Of a 4D file: the frame, counted from 0, or all of them."
    ),
]
OneFrame = Annotated[
    int | None,
    typer.Option("--volume", metavar="N", help="Of a 4D image: the frame, counted from 0.", min=0),
]
Confidence = Annotated[
    bool,
    typer.Option("--confidence/--no-confidence", help="Tell which Dice to expect; quicker without."),
]
Within = Annotated[
    Path | None,
    typer.Option(
        metavar="MASK", help="Look nowhere else: a label map, .seg.nrrd, DICOM SEG or RTSTRUCT, all of it."
    ),
]
Uncertainty = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Write a map of each structure, too: 255 where it is undecided."),
]
KeepDoubtful = Annotated[
    bool,
    typer.Option(
        "--keep-doubtful/--drop-doubtful", help="Keep what may be there or not, marked, or leave it out."
    ),
]
Force = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STRUCTURE", help="Keep it however little speaks for it; may be given several times."
    ),
]
AcceptAbove = Annotated[
    float, typer.Option(metavar="DICE", help="Expected Dice of all structures to accept an image.")
]
PaintBelow = Annotated[
    float, typer.Option(metavar="DICE", help="Expected Dice of a structure to paint on its image.")
]
Lesions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STRUCTURE",
        help="Tell the connected parts of this structure only; may be given several times. All without it.",
    ),
]
MeasureTable = Annotated[
    Path | None,
    typer.Option(
        "--measure", metavar="TABLE.csv", help="Also measure the result, as `medmetaseg measure` does."
    ),
]
Measure = Annotated[
    bool,
    typer.Option("--measure", help="Measure the results: measurements.csv and lesions.csv beside them."),
]
Connectivity = Annotated[
    int,
    typer.Option(metavar="6|18|26", help="Neighbours that connect a lesion's voxels: faces, edges, corners."),
]
SmallestMm3 = Annotated[
    float, typer.Option("--smallest-mm3", metavar="MM3", help="Volume of the smallest part that is counted.")
]
OnlyStructure = Annotated[
    list[str] | None, typer.Option(help="Segment this structure only; may be given several times.")
]
Quality = Annotated[
    Literal["fast", "balanced", "best"],
    typer.Option(help="Coarser working grids, in half the time, or finer ones and --adapt."),
]
Channels = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="[NAME=]PATH",
        help="A further image of the patient, co-registered: T1 beside CT; may be given several times.",
    ),
]
NamedChannels = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="NAME=PATH",
        help="A further image of the patient, co-registered, which the task asks for ever after; of several "
        "patients once for each, in their order.",
    ),
]
ChannelsOfOne = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="NAME=PATH",
        help="A channel of the one image, as the task calls it; of several images, the CSV file has a column "
        "channel:NAME.",
    ),
]
ResultFormat = Annotated[
    Literal["nii.gz", "seg.nrrd", "dcm"] | None,
    typer.Option(
        "--format",
        help="Of the results: nii.gz; seg.nrrd where structures overlap; dcm (DICOM SEG) of DICOM images.",
    ),
]
Layout = Annotated[
    Literal["folders", "names"],
    typer.Option(help="The result for p1/ct.nii.gz: p1/ct.nii.gz, or p1_ct.nii.gz."),
]
MemoryLimit = Annotated[
    int | None, typer.Option(help="MB for images in work; half of the memory if not given.", min=1)
]
Scheduler = Annotated[
    str, typer.Option(help="Address of a Dask scheduler, tcp://host:8786, whose workers do the work.")
]
WithIdentifiers = Annotated[
    bool, typer.Option("--with-identifiers", help="Paths and folders' names may be in the report.")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the network runs.")]
