"""A small DICOM series, and what others read in a DICOM SEG of it: pydicom by hand, dcmqi, dciodvfy."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_frames import write_slices
from MedMetaSegLib.support.dicom_seg_writing import SegmentAlgorithm
from MedMetaSegLib.support.structure import Structure, StructureMask

ALGORITHM = SegmentAlgorithm("SEMIAUTOMATIC", "0123456789ab")
STUDY = {
    "PatientName": "Müller^Jörg",
    "PatientID": "P7",
    "SpecificCharacterSet": "ISO_IR 100",
    "StudyDate": "20240917",
    "StudyTime": "101500",
    "StudyID": "S1",
    "Manufacturer": "Scanners",
}
LIVER = (
    "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure~SCT^10200004^Liver"
    "~^^~Anatomic codes - DICOM master list~SCT^818981001^Abdomen~^^"
)
SQUARE_ROOT = 0.7071067811865476
OBLIQUE = (0.8, 0.0, 0.6, 0.6 * SQUARE_ROOT, SQUARE_ROOT, -0.8 * SQUARE_ROOT)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Series:
    """Where the slices of a written series lie: positions (n, 3) mm LPS, orientation (6,), mm of pixels."""

    folder: Path
    positions: np.ndarray
    orientation: tuple[float, ...]
    pixel_mm: tuple[float, float]

    def world(self, mask: np.ndarray) -> np.ndarray:
        """Where the voxels of a mask (k, j, i) lie, (n, 3) mm LPS, sorted: straight from the headers."""
        k, j, i = np.nonzero(mask)
        along = np.array(self.orientation)
        return in_order(
            self.positions[k]
            + i[:, None] * self.pixel_mm[1] * along[:3]
            + j[:, None] * self.pixel_mm[0] * along[3:]
        )


def write_ct(
    folder: Path,
    shape: tuple[int, int, int] = (9, 11, 7),
    orientation: tuple[float, ...] = OBLIQUE,
    step_mm: Sequence[float] | None = None,
    positions: np.ndarray | None = None,
    tags: dict[str, Any] | None = None,
) -> Series:
    """A CT of noise with unequal pixels. step_mm: from slice to slice, 2.5 mm along the normal without it."""
    along, pixel_mm = np.array(orientation), (0.8, 0.7)
    step = 2.5 * np.cross(along[:3], along[3:]) if step_mm is None else np.array(step_mm)
    if positions is None:
        positions = np.array([-31.0, 12.5, 40.0]) + np.arange(shape[0])[:, None] * step
    stored = np.random.default_rng(0).integers(-100, 100, shape).astype(np.int16)
    own = {"ImageOrientationPatient": [f"{one:.12g}" for one in orientation], **STUDY, **(tags or {})}
    write_slices(folder, stored, positions.tolist(), tags=own)
    return Series(folder, positions, orientation, pixel_mm)


def structure(mask: np.ndarray, number: int = 1, name: str = "", terminology: str = "") -> StructureMask:
    """A structure, called by its number unless it has a name. mask: (k, j, i) of the whole grid."""
    made = Structure(name or f"part {number}", number, (0.8, 0.2, 0.1 * number), terminology)
    return StructureMask(made, (0, 0, 0), mask)


def world_by_hand(path: Path) -> dict[int, np.ndarray]:
    """Where the voxels of each segment lie, (n, 3) mm LPS, sorted: bit by bit, frame by frame."""
    file = pydicom.dcmread(path)
    shape = (int(file.NumberOfFrames), file.Rows, file.Columns)
    bits = np.unpackbits(np.frombuffer(file.PixelData, np.uint8), bitorder="little")
    frames = bits[: int(np.prod(shape))].reshape(shape)
    found: dict[int, list[np.ndarray]] = {}
    for frame, group in zip(frames, file.PerFrameFunctionalGroupsSequence, strict=True):
        shared = file.SharedFunctionalGroupsSequence[0]
        named = group if "SegmentIdentificationSequence" in group else shared
        number = int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
        rows_mm, columns_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
        j, i = np.nonzero(frame)
        points = place + i[:, None] * columns_mm * turn[:3] + j[:, None] * rows_mm * turn[3:]
        found.setdefault(number, []).append(points)
    return {number: in_order(np.concatenate(points)) for number, points in found.items()}


def world_by_dcmqi(path: Path, folder: Path) -> dict[int, np.ndarray]:
    """The same as dcmqi reads it, of segments with voxels; skips the test where that is not installed."""
    if importlib.util.find_spec("dcmqi") is None:
        pytest.skip("dcmqi is not installed")
    folder.mkdir()
    command = "import dcmqi, sys; sys.exit(dcmqi.segimage2itkimage())"
    arguments = ["--inputDICOM", str(path), "--outputDirectory", str(folder), "--outputType", "nrrd"]
    subprocess.run([sys.executable, "-c", command, *arguments], check=True, capture_output=True)
    found = {}
    for file in folder.glob("*.nrrd"):
        image = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(image)
        if not array.any():
            continue
        points = [image.TransformIndexToPhysicalPoint(one[::-1].tolist()) for one in np.argwhere(array)]
        found[int(array.max())] = in_order(np.array(points).reshape(-1, 3))
    return found


def errors_of_dciodvfy(path: Path) -> list[str]:
    """What dciodvfy (of Debian's dicom3tools) calls an error; skips the test where it is not installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (of dicom3tools) is not installed")
    told = subprocess.run([program, str(path)], capture_output=True, text=True)
    lines = (told.stdout + told.stderr).splitlines()
    assert "Segmentation" in lines, lines
    return [line for line in lines if line.startswith("Error")]


def in_order(points: np.ndarray) -> np.ndarray:
    """Points (n, 3) sorted, whatever a last digit may say."""
    rounded = np.round(points, 3) + 0.0
    return points[np.lexsort(rounded.T)]
