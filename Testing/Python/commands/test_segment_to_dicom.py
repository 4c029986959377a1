"""`medmetaseg segment -o whole.dcm`, with a stand-in for the network: what is written, what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from batch_stand_in import StandInSegmentation, StandInSegmenter, put_in_place, rows_of
from command_files import assert_refused
from dicom_seg_checks import (
    ALGORITHM,
    OBLIQUE,
    Series,
    errors_of_dciodvfy,
    structure,
    world_by_hand,
    write_ct,
)
from MedMetaSegLib import cli
from MedMetaSegLib.imageio.volume import Volume, read_volume, write_labels
from MedMetaSegLib.network.shipped import shipped_sha256
from MedMetaSegLib.support.dicom_seg_writing import check_source, write_dicom_seg
from MedMetaSegLib.support.structure import StructureMask
from MedMetaSegLib.support.support import Support, write_segmentation

pytest.importorskip("highdicom", reason="highdicom writes DICOM segmentations")

SHAPE = (9, 12, 10)
AXIAL = {"plane": "axial"}
LONG = "a lesion beside another lesion, as told by somebody who writes long names"


class PaintedAgain(StandInSegmenter):
    """Every structure becomes what was painted of it."""

    def segment(self, volume: Volume, support: Support, **rest: object) -> StandInSegmentation:
        moved = support.on(volume.geometry)
        found = tuple(StructureMask(one.structure, one.offset, one.mask) for one in moved.structures)
        rows = [
            {"name": one.structure.name, "label": n, "voxels": one.voxels, "millilitres": 0.1} | AXIAL
            for n, one in enumerate(found, 1)
        ]
        report = {"structures": rows, "seconds": {"network": 0.1}, "skipped": [], "notes": []}
        return StandInSegmentation(volume.geometry, found, moved.labels(), report)


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Series:
    """A CT in ct, and painted.seg.nrrd with two structures that overlap."""
    put_in_place(PaintedAgain(), monkeypatch)
    made = write_ct(tmp_path / "ct", SHAPE, OBLIQUE)
    masks = [structure(mask, n, name) for n, (name, mask) in enumerate(painted().items(), 1)]
    write_segmentation(tmp_path / "painted.seg.nrrd", masks, read_volume(made.folder).geometry)
    return made


def painted() -> dict[str, np.ndarray]:
    first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    first[[2, 5], 2:8, 2:7] = second[5, 5:10, 4:9] = True
    return {"Leber": first, LONG: second}


def run(folder: Path, *more: str, image: str = "ct", support: str = "painted.seg.nrrd", out: str = "out.dcm"):
    return cli.run(["segment", str(folder / image), str(folder / support), "-o", str(folder / out), *more])


def test_a_dicom_segmentation_of_the_series_is_written(tmp_path: Path, series: Series) -> None:
    assert run(tmp_path, "--report", str(tmp_path / "r.json")) == 0
    by_hand = world_by_hand(tmp_path / "out.dcm")
    for points, mask in zip(by_hand.values(), painted().values(), strict=True):
        np.testing.assert_allclose(points, series.world(mask), atol=1e-3)
    segment = pydicom.dcmread(tmp_path / "out.dcm").SegmentSequence[0]
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == ("Leber", "SEMIAUTOMATIC")
    identity = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert identity.AlgorithmParameters == f"weights={shipped_sha256()[:12]}"
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["notes"] == [
        f"'{LONG}' is called '{LONG[:64]}' in the DICOM segmentation, and has its whole name in the "
        "description."
    ]
    assert errors_of_dciodvfy(tmp_path / "out.dcm") == []


def test_it_is_support_again_and_can_be_measured(tmp_path: Path, series: Series) -> None:
    assert run(tmp_path) == 0
    assert run(tmp_path, support="out.dcm", out="again.dcm") == 0
    for number, points in world_by_hand(tmp_path / "out.dcm").items():
        np.testing.assert_allclose(world_by_hand(tmp_path / "again.dcm")[number], points)
    table = tmp_path / "t.csv"
    assert cli.run(["measure", str(series.folder), str(tmp_path / "out.dcm"), "-o", str(table)]) == 0
    wanted = [str(mask.sum()) for mask in painted().values()]
    assert [row["voxel_count"] for row in rows_of(table)] == wanted


def test_maps_tables_and_all_frames_go_with_it(tmp_path: Path, series: Series) -> None:
    tables, maps = ("--measure", str(tmp_path / "t.csv")), ("--uncertainty", str(tmp_path / "maps"))
    assert run(tmp_path, *tables, *maps, "--volume", "all") == 0
    assert (tmp_path / "out.dcm").is_file()
    assert [row["structure"] for row in rows_of(tmp_path / "t.csv")] == ["Leber", LONG]
    assert {path.suffix for path in (tmp_path / "maps").iterdir()} == {".nrrd"}


def test_it_may_lie_beside_the_slices_and_is_replaced_by_the_next(tmp_path: Path, series: Series) -> None:
    for _ in range(2):
        assert run(tmp_path, out="ct/whole.dcm") == 0
    assert read_volume(series.folder).array.shape == SHAPE


def test_a_slice_of_the_image_is_never_replaced(tmp_path: Path, series: Series, capsys) -> None:
    says = "is the slice 003.dcm of the image itself, which is never overwritten"
    assert_refused(tmp_path, capsys, lambda: run(tmp_path, out="ct/003.dcm"), says)


def test_a_support_found_in_a_folder_is_never_replaced(tmp_path: Path, series: Series, capsys) -> None:
    (tmp_path / "segs").mkdir()
    volume = read_volume(series.folder)
    masks = [structure(mask, n) for n, mask in enumerate(painted().values(), 1)]
    write_dicom_seg(tmp_path / "segs/s.dcm", masks, volume.geometry, check_source(volume), ALGORITHM)
    says = "is the support itself"
    assert_refused(tmp_path, capsys, lambda: run(tmp_path, support="segs", out="segs/s.dcm"), says)


def test_an_image_that_is_no_dicom_is_refused(tmp_path: Path, series: Series, capsys) -> None:
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint16)
    write_labels(tmp_path / "ct.nii.gz", labels, read_volume(series.folder).geometry)
    says = "ct.nii.gz is NIfTI; write .seg.nrrd"
    assert_refused(tmp_path, capsys, lambda: run(tmp_path, image="ct.nii.gz"), says)


def test_a_series_without_a_frame_of_reference_is_refused(tmp_path: Path, series: Series, capsys) -> None:
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        del image.FrameOfReferenceUID
        image.save_as(path)
    assert_refused(tmp_path, capsys, lambda: run(tmp_path), "has no FrameOfReferenceUID")


def test_without_highdicom_a_sentence_says_what_to_install(
    tmp_path: Path, series: Series, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert_refused(tmp_path, capsys, lambda: run(tmp_path), 'pip install "medmetaseg[dicom]"')


def test_a_highdicom_that_is_too_old_is_told(
    tmp_path: Path, series: Series, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MedMetaSegLib.support.dicom_seg_writing.metadata.version", lambda name: "0.22.1")
    assert_refused(tmp_path, capsys, lambda: run(tmp_path), "highdicom 0.22.1 is too old")
