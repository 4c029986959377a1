"""What a DICOM SEG says beside its voxels: of its segments, of what made them, and of the series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicom_frames import write_cine
from dicom_seg_checks import ALGORITHM, AXIAL, LIVER, STUDY, errors_of_dciodvfy, structure, write_ct
from MedMetaSegLib import __version__
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import read_volume, write_labels
from MedMetaSegLib.support.dicom_seg import read_dicom_seg
from MedMetaSegLib.support.dicom_seg_writing import (
    SegmentAlgorithm,
    check_dicom_image,
    check_source,
    label_notes,
    write_dicom_seg,
)
from MedMetaSegLib.support.structure import StructureMask

highdicom = pytest.importorskip("highdicom", reason="highdicom writes DICOM segmentations")

SHAPE = (5, 8, 6)
FOREIGN = ("Leber links", "肝臓", "Лёгкое", "a\\b\nc", "long " * 20)


def mask_of(k: int = 2) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[k, 2:6, 1:5] = True
    return mask


def written(folder: Path, path: Path, masks: list[StructureMask] | None = None) -> pydicom.Dataset:
    volume = read_volume(folder)
    write_dicom_seg(path, masks or [structure(mask_of())], volume.geometry, check_source(volume), ALGORITHM)
    return pydicom.dcmread(path)


def test_names_and_codes_are_those_of_the_structures(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "ct", SHAPE)
    masks = [structure(mask_of(n % 5), n + 1, name, LIVER) for n, name in enumerate(FOREIGN)]
    file = written(series.folder, tmp_path / "whole.dcm", masks)
    labels = [one.SegmentLabel for one in file.SegmentSequence]
    assert labels == ["Leber links", "肝臓", "Лёгкое", "a/b c", ("long " * 20)[:64]]
    assert [one.get("SegmentDescription") for one in file.SegmentSequence][-1] == "long " * 19 + "long"
    assert [one.SegmentNumber for one in file.SegmentSequence] == [1, 2, 3, 4, 5]
    head = file.SegmentSequence[0]
    told = (head.SegmentedPropertyCategoryCodeSequence, head.SegmentedPropertyTypeCodeSequence)
    assert [one[0].CodeMeaning for one in (*told, head.AnatomicRegionSequence)] == [
        "Anatomical Structure",
        "Liver",
        "Abdomen",
    ]
    read = read_dicom_seg(tmp_path / "whole.dcm")
    assert [one.structure.name for one in read.masks] == [label.strip() for label in labels]
    assert read.masks[0].structure.terminology.split("~")[1:3] == LIVER.split("~")[1:3]
    for one, mask in zip(read.masks, masks, strict=True):
        np.testing.assert_allclose(one.structure.color, mask.structure.color, atol=1 / 255)
    assert errors_of_dciodvfy(tmp_path / "whole.dcm") == []


def test_names_that_do_not_fit_are_told() -> None:
    structures = [structure(mask_of(), 1, name).structure for name in FOREIGN]
    notes = label_notes(structures)
    assert len(notes) == 2
    assert "is called 'a/b c' in the DICOM segmentation" in notes[0]


@pytest.mark.parametrize("terminology", ["", "nonsense", "a~b~c", "Context~SCT^1^A~^^~^^~~^^~^^"])
def test_a_structure_without_codes_is_tissue_as_in_slicer(tmp_path: Path, terminology: str) -> None:
    series = write_ct(tmp_path / "ct", SHAPE)
    file = written(series.folder, tmp_path / "whole.dcm", [structure(mask_of(), terminology=terminology)])
    segment = file.SegmentSequence[0]
    for codes in (segment.SegmentedPropertyCategoryCodeSequence, segment.SegmentedPropertyTypeCodeSequence):
        assert (codes[0].CodingSchemeDesignator, codes[0].CodeValue) == ("SCT", "85756007")


@pytest.mark.parametrize("kind", ["SEMIAUTOMATIC", "AUTOMATIC"])
def test_the_algorithm_is_named_with_its_version_and_weights(tmp_path: Path, kind: Any) -> None:
    volume, path = read_volume(write_ct(tmp_path / "ct", SHAPE).folder), tmp_path / "whole.dcm"
    algorithm = SegmentAlgorithm(kind, "0123456789ab")
    write_dicom_seg(path, [structure(mask_of())], volume.geometry, check_source(volume), algorithm)
    segment = pydicom.dcmread(path).SegmentSequence[0]
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == (kind, "MedMetaSeg")
    identity = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert identity.AlgorithmVersion == __version__
    assert identity.AlgorithmParameters == "weights=0123456789ab"


def test_it_refers_to_every_slice_and_is_a_series_of_its_own(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "ct", SHAPE, tags={"SeriesNumber": 4})
    one, other = (written(series.folder, tmp_path / f"{n}.dcm") for n in range(2))
    slices = [pydicom.dcmread(file) for file in sorted(series.folder.iterdir())]
    references = one.ReferencedSeriesSequence[0]
    assert references.SeriesInstanceUID == slices[0].SeriesInstanceUID
    named = {item.ReferencedSOPInstanceUID for item in references.ReferencedInstanceSequence}
    assert named == {image.SOPInstanceUID for image in slices}
    shown = one.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    assert [item.ReferencedSOPInstanceUID for item in shown] == [slices[2].SOPInstanceUID]
    assert shown[0].SpatialLocationsPreserved == "YES"
    assert one.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
    assert one.StudyInstanceUID == slices[0].StudyInstanceUID
    assert len({one.SeriesInstanceUID, other.SeriesInstanceUID, slices[0].SeriesInstanceUID}) == 3
    assert (one.SeriesNumber, one.InstanceNumber) == (401, 1)
    assert (one.SeriesDescription, one.ContentLabel) == ("MedMetaSeg segmentation", "MEDMETASEG")
    assert one.PixelData == other.PixelData


def test_the_patient_is_the_one_of_the_series(tmp_path: Path) -> None:
    birth = {"PatientBirthDate": "19610523", "PatientSex": "F", "AccessionNumber": "A1", "PatientAge": "063Y"}
    file = written(write_ct(tmp_path / "ct", SHAPE, tags=birth).folder, tmp_path / "whole.dcm")
    for name in ("PatientName", "PatientID", "StudyDate", "StudyTime", "StudyID"):
        assert file[name].value == STUDY[name]
    for name, value in birth.items():
        assert file[name].value == value


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientBirthDate": "unknown", "PatientSex": "X", "StudyDate": "2024", "StudyTime": "noon"},
        {"PatientName": "山田^太郎", "SpecificCharacterSet": ["", "ISO 2022 IR 87"]},
        {"PatientName": "Ärger", "SpecificCharacterSet": "ISO_IR 192"},
        {"SeriesNumber": None, "PatientSex": None},
        {"SpacingBetweenSlices": "17", "SliceThickness": "5"},
    ],
    ids=["values that DICOM does not know", "Japanese", "UTF-8", "without values", "other spacings"],
)
def test_whatever_the_series_carries_is_kept(tmp_path: Path, tags: dict[str, Any]) -> None:
    with pydicom.config.disable_value_validation():
        series = write_ct(tmp_path / "ct", SHAPE, AXIAL, tags=tags)
        file = written(series.folder, tmp_path / "whole.dcm")
        for name in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
            source = pydicom.dcmread(series.folder / "000.dcm")
            assert str(file.get(name) or "") == str(source.get(name) or "")
    measures = file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(2.5)


def test_a_series_without_anything_of_the_patient_works(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "ct", SHAPE)
    needed = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"}
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        for name in ("SeriesNumber", "SliceThickness", *STUDY):
            if name not in needed:
                delattr(image, name)
        image.save_as(path)
    file = written(series.folder, tmp_path / "whole.dcm")
    assert str(file.PatientName) == str(file.PatientID) == file.PatientBirthDate == ""
    assert "OtherPatientIDs" not in file


@pytest.mark.parametrize("name", ["FrameOfReferenceUID", "StudyInstanceUID", "SOPInstanceUID"])
def test_a_series_that_lacks_an_identifier_is_refused(tmp_path: Path, name: str) -> None:
    series = write_ct(tmp_path / "ct", SHAPE)
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        delattr(image, name)
        image.save_as(path, enforce_file_format=False)
    with pytest.raises(InputError, match=f"has no {name}, which a DICOM segmentation refers to"):
        check_source(read_volume(series.folder))


def test_slices_of_two_studies_are_refused(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "ct", SHAPE)
    image = pydicom.dcmread(series.folder / "003.dcm")
    image.StudyInstanceUID = "1.2.99"
    image.save_as(series.folder / "003.dcm")
    with pytest.raises(InputError, match="differ in their StudyInstanceUID"):
        check_source(read_volume(series.folder))


def test_an_image_of_a_private_kind_is_refused(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "ct", SHAPE)
    volume = read_volume(series.folder)
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        image.SOPClassUID = "1.3.46.670589.11.0.0.12.1"
        image.save_as(path)
    with pytest.raises(InputError, match="No DICOM segmentation can refer to the DICOM series"):
        check_source(volume)


def test_frames_without_places_are_refused(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.uint8)
    volume = read_volume(write_cine(tmp_path / "us.dcm", stored))
    with pytest.raises(InputError, match="does not say where its frames lie"):
        check_source(volume)


@pytest.mark.parametrize(
    ("name", "kind"), [("ct.nii.gz", "NIfTI"), ("ct.nrrd", "NRRD"), ("ct.mha", "MetaImage")]
)
def test_an_image_that_is_no_dicom_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    volume = read_volume(write_ct(tmp_path / "ct", SHAPE).folder)
    check_dicom_image(tmp_path / "ct")
    write_labels(tmp_path / name, mask_of().astype(np.uint8), volume.geometry)
    wanted = rf"refers to the DICOM image it was made on, and .*{name} is {kind}; write \.seg\.nrrd"
    with pytest.raises(InputError, match=wanted):
        check_dicom_image(tmp_path / name)
    with pytest.raises(InputError, match=r"was not read from DICOM"):
        check_source(read_volume(tmp_path / name))
