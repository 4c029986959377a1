"""The arguments of `medmetaseg apply`, as typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..confidence.triage import ACCEPT_ABOVE, PAINT_BELOW
from ..imageio.frames import named_frames
from ..measurements.measurements import SMALLEST_LESION_MM3
from . import options
from .channels import named_channels
from .exit_status import EXIT_SOME_FAILED
from .measure import options_beside


def apply(
    task: Annotated[Path, typer.Argument(help="A task file from learn or segment --save-task.")],
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, patterns, folders (with all below them), DICOM folders, or CSV files with a "
            "column image and, where wanted, name, allow_nonfinite, within, and channel:NAME for each of the "
            "task's."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results, one per image.")],
    report: Annotated[
        Path | None,
        typer.Option(help="Write a row per image as CSV, and beside it a page (.html) to look through."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out images that are done.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
    result_format: options.ResultFormat = None,
    layout: options.Layout = "folders",
    keep_doubtful: options.KeepDoubtful = True,
    force: options.Force = None,
    confidence: options.Confidence = True,
    accept_above: options.AcceptAbove = ACCEPT_ABOVE,
    paint_below: options.PaintBelow = PAINT_BELOW,
    uncertainty: options.Uncertainty = None,
    workers: Annotated[int, typer.Option(help="Images worked on at the same time.", min=1)] = 1,
    memory_limit: options.MemoryLimit = None,
    scheduler: options.Scheduler = "",
    with_identifiers: options.WithIdentifiers = False,
    device: options.Device = "auto",
    allow_nonfinite: options.AllowNonfinite = False,
    volume: options.Frame = None,
    resample_uneven: options.ResampleUneven = False,
    measure: options.Measure = False,
    lesions: options.Lesions = None,
    connectivity: options.Connectivity = 26,
    smallest_mm3: options.SmallestMm3 = SMALLEST_LESION_MM3,
    within: options.Within = None,
    channel: options.ChannelsOfOne = None,
) -> None:
    """Segment the structures of TASK in other patients' images; nothing is painted on them."""
    from ..batch.request import BatchRequest
    from .apply import apply_files

    request = BatchRequest(
        task=task,
        inputs=tuple(images),
        out=out,
        report=report,
        format=result_format,
        resume=resume,
        overwrite=overwrite,
        workers=workers,
        device=device,
        memory_limit_mb=memory_limit,
        allow_nonfinite=allow_nonfinite,
        resample_uneven=resample_uneven,
        with_identifiers=with_identifiers,
        scheduler=scheduler,
        frames=named_frames(volume),
        layout=layout,
        keep_doubtful=keep_doubtful,
        force=tuple(force or ()),
        confidence=confidence,
        accept_above=accept_above,
        paint_below=paint_below,
        uncertainty=uncertainty,
        measure=options_beside(measure, lesions, connectivity, smallest_mm3),
        within=within,
        channels=named_channels(channel or ()),
    )
    if apply_files(request):
        raise typer.Exit(EXIT_SOME_FAILED)
