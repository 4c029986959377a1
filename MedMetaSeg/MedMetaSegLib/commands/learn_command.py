"""The arguments of `medmetaseg learn` and `medmetaseg inspect`, as typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def learn(
    files: Annotated[
        list[Path], typer.Argument(metavar="IMAGE SUPPORT...", help="Images, each with its support.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The task file, NAME.medmetaseg.")],
    annotation: options.Painting = "slices",
    plane: options.Plane = None,
    device: options.Device = "auto",
    allow_nonfinite: options.AllowNonfinite = False,
    volume: options.OneFrame = None,
    resample_uneven: options.ResampleUneven = False,
    channel: options.NamedChannels = None,
) -> None:
    """Learn a task from one or several patients, to be applied to others."""
    from .learn import LearnRequest, channels_of_patients, in_pairs, learn_files

    pairs = in_pairs(files)
    learn_files(
        LearnRequest(
            pairs=pairs,
            channels=channels_of_patients(channel or (), len(pairs)),
            out=out,
            annotation=annotation,
            plane=plane,
            device=device,
            allow_nonfinite=allow_nonfinite,
            frame=volume,
            resample_uneven=resample_uneven,
        )
    )


def inspect(task: Annotated[Path, typer.Argument(help="A task file.")]) -> None:
    """Show what a task file holds."""
    from .learn import inspect_file

    inspect_file(task)
