"""The arguments of `medmetaseg segment`, as typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..imageio.frames import named_frames
from ..measurements.measurements import SMALLEST_LESION_MM3
from . import options
from .channels import channel_files
from .measure import options_beside
from .segment_request import SegmentRequest


def segment(
    image: Annotated[Path, typer.Argument(help="NIfTI, NRRD, MetaImage, a DICOM folder or file.")],
    support: Annotated[Path, typer.Argument(help="Painted: a label map, .seg.nrrd, DICOM SEG or RTSTRUCT.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Label map (.nii.gz, .nii, .nrrd, .mha), .seg.nrrd or, of a DICOM image, DICOM SEG (.dcm).",
        ),
    ],
    annotation: options.Painting = "slices",
    plane: options.Plane = None,
    structure: options.OnlyStructure = None,
    report: Annotated[
        Path | None, typer.Option(help="Write voxels, millilitres and seconds as JSON.")
    ] = None,
    device: options.Device = "auto",
    allow_nonfinite: options.AllowNonfinite = False,
    resample_uneven: options.ResampleUneven = False,
    keep_islands: Annotated[
        bool, typer.Option("--keep-islands", help="Keep small parts that touch nothing painted.")
    ] = False,
    quality: options.Quality = "balanced",
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Let the network take a few steps on the slices first; slower.")
    ] = False,
    save_task: Annotated[
        Path | None, typer.Option(help="Also learn a task (.medmetaseg) for the next patient.")
    ] = None,
    confidence: options.Confidence = True,
    uncertainty: options.Uncertainty = None,
    channel: options.Channels = None,
    volume: options.Frame = None,
    measure: options.MeasureTable = None,
    lesions: options.Lesions = None,
    connectivity: options.Connectivity = 26,
    smallest_mm3: options.SmallestMm3 = SMALLEST_LESION_MM3,
    within: options.Within = None,
) -> None:
    """Segment the whole of what SUPPORT shows on a few slices of IMAGE."""
    from .segment import segment_files

    segment_files(
        SegmentRequest(
            image=image,
            support=support,
            out=out,
            annotation=annotation,
            plane=plane,
            structures=tuple(structure or ()),
            report=report,
            device=device,
            allow_nonfinite=allow_nonfinite,
            resample_uneven=resample_uneven,
            keep_islands=keep_islands,
            save_task=save_task,
            quality=quality,
            adapt=adapt,
            confidence=confidence,
            uncertainty=uncertainty,
            channels=channel_files(channel or ()),
            frames=named_frames(volume),
            table=measure,
            measure=options_beside(measure is not None, lesions, connectivity, smallest_mm3),
            within=within,
        )
    )
