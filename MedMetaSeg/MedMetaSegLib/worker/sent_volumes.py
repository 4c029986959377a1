"""Volumes on their way into the worker's folder, piece by piece, each of them once."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

from ..imageio.volume import Volume
from .exchange import Description, describe_volume, written_in_pieces


class SentVolumes:
    """The volumes in a folder of the worker; those that the last job did not name are removed.

    folder: private, and there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Hashable, Description] = {}
        self._writing: list[Iterator[None]] = []

    def of_job(self, job: int, volumes: Sequence[tuple[Volume, Hashable]]) -> list[Description]:
        """Descriptions of the volumes of a job, whose voxels will be written as `write_piece` is called.

        Each comes with its key: what was sent before under a key is not sent again; None sends it anew.
        """
        named = [
            (volume, ("unnamed", job, number) if key is None else key)
            for number, (volume, key) in enumerate(volumes)
        ]
        self._remove_all_but([key for _, key in named])
        for number, (volume, key) in enumerate(named):
            if key not in self._files:
                self._files[key] = self.write(self._folder / f"volume-{job}-{number}.npy", volume)
        return [self._files[key] for _, key in named]

    def write(self, path: Path, volume: Volume) -> Description:
        """The description of a volume whose voxels will be written as `write_piece` is called."""
        self._writing.append(written_in_pieces(path, volume.array))
        return describe_volume(path, volume)

    def write_piece(self) -> bool:
        """Write one more piece; False when there is none left. Raises OSError when the disk is full."""
        while self._writing:
            for _ in self._writing[0]:
                return True
            self._writing.pop(0)
        return False

    def _remove_all_but(self, keys: Sequence[Hashable]) -> None:
        for key in [one for one in self._files if one not in keys]:
            # On Windows a file that is being read cannot be removed; it goes with the folder.
            with contextlib.suppress(PermissionError):
                Path(self._files.pop(key)["file"]).unlink()
