"""The tutorial's painting, its page and its pictures; the real volume is not needed and not shipped."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from MedMetaSegLib.demo import nodes, tutorial, tutorial_case, tutorial_outlines, tutorial_pictures, views
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import Geometry, Volume
from MedMetaSegLib.scene.sample_data import TUTORIAL
from MedMetaSegLib.support.structure import StructureMask

PAGE = (Path(__file__).parents[3] / "docs/tutorial.md").read_text(encoding="utf-8")
SHAPE = (51, 256, 256)
FIRST_MM, SPACING_MM = -6.25879, 2.6
"""Of the axial slices of BaselineVolume, along S."""


@pytest.fixture(scope="module")
def volume() -> Volume:
    """A bright ball in the place of the head, on the grid of BaselineVolume."""
    affine = np.diag([-1.0, -1.0, SPACING_MM, 1.0])
    affine[:3, 3] = 130.427, 153.278, FIRST_MM
    k, j, i = np.indices(SHAPE)
    ball = (k - 25) ** 2 * SPACING_MM**2 + (j - 110) ** 2 + (i - 130) ** 2 < 60**2
    return Volume(np.where(ball, 3000, 100).astype(np.int16), Geometry(SHAPE, affine), name="ball")


def test_another_file_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = tmp_path / "other.nrrd", tmp_path / "pictures"
    image.write_bytes(b"NRRD0004\n")
    with pytest.raises(InputError, match="not the tutorial's volume"):
        tutorial_case.tutorial_volume(image)
    with pytest.raises(typer.Exit) as ended:
        tutorial.main(image, out)
    assert ended.value.exit_code == 2
    assert "Sample Data" in capsys.readouterr().err
    with pytest.raises(InputError, match="no file"):
        tutorial_case.tutorial_volume(tmp_path / "absent.nrrd")
    assert not out.exists()
    with pytest.raises(InputError, match="is a file"):
        tutorial.make_pictures(image, image)


def test_the_voxels_inside_an_outline_are_filled() -> None:
    mask = tutorial_case.filled({1: (((2, 1), (6, 1), (6, 4), (2, 4)),)}, (3, 6, 9))
    assert not mask[[0, 2]].any()
    assert mask[1, 2:4, 3:6].all()
    assert not mask[1, :, :2].any()
    assert not mask[1, 5:].any()


def test_of_a_loose_outline_only_large_bright_parts_are_painted_and_holes_are_filled() -> None:
    array = np.full((2, 40, 40), 500)
    array[1, 5:15, 5:15] = 3000
    array[1, 9, 9] = 500
    array[1, 25:28, 25:28] = 3000
    painted = tutorial_case.ventricles_inside(array, {1: (((1, 1), (38, 1), (38, 38), (1, 38)),)})
    wanted = np.zeros(array.shape, bool)
    wanted[1, 5:15, 5:15] = True
    np.testing.assert_array_equal(painted, wanted)


def test_the_second_painting_is_on_slices_that_nobody_paints(volume: Volume) -> None:
    array = np.full(SHAPE, tutorial_case.VENTRICLES_FROM)
    painted, checked = tutorial_case.corrected_painting(array), tutorial_case.second_painting(array)
    for name, check in checked.items():
        assert painted[name].any()
        assert check.any()
        assert not np.any(painted[name].any((1, 2)) & check.any((1, 2))), name


@pytest.mark.parametrize("drawn", ["VENTRICLES", "LESION", "LESION_CORRECTION"])
def test_the_page_names_every_slice_that_is_painted(drawn: str) -> None:
    for number in getattr(tutorial_outlines, drawn):
        assert re.search(rf"\b{FIRST_MM + number * SPACING_MM:.1f}\b", PAGE), number


def test_the_page_names_the_volume_and_shows_every_picture() -> None:
    assert TUTORIAL[1] in PAGE
    assert TUTORIAL[2] in PAGE
    for name in tutorial_pictures.NAMES:
        assert f"(pictures/{name})" in PAGE


def test_pictures_show_painting_and_answer(core, scene, volume: Volume, tmp_path: Path) -> None:
    try:
        views.require_rendering()
    except views.RenderingUnavailableError as error:
        pytest.skip(str(error))
    volume_node = nodes.addVolume(scene, volume)
    masks = tutorial_case.corrected_painting(volume.array)
    painted = [StructureMask(one, (0, 0, 0), masks[one.name]) for one in tutorial_case.STRUCTURES]
    steps = [
        tutorial_case.Step(
            *(nodes.addSegments(volume_node, "s", painted, volume.geometry) for _ in "pr"), 1.0, {}
        )
        for _ in range(2)
    ]
    paths = tutorial_pictures.write(tmp_path / "new", volume, volume_node, *steps)
    assert [path.name for path in paths] == list(tutorial_pictures.NAMES)
    for path in paths:
        with Image.open(path) as picture:
            colors = np.asarray(picture.convert("RGB")).astype(int)
        lesion_red = (colors[..., 0] > colors[..., 2] + 60).sum()
        assert lesion_red > 50, path.name
