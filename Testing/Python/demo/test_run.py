"""The demonstration on a small phantom and on a user's files, in a real Slicer scene.

`StandInSegmenter` answers with the truth; the real network is shown by `make demo`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from MedMetaSegLib.demo import picture, run
from MedMetaSegLib.demo.slicer_core import boot
from MedMetaSegLib.demo.views import RenderingUnavailableError
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import Volume, read_image, to_sitk, write_labels
from MedMetaSegLib.support.structure import AnnotatedStructure
from MedMetaSegLib.support.support import Support

SMALL = {"shape": (24, 70, 90), "spacing_mm": (8.0, 4.0, 4.0)}
FILES = {"scene.mrb", "segmentation.seg.nrrd", "overview.png", "report.json"}


@pytest.fixture(scope="module")
def case() -> run.Case:
    return run.phantom_case(0, **SMALL)


@pytest.fixture(autouse=True)
def _empty_scene() -> Iterator[None]:
    scene = boot().scene
    scene.Clear(0)
    yield
    scene.Clear(0)


@dataclass(frozen=True)
class StandInSegmentation:
    structures: tuple[AnnotatedStructure, ...]
    report: dict


@dataclass(frozen=True)
class StandInSegmenter:
    """Gives the truth of every structure, the first of them without its lowest slice."""

    case: run.Case

    def segment(self, volume: Volume, support: Support, **_: object) -> StandInSegmentation:
        found = []
        for one in support.structures:
            mask = self.case.truth[one.structure.name].copy()
            if not found:
                mask[np.flatnonzero(mask.any((1, 2)))[0]] = False
            found.append(AnnotatedStructure(one.structure, (0, 0, 0), mask))
        rows = [{"name": one.structure.name, "label": one.structure.label, "seconds": 0.5} for one in found]
        return StandInSegmentation(tuple(found), {"structures": rows, "seconds": {"all": 0.5}, "notes": []})


def logic_of(case: run.Case):
    from MedMetaSegLib.scene.logic import SceneLogic

    return SceneLogic(lambda device: StandInSegmenter(case))


def test_with_a_stand_in_segmenter_the_demo_leaves_scene_segmentation_picture_and_report(
    case: run.Case, tmp_path: Path
):
    rows = run.demonstrate(case, tmp_path / "demo", logic_of(case), console=Console(file=io.StringIO()))
    assert {path.name for path in (tmp_path / "demo").iterdir()} == FILES
    assert [row["name"] for row in rows] == ["liver", "spleen", "left kidney", "liver lesion"]
    assert rows[0]["dice_other_slices"] < 1
    assert [row["dice_other_slices"] for row in rows[1:]] == [1, 1, 1]
    assert [len(row["painted_slices"]) for row in rows] == [3, 3, 3, 3]
    written = Support.read(tmp_path / "demo/segmentation.seg.nrrd")
    assert [one.structure.name for one in written.structures] == [row["name"] for row in rows]
    names = zipfile.ZipFile(tmp_path / "demo/scene.mrb").namelist()
    for node in ("Painted.seg.nrrd", "segmentation.seg.nrrd", "Truth.seg.nrrd", "Phantom.nrrd"):
        assert any(name.endswith(f"Data/{node}") for name in names), names
    report = json.loads((tmp_path / "demo/report.json").read_text(encoding="utf-8"))
    assert report["demonstration"] == rows
    assert report["structures"][0]["name"] == "liver"


def test_dice_leaves_out_the_painted_slices(case: run.Case):
    name, painted = "spleen", case.support.structures[1]
    only_painted = np.zeros_like(case.truth[name])
    only_painted[list(painted.slices)] = case.truth[name][list(painted.slices)]
    masks = {one.structure.name: case.truth[one.structure.name] for one in case.support.structures}
    row = run._rows(case, {**masks, name: only_painted}, {})[1]
    assert row["dice_other_slices"] == 0


def test_with_a_stand_in_segmenter_and_no_way_to_draw_the_pictures_are_plain_and_it_says_so(
    case: run.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_driver(*_: object) -> None:
        raise RenderingUnavailableError("No OpenGL driver here.")

    monkeypatch.setattr(picture, "SliceView", no_driver)
    shown = io.StringIO()
    run.demonstrate(case, tmp_path, logic_of(case), console=Console(file=shown, width=200))
    assert "plain slices, not Slicer's views. No OpenGL driver here." in shown.getvalue()
    assert (tmp_path / "overview.png").read_bytes().startswith(b"\x89PNG")
    assert "plain slices" in json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["notes"][-1]


def test_with_a_stand_in_segmenter_own_files_have_no_truth(case: run.Case, tmp_path: Path):
    import SimpleITK as sitk

    sitk.WriteImage(to_sitk(case.volume.array, case.volume.geometry), str(tmp_path / "ct.nii.gz"))
    write_labels(tmp_path / "painted.nii.gz", case.support.labels(), case.volume.geometry)
    own = run.own_case(tmp_path / "ct.nii.gz", tmp_path / "painted.nii.gz")
    assert own.truth == {}
    named = {
        one.structure.name: read_image(tmp_path / "painted.nii.gz").array == one.structure.label
        for one in own.support.structures
    }
    rows = run.demonstrate(
        own, tmp_path / "demo", logic_of(replace(case, truth=named)), console=Console(file=io.StringIO())
    )
    assert {path.name for path in (tmp_path / "demo").iterdir()} == FILES
    assert all("dice_other_slices" not in row for row in rows)


def test_an_image_without_what_was_painted_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="both"):
        run.main(image=tmp_path / "ct.nii.gz", out=tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_an_output_folder_that_is_a_file_is_refused_at_once(tmp_path: Path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        run.main(out=tmp_path / "demo")
    assert (tmp_path / "demo").read_text(encoding="utf-8") == "mine"


def test_the_picture_shows_a_level_where_most_structures_are_cut(case: run.Case):
    place = picture.telling_place(case.volume.geometry, case.truth, {})
    centre = case.volume.geometry.index_to_world(np.argwhere(case.truth["liver lesion"]).mean(0)[None])[0]
    assert abs(place.axial_mm - centre[2]) < 40
    assert abs(place.coronal_mm) < 90


def test_plain_pictures_have_the_patients_right_on_the_left_and_the_head_up(case: run.Case):
    masks = dict(case.truth)
    place = picture.telling_place(case.volume.geometry, masks, {})
    axial, coronal = (
        row[0].rgb.astype(int) for row in picture.plain_panels(case.volume, [masks], case.structures, place)
    )
    # The liver is drawn in a reddish, the spleen in a bluish colour.
    reddish, bluish = (
        np.argwhere(axial[..., 0] - axial[..., 2] > 35),
        np.argwhere(axial[..., 2] - axial[..., 1] > 25),
    )
    assert reddish[:, 1].mean() < bluish[:, 1].mean()
    # Lungs are above: nothing but them is dark and framed by tissue in the top rows.
    assert (coronal[:6] < 20).mean() > (coronal[-12:-6] < 20).mean() - 0.2
