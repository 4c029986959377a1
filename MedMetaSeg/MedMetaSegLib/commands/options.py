"""Options that several commands share, as typer reads them."""

from __future__ import annotations

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
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the network runs.")]
