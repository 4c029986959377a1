"""Segmenting within a region: nothing is found outside, and what was annotated stays.

The network has random weights: its answers are noise that fills its whole grids, so that nothing but the
region keeps them in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from affines import offset, rotation
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.channel import Channel
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.network.inference import Predictor
from MedMetaSegLib.segmenter import Segmenter
from MedMetaSegLib.support.support import Support
from network_phantom import tiny_network

SHAPE = (20, 40, 44)
AFFINE = offset(-20, 15, 40) + np.diag([1.2, 1.1, 2.0, 1.0])
PAINTED = (6, 13)
pytestmark = pytest.mark.usefixtures("one_thread")


def make_segmenter() -> Segmenter:
    return Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "ab" * 32}, "for tests")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return make_segmenter()


def volume(affine: np.ndarray = AFFINE) -> Volume:
    image = np.random.default_rng(1).normal(0, 6, SHAPE)
    image[4:16, 8:24, 6:20] += 40
    image[4:16, 10:26, 24:38] += 80
    return Volume.from_array(image.astype(np.int16), affine, "phantom")


def painting() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[list(PAINTED), 8:24, 6:20] = 1
    labels[list(PAINTED), 10:26, 24:38] = 2
    return labels


def support(affine: np.ndarray = AFFINE, labels: np.ndarray | None = None) -> Support:
    labels = painting() if labels is None else labels
    return Support.from_labels(labels, Geometry(labels.shape, affine), {1: "left", 2: "right"})


def box(k: tuple[int, int], j: tuple[int, int], i: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[slice(*k), slice(*j), slice(*i)] = True
    return mask


REGION = box((5, 15), (12, 30), (9, 33))
"""Cuts both structures, and leaves a part of what was painted outside."""


@pytest.fixture(scope="module")
def within(segmenter: Segmenter) -> Any:
    return segmenter.segment(volume(), support(), within=REGION)


def test_no_voxel_lies_outside_but_those_that_were_painted(segmenter: Segmenter, within: Any):
    everywhere = segmenter.segment(volume(), support())
    for label in (1, 2):
        outside = ~REGION & (painting() != label)
        assert not within.mask(label)[outside].any()
        assert (within.mask(label) & REGION & (painting() == 0)).any()
        # Else there would be nothing to keep in.
        assert everywhere.mask(label)[outside].any()


def test_what_was_painted_is_kept_and_where_it_lies_outside_that_is_said(within: Any):
    np.testing.assert_array_equal(within.labels[list(PAINTED)], painting()[list(PAINTED)])
    for label, name in ((1, "left"), (2, "right")):
        outside = np.count_nonzero((painting() == label) & ~REGION)
        said = f"{name}: {outside} annotated voxels lie outside the region; what was annotated is kept."
        assert said in within.report["notes"]


def test_the_report_tells_of_the_region(segmenter: Segmenter, within: Any):
    voxels = int(REGION.sum())
    told = {"voxels": voxels, "millilitres": pytest.approx(voxels * 1.2 * 1.1 * 2.0 / 1000, abs=1e-3)}
    assert within.report["within"] == {**told, "source": "array"}
    assert "within" not in segmenter.segment(volume(), support()).report


def test_probability_and_uncertainty_are_0_outside(within: Any):
    for name in ("left", "right"):
        assert within.probability(name)[REGION].any()
        assert not within.probability(name)[~REGION].any()
        assert not within.uncertainty(name)[~REGION].any()


def test_the_slice_to_paint_next_lies_in_the_region(segmenter: Segmenter):
    region = box((9, 11), (0, 40), (0, 44))
    for row in segmenter.segment(volume(), support(), within=region).report["structures"]:
        assert row["next_slice"]["index"] in (9, 10)


def test_another_region_gives_what_a_new_segmenter_gives(segmenter: Segmenter):
    other = box((2, 18), (6, 26), (0, 30))
    shifted = np.roll(REGION, 1, axis=1)
    for region in (REGION, other, shifted, None, REGION):
        again = segmenter.segment(volume(), support(), within=region)
        fresh = make_segmenter().segment(volume(), support(), within=region)
        np.testing.assert_array_equal(again.labels, fresh.labels)
        for mine, theirs in zip(again.report["structures"], fresh.report["structures"], strict=True):
            assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


def test_the_region_and_the_image_may_be_stored_otherwise(
    segmenter: Segmenter, within: Any, store_otherwise: Callable
):
    order, flips = (2, 0, 1), (True, False, True)
    image, affine = store_otherwise(volume().array, AFFINE, order, flips)
    region, _ = store_otherwise(REGION, AFFINE, order, flips)
    found = segmenter.segment(Volume.from_array(image, affine), support(), within=region)
    np.testing.assert_array_equal(found.labels, store_otherwise(within.labels, AFFINE, order, flips)[0])


def test_with_a_support_that_lies_aslant_in_the_image_too_nothing_lies_outside(segmenter: Segmenter):
    turned = AFFINE @ (rotation(0.1, 0.05, 0.2) + offset(3.0, -4.0, 0.0))
    aslant = support(turned)
    found = segmenter.segment(volume(), aslant, within=REGION)
    painted = {one.structure.label: one for one in aslant.voxels_on(volume().geometry).structures}
    for label in (1, 2):
        kept = np.zeros(SHAPE, bool)
        kept[painted[label].region] = painted[label].mask
        mask = found.mask(label)
        assert not (mask & ~REGION & ~kept).any()
        assert (mask & REGION).any()


def test_the_preview_lies_in_the_region_too(segmenter: Segmenter):
    shown = []
    segmenter.segment(volume(), support(), within=np.roll(REGION, -2, axis=2), preview=shown.append)
    assert len(shown) == 2
    allowed = np.roll(REGION, -2, axis=2) | (painting() > 0)
    for one in shown:
        assert not (one.mask & ~allowed[one.region]).any()


def test_an_image_and_its_channel_vote_in_the_region_alone(segmenter: Segmenter):
    other = Channel("other", Volume.from_array(volume().array[::-1].copy(), AFFINE))
    found = segmenter.segment(volume(), support(), within=REGION, channels=[other])
    for label, row in enumerate(found.report["structures"], start=1):
        mine = painting() == label
        assert not found.mask(label)[~REGION & ~mine].any()
        largest = np.count_nonzero(REGION | mine) * 1.2 * 1.1 * 2.0 / 1000
        assert [vote["name"] for vote in row["channels"]] == ["phantom", "other"]
        assert all(0 < vote["millilitres"] <= largest for vote in row["channels"])


def test_a_region_without_voxels_and_one_of_another_grid_are_refused(segmenter: Segmenter):
    with pytest.raises(InputError, match="The region is empty"):
        segmenter.segment(volume(), support(), within=np.zeros(SHAPE, bool))
    with pytest.raises(InputError, match="give one on the image's grid"):
        segmenter.segment(volume(), support(), within=REGION[1:])


def test_a_task_is_learned_within_the_region_of_its_one_patient(segmenter: Segmenter):
    pair = volume(), support()
    everywhere, inside = segmenter.learn([pair]), segmenter.learn([pair], within=REGION)
    voxels = [
        sum(int(place.occupancy.sum()) for place in task.atlases[0].places if place is not None)
        for task in (everywhere, inside)
    ]
    assert voxels[1] < voxels[0]
    with pytest.raises(InputError, match="A region is for one patient"):
        segmenter.learn([pair, pair], within=REGION)
