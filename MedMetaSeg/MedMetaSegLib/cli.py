"""The command `medmetaseg`: arguments in, files out, one line on stderr when something is wrong.

Exit status: 0 done; 2 bad input or arguments, nothing written; 3 some of many images failed, the rest done;
130 cancelled, nothing written but the images that were finished.
What is cheap to find wrong is found first, and torch is imported only when everything else is right.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .commands import compare as compare_group
from .commands import export as export_group
from .commands import options
from .commands import task as task_group
from .commands.apply_command import apply
from .commands.exit_status import EXIT_BAD_INPUT, EXIT_CANCELLED
from .commands.learn_command import inspect, learn
from .commands.measure import measure
from .commands.segment_command import segment
from .errors import Cancelled, CancelledPartway, InputError
from .imageio.names import shown

# Typer has a Click of its own under a private name, or the real one; this is the base of its errors in both.
_ArgumentError: type[Any] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="Segment 3D medical images from a few painted slices.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a name shows how it is written, and nothing fails.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (the process's own when None); returns the exit status."""
    command = typer.main.get_command(app)
    try:
        status = command.main(
            list(arguments) if arguments is not None else None, "medmetaseg", standalone_mode=False
        )
    except _ArgumentError as error:
        return _refused(error.format_message())
    except InputError as error:
        return _refused(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == __package__:
            raise
        return _refused(f"The Python package '{error.name}' is not installed: set up with `make setup`.")
    except CancelledPartway as error:
        print(f"medmetaseg: {error}", file=sys.stderr)
        return EXIT_CANCELLED
    except (Cancelled, typer.Abort, KeyboardInterrupt):
        status = EXIT_CANCELLED
    # Typer turns Ctrl-C into this status by itself, without a word.
    if status == EXIT_CANCELLED:
        print("medmetaseg: cancelled; nothing was written.", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _refused(message: str) -> int:
    print(f"medmetaseg: {' '.join(shown(message).split())}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"medmetaseg {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Segment 3D medical images from a few painted slices."""


for command in (segment, learn, apply, inspect, measure):
    app.command()(command)
app.add_typer(task_group.app, name="task")
app.add_typer(compare_group.app, name="compare")
app.add_typer(export_group.app, name="export")


@app.command()
def train(
    config: Annotated[Path | None, typer.Option(help="Settings, TOML; the options below go first.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time to learn, in all (40).", min=0.01)] = None,
    steps: Annotated[int | None, typer.Option(help="End after so many steps, if earlier.", min=1)] = None,
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, weights and log.")] = Path("out/training"),
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of labelled images to mix in, any number of them; synthetic only without."),
    ] = None,
    prepared: Annotated[
        Path | None, typer.Option(help="Folder to keep what is made of them, for data that is read-only.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    device: options.Device = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Processes that make episodes (as many as are needed).", min=0)
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Episodes in a step, on each GPU (2).", min=1)] = None,
    real_share: Annotated[
        float | None, typer.Option(help="Share of anatomies of patients in --data (0.3).", min=0, max=1)
    ] = None,
    painted_share: Annotated[
        float | None,
        typer.Option(help="Share painted on label maps without images in --data (0.15).", min=0, max=1),
    ] = None,
    placed_share: Annotated[
        float | None,
        typer.Option(help="Share of patients in --data to whom another is registered (0).", min=0, max=1),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest of the run (0.002).")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same episodes (0).")] = None,
    start: Annotated[Path | None, typer.Option(help="Weights to begin with; random ones without.")] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard's events too.")
    ] = False,
    show_episodes: Annotated[
        Path | None, typer.Option(help="Only draw ten episodes into this PNG; nothing is trained.")
    ] = None,
) -> None:
    """Meta-train the network, anew or from given weights; `torchrun` runs it on several GPUs."""
    # Before numpy is loaded: episodes solve many small systems, where BLAS threads only wait for one another.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .training import trainer

    trainer.main(
        config,
        out,
        device=device,
        resume=resume,
        tensorboard=tensorboard,
        show_episodes=show_episodes,
        minutes=minutes,
        steps=steps,
        data=tuple(data) if data else None,
        prepared=prepared,
        workers=workers,
        batch=batch,
        real_share=real_share,
        painted_share=painted_share,
        placed_share=placed_share,
        learning_rate=learning_rate,
        seed=seed,
        start=start,
    )


@app.command()
def benchmark(
    data: Annotated[Path, typer.Option(help="Folder of cases with their manifest.")],
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = Path("out/benchmark"),
    k: Annotated[
        list[int] | None, typer.Option("-k", help="Painted slices; may be given several times.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this dataset; may be given several times.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method; may be given several times.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the rows that are there.")] = False,
    device: options.Device = "auto",
    profile: Annotated[
        bool, typer.Option("--profile", help="Only show where the time goes, stage by stage.")
    ] = False,
    job: Annotated[
        list[str] | None, typer.Option(help="With --profile: only this job; may be given several times.")
    ] = None,
) -> None:
    """Measure accuracy and time against the baselines, on cases with truth."""
    if profile:
        if k or dataset or method or resume:
            raise typer.BadParameter("--profile goes with --data, --out, --device and --job only")
        from .evaluation import stage_profile

        stage_profile.main(data, out, device, job)
        return
    if job:
        raise typer.BadParameter("--job goes with --profile only")
    from .evaluation import benchmark as evaluation

    evaluation.main(data=data, out=out, ks=k, datasets=dataset, methods=method, resume=resume, device=device)


@app.command()
def demo(
    image: Annotated[Path | None, typer.Option(help="An image of your own, with --support.")] = None,
    support: Annotated[Path | None, typer.Option(help="What you painted on it.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of scene, segmentation, pictures and report.")] = Path(
        "out/demo"
    ),
    device: options.Device = "auto",
    seed: Annotated[int, typer.Option(help="Which phantom patient.")] = 0,
) -> None:
    """Segment a phantom patient, or an image of your own, in a Slicer scene, and draw pictures."""
    from .demo import run as demonstration

    demonstration.main(image=image, support=support, out=out, device=device, seed=seed)


if __name__ == "__main__":
    main()
