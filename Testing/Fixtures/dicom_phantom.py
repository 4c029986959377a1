"""Small DICOM series that carry identifiers, for tests; the patient is made up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

IDENTIFIERS = {
    "PatientName": "DOE^JANE",
    "PatientID": "MRN7734421",
    "PatientBirthDate": "19610523",
    "StudyDate": "20240917",
    "AccessionNumber": "ACC5550123",
    "StudyInstanceUID": "1.2.826.0.1.3680043.2.1125.77",
    "InstitutionName": "St. Elsewhere",
    "ReferringPhysicianName": "WELBY^MARCUS",
}
OTHER_IDENTIFIERS = {
    "PatientName": "ROE^RICHARD",
    "PatientID": "MRN8845532",
    "PatientBirthDate": "19550311",
    "StudyDate": "20231102",
    "AccessionNumber": "ACC6660234",
    "StudyInstanceUID": "1.2.826.0.1.3680043.2.1125.88",
    "InstitutionName": "Princeton-Plainsboro",
    "ReferringPhysicianName": "HOUSE^GREGORY",
}
"""Of a second patient."""
_TAGS = {
    "PatientName": "0010|0010",
    "PatientID": "0010|0020",
    "PatientBirthDate": "0010|0030",
    "StudyDate": "0008|0020",
    "AccessionNumber": "0008|0050",
    "StudyInstanceUID": "0020|000d",
    "InstitutionName": "0008|0080",
    "ReferringPhysicianName": "0008|0090",
}


def write_series(
    folder: Path,
    number: int,
    slices: int,
    image_type: str = "ORIGINAL\\PRIMARY\\AXIAL",
    size: int = 24,
    identifiers: Mapping[str, str] = IDENTIFIERS,
) -> None:
    """A CT series of noise with a bright block, one file per slice, 2.5 mm apart."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    for k in range(slices):
        plane = rng.integers(-100, 100, (size, size)).astype(np.int16)
        plane[4:9, 5:12] += 300
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing((0.8, 0.8, 2.5))
        image.SetOrigin((0.0, 0.0, 2.5 * k))
        for name, tag in _TAGS.items():
            image.SetMetaData(tag, identifiers[name])
        image.SetMetaData("0008|0060", "CT")
        image.SetMetaData("0008|0008", image_type)
        image.SetMetaData("0020|000e", f"{identifiers['StudyInstanceUID']}.{number}")
        image.SetMetaData("0020|0052", f"{identifiers['StudyInstanceUID']}.{number}.9")
        image.SetMetaData("0020|0011", str(number))
        image.SetMetaData("0020|0013", str(k + 1))
        image.SetMetaData("0020|0032", f"0\\0\\{2.5 * k}")
        image.SetMetaData("0020|0037", "1\\0\\0\\0\\1\\0")
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"s{number}_{k}.dcm"))
        writer.Execute(image)


def write_report_object(path: Path) -> None:
    """A structured report: DICOM, of the same patient, and no image."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report = pydicom.Dataset()
    report.file_meta = meta
    report.SOPClassUID = meta.MediaStorageSOPClassUID
    report.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    report.Modality, report.SeriesInstanceUID, report.SeriesNumber = "SR", generate_uid(), 99
    for name, value in IDENTIFIERS.items():
        setattr(report, name, value)
    report.preamble = bytes(128)
    if int(pydicom.__version__.partition(".")[0]) < 3:  # as Slicer 5.10 has it
        report.is_little_endian, report.is_implicit_VR = True, False
        report.save_as(path, write_like_original=False)
    else:
        report.save_as(path, enforce_file_format=True)
