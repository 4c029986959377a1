"""DICOM SEG of every make on an oblique CT with unequal pixels: each voxel exactly where it was drawn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_drawn import DrawnCt, sorted_places
from dicom_frames import write_seg
from MedMetaSegLib.imageio.volume import Volume, read_volume
from MedMetaSegLib.support.placement import placed_support
from MedMetaSegLib.support.support import Support

CT = DrawnCt(shape=(9, 36, 34))
"""Large enough for JPEG 2000: ITK spoils its memory when it writes images of less than 32 pixels."""
NAMES = ("Liver", "Tumour")


def drawn(*slices: int) -> list[np.ndarray]:
    """Two structures (k, j, i) that overlap, on all slices or some."""
    k, j, i = np.ogrid[tuple(slice(0, size) for size in CT.shape)]
    liver = ((k - 4) / 4.5) ** 2 + ((j - 6) / 5.2) ** 2 + ((i - 5) / 4.4) ** 2 < 1
    tumour = ((k - 4) / 3.2) ** 2 + ((j - 8) / 3.1) ** 2 + ((i - 7) / 3.3) ** 2 < 1
    kept = np.isin(np.arange(CT.shape[0]), slices or range(CT.shape[0]))[:, None, None]
    return [liver & kept, tumour & kept]


def apart(masks: list[np.ndarray]) -> list[np.ndarray]:
    """The same without the overlap, which a label map cannot hold."""
    return [masks[0] & ~masks[1], masks[1]]


CASES = {
    "full": (drawn(), {}),
    "three painted slices": (drawn(1, 4, 6), {}),
    "one painted slice": (drawn(4), {}),
    "cropped": (drawn(*range(2, 7)), {"crop": (slice(2, 7), slice(1, 14), slice(0, 12))}),
    "coronal": (drawn(), {"order": (1, 0, 2)}),
    "sagittal, from the other side": (drawn(), {"order": (2, 0, 1), "flip": True}),
    "apart": (apart(drawn()), {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CT.write(tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="module")
def volume(folder: Path) -> Volume:
    return read_volume(folder)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("maker", ["by hand", "highdicom"])
def test_binary_segments_lie_exactly_where_they_were_drawn(
    case: str, maker: str, folder: Path, volume: Volume, tmp_path: Path
) -> None:
    masks, way = CASES[case]
    write = by_hand if maker == "by hand" else by_highdicom
    check(write(tmp_path / "seg.dcm", masks, folder, **way), masks, volume)


@pytest.mark.parametrize("compressed", ["", "RLE", "JPEG2000"])
@pytest.mark.parametrize("kind", ["LABELMAP", "FRACTIONAL"])
def test_other_kinds_and_compressed_ones_do_too(
    kind: str, compressed: str, folder: Path, volume: Volume, tmp_path: Path
) -> None:
    masks = apart(drawn(1, 3, 4, 5))
    path = by_hand(tmp_path / "hand.dcm", masks, folder, kind=kind, compressed=compressed)
    check(path, masks, volume)
    if compressed != "JPEG2000":  # for which highdicom needs one more package
        path = by_highdicom(tmp_path / "high.dcm", masks, folder, kind, compressed=compressed)
        check(path, masks, volume)


def check(path: Path, masks: list[np.ndarray], volume: Volume) -> None:
    """Every voxel to a thousandth of a millimetre in the world, and the same voxels on the image's grid."""
    support = Support.read(path, annotation="complete")
    assert [one.structure.name for one in support.structures] == list(NAMES)
    for one, mask in zip(support.structures, masks, strict=True):
        places = support.geometry.index_to_world(np.argwhere(one.mask) + one.offset) * [-1, -1, 1]
        np.testing.assert_allclose(sorted_places(places), CT.world_of(mask), atol=1e-3, rtol=0)
    placed = placed_support(support, volume).on(volume.geometry)
    for one, mask in zip(placed.structures, masks, strict=True):
        whole = np.zeros(CT.shape, bool)
        whole[one.region] = one.mask
        np.testing.assert_array_equal(whole, mask)


def by_hand(
    path: Path,
    masks: list[np.ndarray],
    folder: Path,
    kind: str = "BINARY",
    crop: tuple[slice, slice, slice] = (slice(None),) * 3,
    order: tuple[int, int, int] = (0, 1, 2),
    flip: bool = False,
    compressed: str = "",
) -> Path:
    """Frames across the first axis of `order`, only those with a voxel, in no order."""
    _, row_axis, column_axis = order
    directions = CT.turn.T[::-1]  # of k, j and i
    orientation = [*directions[column_axis], *directions[row_axis]]
    if flip:
        orientation[:3] = -directions[column_axis]
    spacing = [CT.spacing_mm[axis] for axis in order]
    corner = np.array([one.start or 0 for one in crop])
    frames = []
    for number, cropped in enumerate((mask[crop].transpose(order) for mask in masks), start=1):
        for k in np.flatnonzero(cropped.any(axis=(1, 2)))[::-1]:
            first = corner.copy()
            first[order[0]] += k
            if flip:
                first[column_axis] += cropped.shape[2] - 1
            frame = cropped[k, :, ::-1] if flip else cropped[k]
            frames.append((number, CT.world(first[None])[0], voxels_of(frame, kind, number)))
    if kind == "LABELMAP":
        frames = merged(frames)
    segments = {number: {"SegmentLabel": name} for number, name in enumerate(NAMES, start=1)}
    return write_seg(
        path, frames, segments, kind, spacing[0], orientation, spacing[1:], compressed=compressed
    )


def voxels_of(mask: np.ndarray, kind: str, number: int) -> np.ndarray:
    return mask * {"BINARY": 1, "FRACTIONAL": 255, "LABELMAP": number}[kind]


def merged(frames: Iterable[tuple[int, np.ndarray, np.ndarray]]) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """One frame for each place, with the values of all."""
    places: dict[tuple[float, ...], np.ndarray] = {}
    for _, place, voxels in frames:
        key = tuple(place)
        places[key] = places.get(key, 0) + voxels
    return [(0, np.array(place), voxels) for place, voxels in places.items()]


def by_highdicom(
    path: Path,
    masks: list[np.ndarray],
    folder: Path,
    kind: str = "BINARY",
    crop: tuple[slice, slice, slice] = (slice(None),) * 3,
    order: tuple[int, int, int] = (0, 1, 2),
    flip: bool = False,
    compressed: str = "",
) -> Path:
    hd = pytest.importorskip("highdicom")
    stack = np.stack(masks, axis=-1)[crop].transpose(*order, 3)
    affine = np.eye(4)
    steps = (CT.turn * CT.spacing_mm[::-1])[:, ::-1]
    affine[:3, :3] = steps[:, order]
    affine[:3, 3] = CT.world(np.array([[one.start or 0 for one in crop]]))[0]
    if flip:
        affine[:3, 3] += (stack.shape[2] - 1) * affine[:3, 2]
        affine[:3, 2] *= -1
        stack = stack[:, :, ::-1]
    if kind == "LABELMAP":
        stack = (stack * np.arange(1, len(masks) + 1)).sum(axis=-1)
    voxels = hd.Volume(
        np.ascontiguousarray(stack).astype(np.float32 if kind == "FRACTIONAL" else np.uint8),
        affine,
        "PATIENT",
        "1.2.3.5",
        **({} if kind == "LABELMAP" else {"channels": {"SegmentNumber": list(range(1, len(masks) + 1))}}),
    )
    sources = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    options = {"transfer_syntax_uid": pydicom.uid.RLELossless} if compressed == "RLE" else {}
    hd.seg.Segmentation(
        sources,
        voxels,
        kind,
        [description(hd, number, name) for number, name in enumerate(NAMES, start=1)],
        pydicom.uid.generate_uid(),
        7,
        pydicom.uid.generate_uid(),
        1,
        "maker",
        "model",
        "1",
        "2",
        **options,
    ).save_as(path)
    return path


def description(hd, number: int, name: str):
    tissue = pydicom.sr.codedict.codes.SCT.Tissue
    return hd.seg.SegmentDescription(number, name, tissue, tissue, "MANUAL")
