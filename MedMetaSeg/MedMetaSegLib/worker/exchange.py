"""Volumes, supports and results as .npy files in a folder and a JSON-ready description; never pickle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..imageio.geometry import Geometry, Index3, index3
from ..imageio.volume import Volume
from ..support.search_region import SearchRegion
from ..support.structure import AnnotatedStructure, SlicePlane, Structure, StructureMask
from ..support.support import Support

Description = dict[str, Any]

PIECE_BYTES = 32 * 2**20
MASK_PIECE_BYTES = 4 * 2**20


@dataclass(frozen=True, eq=False)
class SentMask:
    """A structure whose mask lies in a file of the worker's folder; see `read_in_pieces`.

    No StructureMask, for its voxels are not in memory: who shows it reads them piece by piece.
    """

    structure: Structure
    offset: Index3
    shape: Index3
    path: Path


def written_in_pieces(path: Path, array: np.ndarray) -> Iterator[None]:
    """Write an array (k, j, i) to `path` (.npy) piece by piece, so that who writes can do other things."""
    slices = max(1, PIECE_BYTES // max(1, array[:1].nbytes))
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(array), slices):
            file.write(np.ascontiguousarray(array[start : start + slices]).data)
            yield


def read_in_pieces(path: Path, out: np.ndarray) -> Iterator[None]:
    """Read a mask that `save_mask` wrote into `out`, uint8 (k, j, i), piece by piece.

    The file is open only while a piece is read. Raises ValueError when it holds anything but a mask of that
    shape.
    """
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if (shape, fortran_order, dtype) != (out.shape, False, np.dtype(bool)):
        raise ValueError(f"{path.name} holds no mask of the shape {out.shape}")
    whole = out.reshape(-1)
    for begin in range(0, whole.size, MASK_PIECE_BYTES):
        with path.open("rb") as file:
            file.seek(start + begin)
            file.readinto(whole[begin : begin + MASK_PIECE_BYTES].data)
        yield


def describe_volume(path: Path, volume: Volume) -> Description:
    """All of a volume but its voxels, which are or will be in `path`."""
    return {
        "file": str(path),
        "affine": volume.geometry.affine.tolist(),
        "name": volume.name,
        "modality": volume.modality,
    }


def load_volume(description: Description) -> Volume:
    """The volume that `describe_volume` described."""
    array = load_array(description["file"])
    geometry = Geometry(index3(array.shape), np.array(description["affine"]))
    return Volume(array, geometry, name=description["name"], modality=description["modality"])


def save_support(folder: Path, support: Support) -> Description:
    """Write one mask for each painted structure into `folder` and describe the rest."""
    background = support.background
    return {
        "shape": list(support.geometry.shape),
        "affine": support.geometry.affine.tolist(),
        "structures": [
            _save_painted(folder / f"painted-{number}.npy", one)
            for number, one in enumerate(support.structures)
        ],
        "background": None if background is None else _save_painted(folder / "background.npy", background),
        "annotation": support.annotation,
        "overlapping": support.overlapping,
        "skipped": [list(pair) for pair in support.skipped],
        "notes": list(support.notes),
    }


def load_support(description: Description) -> Support:
    """The support that `save_support` described."""
    background = description["background"]
    return Support(
        Geometry(index3(description["shape"]), np.array(description["affine"])),
        tuple(_load_painted(one) for one in description["structures"]),
        description["annotation"],
        description["overlapping"],
        None if background is None else _load_painted(background),
        tuple((name, reason) for name, reason in description["skipped"]),
        tuple(description["notes"]),
    )


def save_region(folder: Path, region: SearchRegion | None) -> Description | None:
    """Write the mask of a region into `folder` and describe the rest; None where there is none."""
    if region is None:
        return None
    return {
        "file": save_array(folder / "region.npy", region.mask),
        "offset": list(region.offset),
        "source": region.source,
        "notes": list(region.notes),
    }


def load_region(description: Description | None) -> SearchRegion | None:
    """The region that `save_region` described."""
    if description is None:
        return None
    offset, mask = index3(description["offset"]), load_array(description["file"])
    return SearchRegion(offset, mask, description["source"], tuple(description["notes"]))


def save_structures(folder: Path, structures: Sequence[StructureMask]) -> list[Description]:
    """Write the mask of each structure of a result into `folder` and describe the rest."""
    return [save_mask(folder / f"found-{number}.npy", one) for number, one in enumerate(structures)]


def load_structures(descriptions: Sequence[Description]) -> tuple[StructureMask, ...]:
    """The structures that `save_structures` described."""
    return tuple(
        StructureMask(_structure(one), index3(one["offset"]), load_array(one["file"])) for one in descriptions
    )


def sent_mask(description: Description) -> SentMask:
    """What `save_mask` described, with its "shape" in the description; the voxels stay where they are."""
    offset, shape = index3(description["offset"]), index3(description["shape"])
    return SentMask(_structure(description), offset, shape, Path(description["file"]))


def _save_painted(path: Path, painted: AnnotatedStructure) -> Description:
    planes = [{"axis": one.axis, "slices": list(one.slices)} for one in painted.planes]
    return {**save_mask(path, painted), "planes": planes}


def _load_painted(description: Description) -> AnnotatedStructure:
    planes = [SlicePlane(one["axis"], tuple(one["slices"])) for one in description["planes"]]
    mask = StructureMask(
        _structure(description), index3(description["offset"]), load_array(description["file"])
    )
    return AnnotatedStructure.on_planes(mask, planes)


def save_mask(path: Path, one: StructureMask) -> Description:
    """Write the mask of a structure to `path` (.npy) and describe the rest."""
    np.save(path, one.mask.astype(bool, copy=False), allow_pickle=False)
    offset = [int(start) for start in one.offset]
    return {"file": str(path), "structure": asdict(one.structure), "offset": offset}


def _structure(description: Description) -> Structure:
    fields = description["structure"]
    return Structure(**{**fields, "color": tuple(fields["color"])})


def save_array(path: Path, array: np.ndarray) -> str:
    """Write an array to `path` (.npy); returns the path for a message."""
    np.save(path, array, allow_pickle=False)
    return str(path)


def load_array(path: str) -> np.ndarray:
    """The array in a file (.npy); ValueError when it holds objects."""
    return np.load(path, allow_pickle=False)
