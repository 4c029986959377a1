"""A volume handed to the worker in one go."""

from __future__ import annotations

from pathlib import Path

from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.worker.exchange import Description, describe_volume, written_in_pieces


def save_volume(path: Path, volume: Volume) -> Description:
    """Write the voxels to `path` (.npy) and describe the rest."""
    for _ in written_in_pieces(path, volume.array):
        pass
    return describe_volume(path, volume)
