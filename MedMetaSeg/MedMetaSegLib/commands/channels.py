"""Files of further images of a patient, as `--channel` names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..imageio.files import check_there, stem
from ..imageio.names import shown

if TYPE_CHECKING:
    from ..imageio.channel import Channel


@dataclass(frozen=True)
class ChannelFile:
    """A further image of the patient. name: given, or that of the file."""

    name: str
    path: Path
    is_named: bool = False


def channel_files(given: Sequence[str]) -> tuple[ChannelFile, ...]:
    """What `--channel` is given, NAME=PATH or PATH; a file whose name has a "=" is taken for a path."""
    return tuple(_channel_file(text) for text in given)


def check_channel_files(channels: Sequence[ChannelFile], image: Path, support: Path) -> None:
    """Raise InputError for names that are no names or come twice, and for files that are not there.

    image, support: the patient's, neither of which is a channel.
    """
    from ..imageio.channel import check_channel_names, check_channel_paths

    check_channel_names([one.name for one in channels], shown(stem(image)))
    for one in channels:
        check_there(one.path, f"channel {one.name}")
    files = [(one.name, one.path) for one in channels]
    check_channel_paths(files, {"the image": image, "the support": support})


def check_named(channel: ChannelFile) -> None:
    """Raise InputError for a channel that is called as its file: a task keeps names, and may be shared."""
    if not channel.is_named:
        raise InputError(
            f"A task finds channels by name; give one to {shown(channel.path)}: --channel NAME=PATH."
        )


def named_channels(given: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """The names and files that `--channel NAME=PATH` gives. Raises InputError for one without a name."""
    channels = channel_files(given)
    for one in channels:
        check_named(one)
    return tuple((one.name, one.path) for one in channels)


def read_channels(
    channels: Sequence[ChannelFile], *, allow_nonfinite: bool, resample_uneven: bool
) -> tuple[Channel, ...]:
    """The images of the files. Raises InputError as `imageio.volume.read_volume`."""
    from ..imageio.channel import Channel
    from ..imageio.volume import frame_count, read_volume

    for one in channels:
        if (frames := frame_count(one.path)) > 1:
            raise InputError(
                f"The channel {one.name} is a sequence of {frames} frames; save the one that belongs to the "
                "image as a file of its own."
            )
    return tuple(
        Channel(
            one.name,
            read_volume(one.path, allow_nonfinite=allow_nonfinite, resample_uneven=resample_uneven),
        )
        for one in channels
    )


def _channel_file(text: str) -> ChannelFile:
    name, mark, path = text.partition("=")
    if mark and not Path(text).exists():
        return ChannelFile(name.strip(), Path(path), is_named=True)
    return ChannelFile(shown(stem(Path(text))), Path(text))
