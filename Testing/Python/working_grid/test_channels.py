"""Where a channel lies beside its image, which part of a grid it shows, and the mean of several answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affines import offset, rotation
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.channel import Channel, check_channel_names
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.working_grid.channels import mean_logits, placed_channel, shown_part, shown_share, shows
from MedMetaSegLib.working_grid.grid import WorkingGrid
from MedMetaSegLib.working_grid.reduced_image import without_world_position

IMAGE = Geometry((24, 32, 40), offset(-30, 12, 5) + rotation(0.2, -0.1, 0.3) @ np.diag([1.0, 1.2, 2.0, 1.0]))


def volume(geometry: Geometry, name: str = "image") -> Volume:
    values = np.random.default_rng(3).normal(100, 20, geometry.shape).astype(np.float32)
    return Volume.from_array(values, geometry, name)


def cropped(geometry: Geometry, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Geometry:
    return geometry.cropped(start, shape)


@pytest.mark.parametrize("turn", [np.eye(4), rotation(0.3, 0.2, -0.4)])
def test_a_voxel_is_shown_where_its_centre_lies_in_the_image(turn: np.ndarray) -> None:
    grid = Geometry((14, 11, 9), offset(-28, 20, 8) + turn @ np.diag([2.5, 2.0, 3.0, 1.0]))
    every = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    expected = IMAGE.contains(grid.index_to_world(every)).reshape(grid.shape)
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(shows(IMAGE, grid), expected)


def test_the_share_of_an_image_that_is_shown() -> None:
    assert shown_share(IMAGE, cropped(IMAGE, (3, 4, 5), (10, 10, 10))) == 1.0
    assert shown_share(cropped(IMAGE, (0, 0, 0), (6, 32, 40)), IMAGE) == pytest.approx(0.25)
    assert shown_share(cropped(IMAGE, (100, 0, 0), (6, 32, 40)), IMAGE) == 0.0


def test_a_channel_keeps_its_place_beside_an_image_that_loses_its_own() -> None:
    image = volume(IMAGE)
    canonical = image.canonical()[0]
    placeless = without_world_position(canonical)
    own = Geometry((9, 20, 21), offset(-25, 15, 9) + np.diag([1.5, 1.5, 3.0, 1.0]))
    placed = placed_channel(
        Channel("T1", volume(own)), image, canonical.geometry, placeless.geometry
    ).volume.geometry
    voxel = np.array([[2.0, 7.0, 11.0]])
    world = own.canonical()[0].index_to_world(voxel)
    np.testing.assert_allclose(
        placeless.geometry.world_to_index(placed.index_to_world(voxel)),
        canonical.geometry.world_to_index(world),
        atol=1e-6,
    )


def test_a_channel_on_the_images_grid_has_the_very_same_grid() -> None:
    image = volume(IMAGE)
    canonical = image.canonical()[0]
    placeless = without_world_position(canonical)
    placed = placed_channel(Channel("T1", volume(IMAGE)), image, canonical.geometry, placeless.geometry)
    assert placed.volume.geometry is placeless.geometry


def working() -> WorkingGrid:
    """Twice as coarse as the image along k, on it from the fifth slice on, and reaching beyond it."""
    return WorkingGrid(IMAGE, (0, 1, 2), (4.0, 0.0, 2.0), (1.0, 1.0, 1.0), (24, 32, 40))


def test_a_channel_that_shows_all_of_the_image_has_the_whole_grid() -> None:
    part = shown_part(working(), IMAGE, IMAGE)
    assert part is not None
    assert part.grid == working()
    assert part.shown.all()


def test_of_a_channel_the_part_that_it_shows_lies_on_the_same_voxels() -> None:
    grid, channel = working(), cropped(IMAGE, (10, 0, 0), (5, 32, 40))
    part = shown_part(grid, channel, IMAGE)
    assert part is not None
    assert part.grid.shape == (16, 32, 40)
    assert np.flatnonzero(part.shown.any((1, 2))).tolist() == list(range(6, 11))
    np.testing.assert_allclose(
        part.grid.geometry.affine, grid.geometry.cropped((6, 0, 0), (16, 32, 40)).affine
    )
    assert (part.where[0].start, part.where[0].stop) == (6, 22)


def test_a_channel_elsewhere_has_no_part() -> None:
    assert shown_part(working(), cropped(IMAGE, (60, 0, 0), (5, 32, 40)), IMAGE) is None


def test_the_mean_is_one_of_probabilities_over_those_that_are_shown() -> None:
    logits = [np.array([[[2.0, -30.0, 200.0]]]), np.array([[[-1.0, 4.0, 200.0]]])]
    shown = [np.ones((1, 1, 3), bool), np.array([[[True, False, True]]])]
    mean = mean_logits(logits, shown)
    probability = (1 / (1 + np.exp(-2.0)) + 1 / (1 + np.exp(1.0))) / 2
    expected = [np.log(probability / (1 - probability)), -30.0, 200.0]
    np.testing.assert_allclose(mean[0, 0], expected, rtol=1e-6)
    assert mean.dtype == np.float32


@pytest.mark.parametrize("name", ["", "  ", "x" * 401, "T1\n"])
def test_a_name_that_nobody_could_read_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be called"):
        check_channel_names([name])


@pytest.mark.parametrize("names", [["T1", "T1"], ["image"]])
def test_two_images_of_one_name_are_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match="Two images are called"):
        check_channel_names(names)


@pytest.mark.parametrize(("own", "refused"), [("1.2.3", False), ("", False), ("1.2.4", True)])
def test_a_channel_in_another_frame_of_reference_is_refused(own: str, refused: bool) -> None:
    image = replace(volume(IMAGE), frame_of_reference="1.2.3")
    channel = Channel("T1", replace(volume(IMAGE), frame_of_reference=own))
    canonical = image.canonical()[0].geometry
    if refused:
        with pytest.raises(InputError, match="The channel T1 lies in another frame of reference"):
            placed_channel(channel, image, canonical, canonical)
    else:
        assert placed_channel(channel, image, canonical, canonical).volume.geometry is canonical
