"""`medmetaseg export`: images and labels handed on to other tools.

Only what typer needs is imported with the module; numpy comes with the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options

app = typer.Typer(help="Hand images and labels on to other tools.", no_args_is_help=True)


@app.command("nnunet")
def nnunet(
    cases: Annotated[
        list[Path],
        typer.Argument(
            metavar="CASES...",
            help="IMAGE SUPPORT pairs, a .csv with columns image and segmentation, or a folder of `apply`.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder, DatasetXXX_Name.")],
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="What the folder's results were made of, as for `apply`; may be given several times."
        ),
    ] = None,
    task: Annotated[
        Path | None, typer.Option(help="The task that made the folder's label maps: it names their labels.")
    ] = None,
    least: Annotated[
        Literal["accept", "review", "paint"],
        typer.Option(help="The worst triage of a result that is taken; edited ones always are."),
    ] = "review",
    structure: Annotated[
        list[str] | None, typer.Option(help="Export this structure only; may be given several times.")
    ] = None,
    annotation: options.Painting = "slices",
    plane: options.Plane = None,
    channel_name: Annotated[
        str, typer.Option(help="What nnU-Net calls the images, such as CT or T1; seen from them without it.")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a dataset that was exported there before.")
    ] = False,
    volume: options.OneFrame = None,
    allow_nonfinite: options.AllowNonfinite = False,
    resample_uneven: options.ResampleUneven = False,
) -> None:
    """Write a training set for nnU-Net v2; what was not painted is labelled *ignore*.

    A .csv may have the columns annotation, name and patient, too.
    """
    from ..exports.listed_cases import Reading
    from .export_nnunet import ExportRequest, export_dataset

    export_dataset(
        ExportRequest(
            cases=tuple(cases),
            out=out,
            images=tuple(images or ()),
            task=task,
            least=least,
            structures=tuple(structure or ()),
            reading=Reading(annotation, plane, allow_nonfinite, resample_uneven, volume),
            channel_name=channel_name.strip(),
            overwrite=overwrite,
        )
    )
