"""Further images of one patient, in one place with the image that was annotated: CT beside MR, T1, FLAIR."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .files import same_file
from .volume import Volume

IMAGE = "image"
"""What reports call an image without a name of its own, beside its channels."""
MAX_CHANNEL_NAME = 400
"""Characters of a channel's name at most."""


@dataclass(frozen=True, eq=False)
class Channel:
    """One more image of the same patient, co-registered: a point of the world is the same place in both.

    name: what the image shows, such as "FLAIR", for reports and tasks. volume: on a grid of its own.
    """

    name: str
    volume: Volume


def image_name(volume: Volume) -> str:
    """What reports call the image itself, beside its channels."""
    return volume.name or IMAGE


def check_channel_names(names: Iterable[str], image: str = IMAGE) -> None:
    """Raise InputError for a name that is blank or long, has control characters, or comes twice in any case.

    image: the name of the image itself.
    """
    seen = {image.strip().casefold()}
    for name in names:
        if not name.strip() or len(name) > MAX_CHANNEL_NAME or not name.isprintable():
            raise InputError(
                f"An image cannot be called {name[:40]!r}; give a channel a name of 1 to "
                f"{MAX_CHANNEL_NAME} characters: NAME=PATH."
            )
        if name.strip().casefold() in seen:
            raise InputError(f"Two images are called {name}; give each channel a name of its own: NAME=PATH.")
        seen.add(name.strip().casefold())


def check_channel_paths(channels: Iterable[tuple[str, Path]], others: Mapping[str, Path]) -> None:
    """Raise InputError for a channel that is another file that is read, and for one file of two names.

    channels: names and files. others: by what the message calls them, such as "the image".
    """
    taken = dict(others)
    for name, path in channels:
        for what, other in taken.items():
            if same_file(path, other):
                raise InputError(f"The channel {name} is {what} itself; give another image.")
        taken[f"the channel {name}"] = path
