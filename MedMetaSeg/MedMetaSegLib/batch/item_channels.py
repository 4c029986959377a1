"""Further images of each image of a batch, for tasks that were learned with channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..imageio.channel import Channel
from ..imageio.csv_list import Line
from ..imageio.files import with_data_file
from ..imageio.volume import read_volume


@dataclass(frozen=True)
class ItemChannel:
    """A further image of one patient.

    path: its file, or the folder of its DICOM series; files: all that hold its voxels, whether there or not.
    """

    name: str
    path: Path
    files: tuple[Path, ...]

    @classmethod
    def of(cls, name: str, path: Path) -> ItemChannel:
        """The channel of this name in a file or a folder."""
        if path.is_dir():
            return cls(name, path, tuple(sorted(one for one in path.iterdir() if one.is_file())))
        return cls(name, path, with_data_file(path))

    @property
    def whole(self) -> ItemChannel:
        """The same with absolute paths."""
        return replace(self, path=self.path.resolve(), files=tuple(one.resolve() for one in self.files))

    def read(self, allow_nonfinite: bool, resample_uneven: bool) -> Channel:
        """The image. Raises InputError as `read_volume`."""
        volume = read_volume(self.path, allow_nonfinite=allow_nonfinite, resample_uneven=resample_uneven)
        return Channel(self.name, volume)


def channel_column(name: str) -> str:
    """The column of a list that names the files of a channel."""
    return f"channel:{name.strip().casefold()}"


def listed_channels(line: Line, names: Sequence[str], folder: Path) -> tuple[ItemChannel, ...]:
    """The channels that a line of a list names, relative to its folder. names: of the task's channels."""
    cells = [(name, (line.get(channel_column(name)) or "").strip()) for name in names]
    return tuple(ItemChannel.of(name, folder / cell) for name, cell in cells if cell)


def given_channels(
    channels: Sequence[tuple[str, Path]], names: Sequence[str], images: int, listed: bool
) -> tuple[ItemChannel, ...]:
    """The channels that a request gives beside its one image.

    names: of the task's channels. images: how many there are; listed: whether a list names channels of some.
    Raises InputError where they cannot be told apart, and where a task with channels gets none.
    """
    if channels and (images != 1 or listed):
        raise InputError(
            "Channels are given beside one image; of several, list the images in a CSV file with a column "
            "channel:NAME."
        )
    if names and not channels and not listed:
        raise InputError(
            f"The task needs {', '.join(names)} beside each image: give --channel NAME=PATH with one image, "
            "or a CSV file with a column channel:NAME."
        )
    return tuple(ItemChannel.of(name, path) for name, path in channels)
