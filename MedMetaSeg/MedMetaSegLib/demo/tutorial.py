"""The pictures and figures of docs/tutorial.md, made anew from the volume of Slicer's Sample Data.

    python -m MedMetaSegLib.demo.tutorial BaselineVolume.nrrd docs/pictures

paints as the page says, segments in a real Slicer scene, corrects one slice, segments again, and compares
both answers with a second painting. The volume is not part of this project: Slicer's Sample Data has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from . import tutorial_case, tutorial_pictures
from .slicer_core import SlicerCoreMissingError, boot
from .views import RenderingUnavailableError, require_rendering


def main(
    image: Annotated[Path, typer.Argument(help="BaselineVolume.nrrd of Slicer's Sample Data.")],
    out: Annotated[Path, typer.Argument(help="Folder for tutorial-*.png.")],
    device: str = "cpu",
) -> None:
    """Segment the tutorial's volume and write its pictures; prints the page's figures."""
    try:
        make_pictures(image, out, device)
    except (InputError, SlicerCoreMissingError, RenderingUnavailableError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def make_pictures(image: Path, out: Path, device: str = "cpu") -> None:
    """What `main` does. Raises InputError for another file, and what `boot` and `SliceView` raise."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give the name of a folder.")
    volume = tutorial_case.tutorial_volume(image)
    boot()
    require_rendering()
    from ..scene.logic import SceneLogic

    volume_node, first, second = tutorial_case.press_twice(volume, SceneLogic(), device)
    for title, step in (("First answer", first), ("Second answer", second)):
        print(f"{title}: {step.seconds:.1f} s")
        for name, answer in step.answers.items():
            print(
                f"  {name}: {answer.millilitres:.1f} ml, Dice with the second painting {answer.dice:.3f}, "
                f"expected {answer.expected_dice:.2f}, to paint next: slice {answer.next_slice}"
            )
    for path in tutorial_pictures.write(out, volume, volume_node, first, second):
        print(path)


if __name__ == "__main__":
    typer.run(main)
