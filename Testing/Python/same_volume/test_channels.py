"""Several co-registered images, each answered by the shipped network by itself, and the mean of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from affines import offset, rotation
from MedMetaSegLib import Channel, InputError, Segmenter, Support, Volume
from MedMetaSegLib.imageio.geometry import Geometry
from network_phantom import ball

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (20, 32, 32)
AFFINE = offset(12, -30, 7) + np.diag([1.5, 1.5, 3.0, 1.0])
GEOMETRY = Geometry(SHAPE, AFFINE)
HALF = 16
"""First column of the half in which an image that is half blind shows nothing."""


def image(seed: int = 0, blind: slice | None = None, name: str = "ct") -> Volume:
    """A noisy ellipsoid, without contrast in the columns that it is blind to."""
    contrast = 100.0 * ball(SHAPE)
    if blind is not None:
        contrast[:, :, blind] = 0
    values = contrast + np.random.default_rng(seed).normal(0, 10, SHAPE)
    return Volume.from_array(values.astype(np.float32), AFFINE, name)


def cropped(volume: Volume, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Volume:
    where = tuple(slice(first, first + size) for first, size in zip(start, shape, strict=True))
    return replace(volume, array=volume.array[where], geometry=volume.geometry.cropped(start, shape))


def support(slices: tuple[int, ...] = (7, 12)) -> Support:
    labels = np.zeros(SHAPE, np.uint8)
    labels[list(slices)] = ball(SHAPE)[list(slices)]
    return Support.from_labels(labels, GEOMETRY, {1: "ellipsoid"})


def dice(mask: np.ndarray) -> float:
    truth = ball(SHAPE)
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load("cpu")


@pytest.fixture(scope="module")
def alone(segmenter: Segmenter) -> Any:
    return segmenter.segment(image(), support())


def votes(result: Any) -> list[dict[str, Any]]:
    return result.report["structures"][0]["channels"]


def test_a_report_without_channels_does_not_speak_of_them(alone: Any) -> None:
    assert "channels" not in alone.report
    assert "channels" not in alone.report["structures"][0]


def test_the_same_image_twice_says_what_it_says_once(segmenter: Segmenter, alone: Any) -> None:
    both = segmenter.segment(image(), support(), channels=[Channel("again", image())])
    np.testing.assert_array_equal(both.labels, alone.labels)
    np.testing.assert_allclose(both.probability(1), alone.probability(1), atol=2e-3)
    (entry,) = alone.report["structures"]
    for vote, name in zip(votes(both), ("ct", "again"), strict=True):
        expected = {"name": name, "millilitres": entry["millilitres"], "dice_with_result": 1.0}
        assert vote == expected
    assert [one["name"] for one in both.report["channels"]] == ["ct", "again"]
    assert [one["shows"] for one in both.report["channels"]] == [1.0, 1.0]


def test_a_channel_shows_what_the_image_does_not(segmenter: Segmenter) -> None:
    """The probability is the mean of what each says by itself."""
    blind, clear = image(0, slice(HALF, None)), image(1, name="mr")
    both = segmenter.segment(blind, support(), channels=[Channel("mr", clear)])
    by_image = segmenter.segment(blind, support())
    by_channel = segmenter.segment(clear, support())
    mean = (by_image.probability(1).astype(float) + by_channel.probability(1)) / 2
    assert np.abs(both.probability(1) - mean).mean() < 0.01
    assert dice(both.mask(1)) > dice(by_image.mask(1))
    found = [vote["millilitres"] for vote in votes(both)]
    by_themselves = [one.report["structures"][0]["millilitres"] for one in (by_image, by_channel)]
    assert found == pytest.approx(by_themselves, rel=0.05)
    assert votes(both)[1]["dice_with_result"] > votes(both)[0]["dice_with_result"]


def test_where_a_channel_shows_nothing_the_image_decides(segmenter: Segmenter, alone: Any) -> None:
    part = cropped(image(1), (0, 0, 0), (10, 32, 32))
    both = segmenter.segment(image(), support(), channels=[Channel("mr", part)])
    by_image, mean = alone.probability(1).astype(float), both.probability(1).astype(float)
    np.testing.assert_allclose(mean[11:], by_image[11:], atol=2e-3)
    assert np.abs(mean[:10] - by_image[:10]).max() > 0.02
    assert "The channel mr shows 50 % of the image, and has no say elsewhere." in both.report["notes"]
    assert both.report["channels"][1]["shows"] == 0.5


def test_a_channel_may_lie_on_a_grid_of_its_own(segmenter: Segmenter, alone: Any) -> None:
    """The same ellipsoid on a turned, finer grid around it."""
    middle = (AFFINE @ [*(np.array(SHAPE[::-1]) - 1) / 2, 1])[:3]
    shape = (40, 44, 48)
    turned = rotation(0.3, -0.2, 0.4) @ np.diag([1.5, 1.5, 1.5, 1.0])
    corner = middle - turned[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    affine = offset(*corner) + turned
    own = Geometry(shape, affine)
    k, j, i = np.indices(shape).reshape(3, -1)
    index = np.rint(GEOMETRY.world_to_index(own.index_to_world(np.stack([k, j, i], 1)))).astype(int)
    inside = ((index >= 0) & (index < SHAPE)).all(1)
    values = np.zeros(len(index), np.float32)
    values[inside] = 100.0 * ball(SHAPE)[tuple(index[inside].T)]
    values += np.random.default_rng(5).normal(0, 10, len(values))
    channel = Channel("mr", Volume.from_array(values.reshape(shape).astype(np.float32), own))
    both = segmenter.segment(image(), support(), channels=[channel])
    assert dice(both.mask(1)) > 0.9
    assert votes(both)[1]["dice_with_result"] > 0.85
    moved = Channel("mr", replace(channel.volume, geometry=Geometry(shape, offset(0, 9, 0) + affine)))
    astray = segmenter.segment(image(), support(), channels=[moved])
    assert votes(astray)[1]["dice_with_result"] < votes(both)[1]["dice_with_result"]


def test_a_second_run_is_a_fresh_one(segmenter: Segmenter) -> None:
    """Nothing is left of another channel under the same name, or of another painting."""
    first, second = Channel("mr", image(1)), Channel("mr", image(2, slice(HALF, None)))
    segmenter.segment(image(), support(), channels=[first])
    again = segmenter.segment(image(), support((7, 12, 14)), channels=[second])
    fresh = Segmenter(segmenter.predictor, segmenter.provenance, "").segment(
        image(), support((7, 12, 14)), channels=[second]
    )
    np.testing.assert_array_equal(again.labels, fresh.labels)
    np.testing.assert_array_equal(again.probability(1), fresh.probability(1))
    assert votes(again) == votes(fresh)


def test_a_second_run_encodes_no_image_anew(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel("mr", image(1))
    segmenter.segment(image(), support((7, 9, 12)), channels=[channel])

    def encode(*_: Any) -> None:
        raise AssertionError("an image was encoded")

    monkeypatch.setattr(segmenter.predictor.network, "encode", encode)
    segmenter.segment(image(), support((7, 10, 12)), channels=[channel])


def test_a_channel_that_shows_nothing_of_the_painting_is_refused(segmenter: Segmenter) -> None:
    channel = Channel("mr", cropped(image(1), (16, 0, 0), (4, 32, 32)))
    with pytest.raises(InputError, match="mr shows nothing of what was annotated"):
        segmenter.segment(image(), support(), channels=[channel])


def test_a_structure_that_a_channel_does_not_show_is_the_images_own(segmenter: Segmenter) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[[7, 12]] = ball(SHAPE)[[7, 12]]
    labels[:2, :4, :4] = 2
    two = Support.from_labels(labels, GEOMETRY, {1: "ellipsoid", 2: "corner"})
    channel = Channel("mr", cropped(image(1), (5, 0, 0), (12, 32, 32)))
    result = segmenter.segment(image(), two, channels=[channel])
    corner = next(one for one in result.report["structures"] if one["name"] == "corner")
    assert corner["channels"][1] == {"name": "mr", "millilitres": None, "dice_with_result": None}
    note = "The channel mr shows nothing of what was annotated of corner, and has no say in it."
    assert note in result.report["notes"]


@pytest.mark.parametrize("names", [("mr", "mr"), ("ct",)])
def test_images_of_one_name_are_refused(segmenter: Segmenter, names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="Two images are called"):
        segmenter.segment(image(), support(), channels=[Channel(name, image(1)) for name in names])
