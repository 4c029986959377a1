"""`medmetaseg compare`: examples learned from cases of several groups, other cases compared with them.

Only what typer needs is imported with the module; numpy and torch come with the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from ..measurements.measurements import SMALLEST_LESION_MM3, Connectivity, MeasureOptions
from . import options

app = typer.Typer(
    help="Compare segmented cases with examples of groups; for research, not a diagnosis.",
    no_args_is_help=True,
)

_SOME_FAILED = 3
"""Exit status where some cases could not be used and the rest is done."""

Page = Annotated[Path | None, typer.Option(help="Write a page (.html) to look through.")]


@app.command("learn")
def learn(
    cases: Annotated[
        Path,
        typer.Argument(
            metavar="CASES.csv", help="Columns image, segmentation, group, and name and patient if you like."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The examples, EXAMPLES.json.")],
    table: Annotated[Path | None, typer.Option(help="Write what was measured of each case (.csv).")] = None,
    page: Page = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="STRUCTURE:KIND", help="Compare by this measurement; up to eight times."),
    ] = None,
    structure: Annotated[
        list[str] | None, typer.Option(help="Compare by this structure only; may be given several times.")
    ] = None,
    embedding: Annotated[
        bool, typer.Option("--embedding/--no-embedding", help="Compare by the network's embedding, too.")
    ] = True,
    connectivity: options.Connectivity = 26,
    smallest_mm3: options.SmallestMm3 = SMALLEST_LESION_MM3,
    device: options.Device = "auto",
    allow_nonfinite: options.AllowNonfinite = False,
    resample_uneven: options.ResampleUneven = False,
) -> None:
    """Learn examples from cases of two groups or more, five or more of each, and say how well they differ.

    Give one image of each patient, or a column patient:
    several images of one make p and the interval too good.
    """
    from .compare_learn import CompareLearnRequest, learn_examples
    from .listed_cases import Reading

    all_used = learn_examples(
        CompareLearnRequest(
            cases=cases,
            out=out,
            table=table,
            page=page,
            by=tuple(by or ()),
            structures=tuple(structure or ()),
            embedding=embedding,
            options=MeasureOptions((), cast(Connectivity, connectivity), smallest_mm3),
            device=device,
            reading=Reading(allow_nonfinite, resample_uneven),
        )
    )
    if not all_used:
        raise typer.Exit(_SOME_FAILED)


@app.command("apply")
def apply(
    examples: Annotated[Path, typer.Argument(metavar="EXAMPLES.json", help="What `compare learn` wrote.")],
    cases: Annotated[
        list[Path],
        typer.Argument(
            metavar="CASES...", help="A .csv with columns image and segmentation, or IMAGE SEGMENTATION."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The table, a row per case (.csv).")],
    page: Page = None,
    device: options.Device = "auto",
    allow_nonfinite: options.AllowNonfinite = False,
    resample_uneven: options.ResampleUneven = False,
) -> None:
    """Say of each case how far it is from every group, and which group it is most like, if any."""
    from .compare_apply import CompareApplyRequest, compare_cases
    from .listed_cases import Reading

    all_used = compare_cases(
        CompareApplyRequest(
            examples=examples,
            cases=tuple(cases),
            out=out,
            page=page,
            device=device,
            reading=Reading(allow_nonfinite, resample_uneven),
        )
    )
    if not all_used:
        raise typer.Exit(_SOME_FAILED)
