"""The baselines on phantoms they must get right, and on real CT."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib.datasets.cases import read_case, read_cases
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.evaluation.baselines import (
    BACKGROUND,
    BASELINES,
    FOREGROUND,
    UNKNOWN,
    Baseline,
    filter_bank,
    known_labels,
    search_box,
)
from MedMetaSegLib.evaluation.interaction import scored_mask
from MedMetaSegLib.evaluation.metrics import score_other_slices
from MedMetaSegLib.evaluation.protocols import same_volume_support
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.support.support import Support

pytest.importorskip("sklearn")
pytest.importorskip("itk")
pytest.importorskip("slicer")

SPACING_MM = (2.0, 1.0, 1.0)


def phantom() -> tuple[Volume, np.ndarray]:
    """Two bright touching ellipsoids of different intensity on a dark ground; labels 1 and 2."""
    k, j, i = np.indices((28, 48, 52)).astype(float)
    labels = np.zeros(k.shape, dtype=np.int32)
    labels[((k - 13) / 10) ** 2 + ((j - 20) / 11) ** 2 + ((i - 18) / 12) ** 2 < 1] = 1
    labels[(((k - 14) / 9) ** 2 + ((j - 22) / 10) ** 2 + ((i - 37) / 9) ** 2 < 1) & (labels == 0)] = 2
    image = np.array([0.0, 100.0, 180.0])[labels] + np.random.default_rng(0).normal(scale=8, size=k.shape)
    affine = np.diag([*SPACING_MM[::-1], 1.0])
    return Volume.from_array(image.astype(np.int16), affine), labels


def drawn(count: int) -> tuple[Volume, np.ndarray, Support]:
    volume, labels = phantom()
    return volume, labels, same_volume_support(labels, volume.geometry, {1: "large", 2: "small"}, count)


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda one: one.name)
def test_a_plain_phantom_is_segmented_from_five_slices(baseline: Baseline) -> None:
    volume, labels, support = drawn(5)
    for found, painted in zip(baseline.run(volume, support), support.structures, strict=True):
        assert found.structure == painted.structure
        mask = scored_mask(found, labels.shape)
        truth = labels == painted.structure.label
        assert score_other_slices(mask, truth, SPACING_MM, painted.slices).dice > 0.85


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("baseline", BASELINES, ids=lambda one: one.name)
def test_an_annotated_slice_is_never_changed(baseline: Baseline, count: int) -> None:
    volume, labels, support = drawn(count)
    for found in baseline.run(volume, support):
        mask = scored_mask(found, labels.shape)
        painted = next(one for one in support.structures if one.structure == found.structure)
        slices = list(painted.slices)
        np.testing.assert_array_equal(mask[slices], labels[slices] == painted.structure.label)


def test_one_slice_leaves_nothing_to_fill_between() -> None:
    volume, _, support = drawn(1)
    fill = next(one for one in BASELINES if one.name == "fill")
    for found, painted in zip(fill.run(volume, support), support.structures, strict=True):
        assert np.count_nonzero(found.mask) == painted.voxels


def test_nothing_is_filled_beyond_the_outermost_slices() -> None:
    volume, labels, support = drawn(3)
    fill = next(one for one in BASELINES if one.name == "fill")
    for found, painted in zip(fill.run(volume, support), support.structures, strict=True):
        filled = np.flatnonzero(scored_mask(found, labels.shape).any(axis=(1, 2)))
        assert (filled[0], filled[-1]) == (painted.slices[0], painted.slices[-1])


def test_every_baseline_knows_only_what_the_support_says() -> None:
    _, labels, support = drawn(3)
    large = support.structures[0]
    whole = tuple(slice(0, size) for size in labels.shape)
    known = known_labels(support, large, (whole[0], whole[1], whole[2]))
    on_own = list(large.slices)
    np.testing.assert_array_equal(known[on_own] == FOREGROUND, labels[on_own] == 1)
    assert not (known[on_own] == UNKNOWN).any()
    other_slices = [k for k in range(len(known)) if k not in large.slices]
    assert not (known[other_slices] == FOREGROUND).any()
    given_to_small = support.labels()[other_slices] == 2
    np.testing.assert_array_equal(known[other_slices] == BACKGROUND, given_to_small)


def test_the_search_box_holds_the_structure_and_stays_in_the_volume() -> None:
    for count in (1, 3, 5):
        volume, labels, support = drawn(count)
        for painted in support.structures:
            box = search_box(painted, volume.geometry.shape, SPACING_MM)
            truth = labels == painted.structure.label
            # One slice cannot tell how far the structure goes across it.
            assert count == 1 or truth[box].sum() == truth.sum()
            assert all(0 <= b.start < b.stop <= n for b, n in zip(box, labels.shape, strict=True))


def test_features_are_the_same_for_the_same_tissue_at_any_spacing() -> None:
    """A ramp of 3 per mm has that gradient whatever the voxel, and no curvature."""
    for spacing_mm in ((1.0, 1.0, 1.0), (4.0, 1.0, 1.0)):
        j = np.arange(40) * 1.0
        ramp = np.broadcast_to((3.0 * j)[None, :, None], (30, 40, 40))
        features = filter_bank(ramp, spacing_mm)[15, 20, 20]
        assert features[2] == pytest.approx(3.0, abs=1e-3)
        assert features[3] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(("name", "least"), [("fill", 0.8), ("grow", 0.85), ("forest", 0.85)])
def test_a_real_liver_is_found_from_five_slices(shared_data: Path, name: str, least: float) -> None:
    case = next(one for one in read_cases(shared_data) if (one.dataset, one.case) == ("totalseg", "ct"))
    volume, labels = read_case(case)
    support = same_volume_support(labels, volume.geometry, {5: "liver"}, 5)
    baseline = next(one for one in BASELINES if one.name == name)
    (found,) = baseline.run(volume, support)
    mask = scored_mask(found, labels.shape)
    score = score_other_slices(mask, labels == 5, volume.geometry.spacing_mm, support.structures[0].slices)
    assert score.dice > least


def test_a_support_without_whole_slices_is_refused() -> None:
    volume, labels = phantom()
    support = Support.from_labels(labels, volume.geometry, None, "scribbles")
    with pytest.raises(ValueError, match="whole annotated slices"):
        next(BASELINES[0].run(volume, support))


def test_a_baseline_whose_package_is_missing_says_what_to_install() -> None:
    missing = dataclasses.replace(BASELINES[0], package="no-such-package")
    with pytest.raises(InputError, match=r"install medmetaseg\[evaluation\]"):
        _ = missing.version
    assert not missing.is_installed
    assert BASELINES[0].is_installed
