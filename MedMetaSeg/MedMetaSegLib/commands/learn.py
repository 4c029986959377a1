"""`medmetaseg learn` and `medmetaseg inspect`: supports in, a task file out; and what a task file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..imageio.files import check_there
from .channels import ChannelFile, channel_files, check_channel_files, check_named, read_channels
from .outputs import check_task_output
from .terminal import progress_bar, show_task

if TYPE_CHECKING:
    from ..imageio.volume import Volume
    from ..support.support import Annotation, Support


@dataclass(frozen=True)
class LearnRequest:
    """The arguments of `medmetaseg learn`.

    pairs: image and support of each patient. frame: of 4D images, counted from 0. channels: of each patient,
    none for a task of one image.
    """

    pairs: tuple[tuple[Path, Path], ...]
    out: Path
    annotation: Annotation = "slices"
    plane: str | None = None
    device: str = "auto"
    allow_nonfinite: bool = False
    frame: int | None = None
    resample_uneven: bool = False
    channels: tuple[tuple[ChannelFile, ...], ...] = ()


def in_pairs(files: Sequence[Path]) -> tuple[tuple[Path, Path], ...]:
    """IMAGE SUPPORT IMAGE SUPPORT ... as pairs. Raises InputError for an odd number."""
    if not files or len(files) % 2:
        raise InputError("Give each image with its support: IMAGE SUPPORT, one pair after another.")
    return tuple(zip(files[::2], files[1::2], strict=True))


def channels_of_patients(given: Sequence[str], patients: int) -> tuple[tuple[ChannelFile, ...], ...]:
    """The channels of each patient: NAME=PATH as often as there are patients, in their order.

    None without channels. Raises InputError for a channel without a name, since a task keeps it and must not
    keep that of a patient's file, and for one that is not given for each patient once.
    """
    by_name: dict[str, list[ChannelFile]] = {}
    for one in channel_files(given):
        check_named(one)
        by_name.setdefault(one.name, []).append(one)
    for name, files in by_name.items():
        if len(files) != patients:
            raise InputError(
                f"The channel {name} is given {len(files)} times for {patients} images; give it once for "
                "each image, in their order."
            )
    return tuple(zip(*by_name.values(), strict=True))


def learn_files(request: LearnRequest) -> None:
    """Learn a task from files. Raises InputError with nothing written."""
    for image, support in request.pairs:
        for path, what in ((image, "image"), (support, "support")):
            check_there(path, what)
    for (image, support), own in zip(request.pairs, request.channels, strict=bool(request.channels)):
        check_channel_files(own, image, support)
    others = [one.path for own in request.channels for one in own]
    check_task_output(request.out, [*(path for pair in request.pairs for path in pair), *others])
    with progress_bar() as progress:
        progress(0.0, "Reading")
        pairs = [_read(image, support, request) for image, support in request.pairs]
        channels = [
            read_channels(
                own, allow_nonfinite=request.allow_nonfinite, resample_uneven=request.resample_uneven
            )
            for own in request.channels
        ]
        progress(0.02, "Loading the network")
        from ..segmenter import Segmenter

        task = Segmenter.load(device=request.device).learn(pairs, channels=channels, progress=progress)
        progress(1.0, "Writing")
        task.write(request.out)
    show_task(task, request.out)
    for note in dict.fromkeys(note for _, support in pairs for note in support.notes):
        print(note)


def inspect_file(path: Path) -> None:
    """Show what a task file holds. Raises TaskError."""
    from ..task.task_file import Task

    show_task(Task.read(path), path)


def _read(image: Path, support: Path, request: LearnRequest) -> tuple[Volume, Support]:
    from ..imageio.volume import read_volume
    from ..support.dicom_objects import find_drawn_object
    from ..support.placement import placed_support
    from ..support.support import Support, check_overlap, check_something_left

    read_image = partial(
        read_volume,
        image,
        allow_nonfinite=request.allow_nonfinite,
        frame=request.frame,
        resample_uneven=request.resample_uneven,
    )
    # Mostly empty, the support is the quicker to read and the likelier to be wrong. DICOM needs the image:
    # contours have no grid, and frames of single slices do not say how far slices lie apart.
    first = None if find_drawn_object(support) is None else read_image()
    painted = Support.read(support, annotation=request.annotation, plane=request.plane, reference=first)
    volume = read_image() if first is None else first
    painted = placed_support(painted, volume)
    check_overlap(painted, volume.geometry)
    if request.annotation != "complete":
        check_something_left(painted, volume.geometry)
    return volume, painted
