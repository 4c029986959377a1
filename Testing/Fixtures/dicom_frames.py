"""Small DICOM files made field by field, for tests: single slices, enhanced files and DICOM SEG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import encaps
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

CT, PET, MR = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "128", "4"))
ENHANCED_CT, ENHANCED_MR, ULTRASOUND = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2.1", "4.1", "3.1"))
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
PIXEL_MM = (0.8, 0.7)
"""Between rows, between columns."""

Positions = Sequence[Sequence[float]]


def along_z(heights: Sequence[float]) -> list[tuple[float, float, float]]:
    """Positions (mm LPS) at heights."""
    return [(-31.0, 12.5, float(z)) for z in heights]


def write_slices(
    folder: Path,
    stored: np.ndarray,
    positions: Positions,
    rescale: Sequence[tuple[float, float]] | None = None,
    sop_class: str = CT,
    modality: str = "CT",
    tags: Mapping[str, Any] | None = None,
    compressed: str = "",
) -> list[Path]:
    """One file for each plane of stored values (k, j, i); rescale: slope and intercept of each.

    compressed: "JPEG2000" or "JPEG", without loss; "" for neither.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, (plane, position) in enumerate(zip(stored, positions, strict=True)):
        one = _image(sop_class, modality, plane[np.newaxis])
        one.ImagePositionPatient, one.ImageOrientationPatient = decimals(position), decimals(AXIAL)
        one.PixelSpacing, one.SliceThickness, one.InstanceNumber = decimals(PIXEL_MM), "3", number + 1
        slope, intercept = (1.0, 0.0) if rescale is None else rescale[number]
        one.RescaleSlope, one.RescaleIntercept = decimals((slope, intercept))
        for name, value in (tags or {}).items():
            setattr(one, name, value)
        files.append(folder / f"{number:03d}.dcm")
        if compressed:
            _compress_by_itk(one, plane[np.newaxis], files[-1], compressed)
        save(one, files[-1])
    return files


def write_multiframe(
    path: Path,
    stored: np.ndarray,
    positions: Positions,
    rescale: Sequence[tuple[float, float]] | None = None,
    sop_class: str = ENHANCED_CT,
    modality: str = "CT",
    orientation: Sequence[float] = AXIAL,
    compressed: str = "",
    tags: Mapping[str, Any] | None = None,
) -> Path:
    """An enhanced file of frames (n, j, i) in the order given; rescale: slope and intercept of each frame.

    compressed: "RLE" or "JPEG2000", without loss; "" for neither.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = _image(sop_class, modality, stored)
    measures = dataset(PixelSpacing=decimals(PIXEL_MM), SliceThickness="3")
    turn = dataset(ImageOrientationPatient=decimals(orientation))
    image.SharedFunctionalGroupsSequence = [
        dataset(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[turn])
    ]
    groups = []
    for number, position in enumerate(positions):
        slope, intercept = (1.0, 0.0) if rescale is None else rescale[number]
        values = dataset(
            RescaleSlope=decimals([slope])[0], RescaleIntercept=decimals([intercept])[0], RescaleType="US"
        )
        place = dataset(ImagePositionPatient=decimals(position))
        groups.append(dataset(PlanePositionSequence=[place], PixelValueTransformationSequence=[values]))
    image.PerFrameFunctionalGroupsSequence = groups
    for name, value in (tags or {}).items():
        setattr(image, name, value)
    if compressed == "RLE":
        image.compress(RLELossless)
    elif compressed:
        _compress_by_itk(image, stored, path, compressed)
    save(image, path)
    return path


def write_seg(
    path: Path,
    frames: Sequence[tuple[int, Sequence[float], np.ndarray]],
    segments: Mapping[int, Mapping[str, Any]],
    kind: str = "BINARY",
    thickness: float = 3.0,
    orientation: Sequence[float] = AXIAL,
    pixel_mm: Sequence[float] = PIXEL_MM,
    tags: Mapping[str, Any] | None = None,
    compressed: str = "",
) -> Path:
    """A DICOM SEG of frames: segment number, position, and voxels (j, i).

    segments: fields of each by its number. kind: "BINARY", "FRACTIONAL" or "LABELMAP", whose voxels are bool,
    0 to 255, and segment numbers. compressed: "RLE" or "JPEG2000", without loss; "" for neither.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = np.array([voxels for *_, voxels in frames], np.uint8)
    file = _image(LABELMAP_SEG if kind == "LABELMAP" else SEG, "SEG", stack)
    file.SegmentationType = kind
    if kind == "BINARY":
        file.BitsAllocated = file.BitsStored = 1
        file.HighBit = 0
        packed = np.packbits(stack.ravel(), bitorder="little").tobytes()
        file.PixelData = packed + bytes(len(packed) % 2)
    if kind == "FRACTIONAL":
        file.MaximumFractionalValue = 255
    file["PixelData"].VR = "OB"
    file.SegmentSequence = [
        dataset(SegmentNumber=number, **{"SegmentAlgorithmType": "MANUAL", **fields})
        for number, fields in segments.items()
    ]
    measures = dataset(PixelSpacing=decimals(pixel_mm), SliceThickness=str(thickness))
    turn = dataset(ImageOrientationPatient=decimals(orientation))
    file.SharedFunctionalGroupsSequence = [
        dataset(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[turn])
    ]
    groups = []
    for segment, position, _ in frames:
        group = dataset(PlanePositionSequence=[dataset(ImagePositionPatient=decimals(position))])
        if kind != "LABELMAP":
            group.SegmentIdentificationSequence = [dataset(ReferencedSegmentNumber=segment)]
        groups.append(group)
    file.PerFrameFunctionalGroupsSequence = groups
    for name, value in (tags or {}).items():
        setattr(file, name, value)
    if compressed == "RLE":
        file.compress(RLELossless)
    elif compressed:
        _compress_by_itk(file, stack, path, compressed)
    save(file, path)
    return path


def write_cine(path: Path, stored: np.ndarray) -> Path:
    """An old ultrasound multi-frame, uint8 (n, j, i), that does not say where its frames lie."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save(_image(ULTRASOUND, "US", stored), path)
    return path


def _image(sop_class: str, modality: str, stored: np.ndarray) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    bits = 8 * stored.dtype.itemsize
    image = dataset(
        SOPClassUID=sop_class,
        SOPInstanceUID=meta.MediaStorageSOPInstanceUID,
        Modality=modality,
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.3.4",
        FrameOfReferenceUID="1.2.3.5",
        SeriesNumber=1,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int(stored.dtype.kind == "i"),
        Rows=stored.shape[1],
        Columns=stored.shape[2],
    )
    if len(stored) > 1 or sop_class not in (CT, PET, MR):
        image.NumberOfFrames = len(stored)
    image.PixelData = np.ascontiguousarray(stored).tobytes()
    image["PixelData"].VR = "OB" if bits == 8 else "OW"
    image.file_meta, image.preamble = meta, bytes(128)
    return image


def _compress_by_itk(image: Dataset, stored: np.ndarray, path: Path, compressor: str) -> None:
    """Give an image the voxels as ITK stores them, frame by frame: its writer fails for several at once."""
    frames = []
    for plane in stored:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.Execute(sitk.GetImageFromArray(plane[np.newaxis]))
        written = pydicom.dcmread(path)
        frames.append(b"".join(encaps.decode_data_sequence(written.PixelData)))
    image.PixelData = encaps.encapsulate(frames)
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    image.file_meta.TransferSyntaxUID = written.file_meta.TransferSyntaxUID


def dataset(**fields: Any) -> Dataset:
    """A data set of these fields."""
    made = Dataset()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def decimals(values: Sequence[float]) -> list[str]:
    """Numbers as decimal strings of at most 16 characters."""
    return [f"{value:.10g}"[:16] for value in values]


def save(image: Dataset, path: Path) -> None:
    """Write a data set as a DICOM file, with either version of pydicom."""
    if int(pydicom.__version__.partition(".")[0]) < 3:  # as Slicer 5.10 has it
        image.is_little_endian, image.is_implicit_VR = True, False
        image.save_as(path, write_like_original=False)
    else:
        image.save_as(path, enforce_file_format=True)
