"""A small CT that lies aslant in the patient, with unequal pixels, and what is drawn on it in DICOM's ways.

Places are computed from the numbers below alone, not by the library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from dicom_frames import dataset, decimals, save, write_slices

FRAME = "1.2.3.5"
"""Frame of reference of the CT and of what is drawn on it, unless another is named."""
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_PATIENT = {
    "PatientID": "P1",
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "",
    "PatientSex": "",
    "StudyID": "",
    "StudyDate": "",
    "StudyTime": "",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
}


@dataclass(frozen=True, eq=False)
class DrawnCt:
    """The CT. shape: (k, j, i). spacing_mm: between voxels along (k, j, i). turn: 3x3, its columns are the
    directions of rows' voxels (i), of rows (j) and of slices (k), LPS.
    """

    shape: tuple[int, int, int] = (9, 15, 13)
    spacing_mm: tuple[float, float, float] = (2.5, 0.9, 0.6)
    turn: np.ndarray = field(
        default_factory=lambda: Rotation.from_euler("xyz", [12, -9, 20], degrees=True).as_matrix()
    )
    origin: tuple[float, float, float] = (-31.0, 12.5, -204.25)

    def world(self, places: np.ndarray) -> np.ndarray:
        """(n, 3) mm LPS of places (n, 3) in voxels (k, j, i), fractions allowed."""
        steps = np.asarray(places, float) * self.spacing_mm
        return steps[:, ::-1] @ self.turn.T + self.origin

    def world_of(self, mask: np.ndarray) -> np.ndarray:
        """(n, 3) mm LPS of the voxels of a mask (k, j, i), sorted."""
        return sorted_places(self.world(np.argwhere(mask)))

    def write(self, folder: Path, **tags: Any) -> Path:
        """The CT as a series of single slices of noise; returns the folder."""
        stored = np.random.default_rng(0).integers(-100, 300, self.shape).astype(np.int16)
        positions = self.world(np.array([(k, 0, 0) for k in range(self.shape[0])]))
        orientation = decimals(self.turn[:, :2].T.ravel())
        place = {"ImageOrientationPatient": orientation, "PixelSpacing": decimals(self.spacing_mm[1:])}
        write_slices(folder, stored, positions, tags={**_PATIENT, **place, **tags})
        return folder

    def contour(self, slice_number: float, points: Sequence[Sequence[float]]) -> np.ndarray:
        """(n, 3) mm LPS of points (j, i) in voxels on a slice across k."""
        return self.world(np.array([(slice_number, *point) for point in points]))


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of an RTSTRUCT. contours: (n, 3) mm LPS each; kind: what they are."""

    number: int
    name: str
    contours: Sequence[np.ndarray] = ()
    color: Sequence[int] = (255, 0, 0)
    kind: str = "CLOSED_PLANAR"
    frame_of_reference: str = FRAME


def write_rtstruct(path: Path, rois: Sequence[Roi], tags: Mapping[str, Any] | None = None) -> Path:
    """An RTSTRUCT made field by field; positions keep three decimals, as those of planning systems do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTSTRUCT, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = dataset(
        SOPClassUID=RTSTRUCT,
        SOPInstanceUID=meta.MediaStorageSOPInstanceUID,
        Modality="RTSTRUCT",
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID=generate_uid(),
        StructureSetLabel="drawn",
        SpecificCharacterSet="ISO_IR 192",
        StructureSetROISequence=[
            dataset(
                ROINumber=one.number,
                ROIName=one.name,
                ReferencedFrameOfReferenceUID=one.frame_of_reference,
                ROIGenerationAlgorithm="MANUAL",
            )
            for one in rois
        ],
        ROIContourSequence=[_contours_of(one) for one in rois],
    )
    for name, value in (tags or {}).items():
        setattr(file, name, value)
    file.file_meta, file.preamble = meta, bytes(128)
    save(file, path)
    return path


def sorted_places(places: np.ndarray) -> np.ndarray:
    """(n, 3) sorted by what is left of them when rounding is taken away."""
    return places[np.lexsort(np.round(places, 2).T)]


def _contours_of(roi: Roi) -> Dataset:
    made = dataset(ReferencedROINumber=roi.number, ROIDisplayColor=list(roi.color))
    if roi.contours:
        made.ContourSequence = [
            dataset(
                ContourGeometricType=roi.kind,
                NumberOfContourPoints=len(points),
                ContourData=[f"{value:.3f}" for value in points.ravel()],
            )
            for points in roi.contours
        ]
    return made
