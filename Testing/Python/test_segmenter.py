"""From painted slices to structures, with the shipped network on small phantoms."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from affines import offset, rotation
from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume, read_image, read_volume
from MedMetaSegLib.segmenter import Segmenter
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.support.support import Support
from MedMetaSegLib.working_grid.grid import DETAILS, working_grid

SHAPE = (36, 48, 56)
AFFINE = offset(-20, 15, 40) + np.diag([1.2, 1.1, 2.0, 1.0])
DRAWN = (10, 17, 24)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load("cpu")


def truth() -> np.ndarray:
    """Two organs side by side, labels 1 and 2."""
    k, j, i = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[((k - 17) / 10) ** 2 + ((j - 22) / 11) ** 2 + ((i - 18) / 9) ** 2 < 1] = 1
    labels[((k - 17) / 9) ** 2 + ((j - 24) / 9) ** 2 + ((i - 38) / 10) ** 2 < 1] = 2
    return labels


def phantom() -> np.ndarray:
    labels = truth()
    image = np.array([20.0, 110.0, 70.0])[labels] + np.random.default_rng(1).normal(0, 6, SHAPE)
    return image.astype(np.int16)


def painting(slices: tuple[int, ...] = DRAWN) -> np.ndarray:
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[list(slices)] = truth()[list(slices)]
    return drawn


def volume_and_support(image=None, labels=None, affine: np.ndarray = AFFINE) -> tuple[Volume, Support]:
    image, labels = phantom() if image is None else image, painting() if labels is None else labels
    names = {1: "left", 2: "right"}
    return (
        Volume.from_array(image, affine, "phantom"),
        Support.from_labels(labels, Geometry(labels.shape, affine), names),
    )


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


@pytest.fixture(scope="module")
def usual(segmenter: Segmenter):
    return segmenter.segment(*volume_and_support())


def test_organs_painted_on_three_slices_are_found_whole(usual) -> None:
    for label in (1, 2):
        assert dice(usual.mask(label), truth() == label) > 0.9


def test_an_annotated_slice_is_never_changed(usual) -> None:
    np.testing.assert_array_equal(usual.labels[list(DRAWN)], painting()[list(DRAWN)])


def test_structures_do_not_overlap_and_the_report_counts_them(usual) -> None:
    assert not (usual.mask("left") & usual.mask("right")).any()
    for row in usual.report["structures"]:
        assert row["voxels"] == np.count_nonzero(usual.labels == row["label"])
        assert row["millilitres"] == pytest.approx(row["voxels"] * 1.2 * 1.1 * 2.0 / 1000, abs=1e-3)
        assert row["plane"] == "axial"
        assert row["slices"] == list(DRAWN)
    assert usual.report["device"] == "cpu"
    assert usual.report["intensity"]["kind"] == "MR"


def test_probability_agrees_with_the_mask_away_from_the_drawing(usual) -> None:
    probability = usual.probability("left")
    assert probability.shape == SHAPE
    assert probability.dtype == np.float16
    assert ((probability > 0.5) == usual.mask("left")).mean() > 0.99


def test_what_is_undecided_lies_at_the_border_of_a_structure(usual) -> None:
    uncertainty, mask = usual.uncertainty("right"), usual.mask("right")
    assert uncertainty.shape == SHAPE
    assert uncertainty.dtype == np.uint8
    probability = usual.probability(2).astype(float)
    np.testing.assert_allclose(uncertainty, 510 * np.minimum(probability, 1 - probability), atol=0.5)
    border = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_erosion(mask, iterations=3)
    assert uncertainty.max() > 200
    assert uncertainty[~border].max() < 10
    assert (usual.uncertainty(usual.structures[1]) == uncertainty).all()


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        ((0, 1, 2), (True, False, False)),
        ((2, 0, 1), (False, True, False)),
        ((1, 2, 0), (True, True, True)),
        ((0, 2, 1), (False, False, True)),
    ],
)
def test_the_same_patient_stored_otherwise_gives_exactly_the_same(
    segmenter: Segmenter, usual, store_otherwise: Callable, order: tuple, flips: tuple
) -> None:
    image, affine = store_otherwise(phantom(), AFFINE, order, flips)
    labels, _ = store_otherwise(painting(), AFFINE, order, flips)
    found = Segmenter(segmenter.predictor, segmenter.provenance, "").segment(
        *volume_and_support(image, labels, affine)
    )
    expected, _ = store_otherwise(usual.labels, AFFINE, order, flips)
    np.testing.assert_array_equal(found.labels, expected)


def test_a_patient_lying_oblique_gives_exactly_the_same(segmenter: Segmenter, usual) -> None:
    affine = rotation(0.25, -0.2, 0.3) @ AFFINE
    found = Segmenter(segmenter.predictor, segmenter.provenance, "").segment(
        *volume_and_support(affine=affine)
    )
    np.testing.assert_array_equal(found.labels, usual.labels)


def test_a_support_on_a_finer_shifted_grid_says_the_same(segmenter: Segmenter, usual) -> None:
    fine = painting().repeat(2, 1).repeat(2, 2)[:, 4:, 6:]
    affine = AFFINE @ (np.diag([0.5, 0.5, 1, 1]) + offset(2.75, 1.75, 0))
    support = Support.from_labels(fine, Geometry(fine.shape, affine), {1: "left", 2: "right"})
    found = segmenter.segment(volume_and_support()[0], support)
    np.testing.assert_array_equal(found.labels, usual.labels)


def test_a_support_on_a_turned_grid_is_used_along_its_own_slices(segmenter: Segmenter) -> None:
    centre = np.array([*(np.array(SHAPE[::-1]) - 1) / 2, 1]) @ AFFINE.T
    turn = offset(*centre[:3]) + rotation(0.15, 0.1, 0.2) @ (np.eye(4) + offset(*-centre[:3]))
    frame = Geometry(SHAPE, turn @ AFFINE)
    volume, _ = volume_and_support()
    points = volume.geometry.world_to_index(frame.index_to_world(np.indices(SHAPE).reshape(3, -1).T))
    index = np.rint(points).astype(int)
    valid = ((index >= 0) & (index < SHAPE)).all(1)
    turned = np.zeros(SHAPE, np.uint8)
    turned.reshape(-1)[valid] = truth()[tuple(index[valid].T)]
    keep = np.zeros(SHAPE[0], bool)
    keep[list(DRAWN)] = True
    turned[~keep] = 0
    found = segmenter.segment(volume, Support.from_labels(turned, frame, {1: "left", 2: "right"}))
    for label in (1, 2):
        assert dice(found.mask(label), truth() == label) > 0.85


def test_coronal_painting_is_followed(segmenter: Segmenter) -> None:
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[:, [15, 23, 30]] = truth()[:, [15, 23, 30]]
    found = segmenter.segment(*volume_and_support(labels=drawn))
    assert {row["plane"] for row in found.report["structures"]} == {"coronal"}
    assert dice(found.mask(1), truth() == 1) > 0.85
    np.testing.assert_array_equal(found.labels[:, 23], drawn[:, 23])


def test_the_report_numbers_slices_as_the_painting_is_stored(segmenter: Segmenter) -> None:
    upside_down = AFFINE @ np.diag([1.0, 1.0, -1.0, 1.0])
    upside_down[:3, 3] = (AFFINE @ [0, 0, SHAPE[0] - 1, 1])[:3]
    drawn = painting((10, 17))[::-1]
    found = segmenter.segment(*volume_and_support(phantom()[::-1], drawn, upside_down), structures=["left"])
    assert found.report["structures"][0]["slices"] == sorted(SHAPE[0] - 1 - k for k in (10, 17))


def test_scribbles_with_a_background_find_the_organ(segmenter: Segmenter) -> None:
    inside, outside = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    inside[17, 22, 12:25] = inside[12:24, 22, 18] = True
    outside[17, 8, 5:40] = outside[17, 36, 5:40] = outside[17, 22, 30:45] = outside[4, 22, 5:40] = True
    outside[31, 22, 5:40] = outside[17, 10:35, 5] = True
    named = [(Structure("organ", 1, (1, 0, 0)), inside), (Structure("background", 2, (0, 0, 0)), outside)]
    support = Support.from_masks(
        [StructureMask(s, (0, 0, 0), m) for s, m in named], Geometry(SHAPE, AFFINE), "scribbles"
    )
    found = segmenter.segment(volume_and_support()[0], support)
    assert dice(found.mask("organ"), truth() == 1) > 0.6
    assert found.mask("organ")[inside].all()
    assert not found.mask("organ")[outside].any()


def test_scribbles_without_a_background_are_refused(segmenter: Segmenter) -> None:
    inside = np.zeros(SHAPE, bool)
    inside[17, 22, 5:25] = True
    support = Support.from_masks(
        [StructureMask(Structure("a", 1, (1, 0, 0)), (0, 0, 0), inside)], Geometry(SHAPE, AFFINE), "scribbles"
    )
    with pytest.raises(InputError, match="background"):
        segmenter.segment(volume_and_support()[0], support)


def test_a_second_call_decodes_only_what_changed_and_equals_a_fresh_one(segmenter: Segmenter) -> None:
    volume, support = volume_and_support()
    first = Segmenter(segmenter.predictor, segmenter.provenance, "")
    first.segment(volume, support)
    asked: list[tuple[int, ...]] = []
    decode = first.predictor.segment
    first.predictor = copy(first.predictor)
    first.predictor.segment = lambda *a, **k: asked.append(tuple(a[0].shape)) or decode(*a, **k)
    edited = painting()
    edited[20] = np.where(truth()[20] == 1, 1, 0)
    again = first.segment(volume, Support.from_labels(edited, volume.geometry, {1: "left", 2: "right"}))
    assert len(asked) == 1
    fresh = Segmenter(segmenter.predictor, segmenter.provenance, "").segment(
        volume, Support.from_labels(edited, volume.geometry, {1: "left", 2: "right"})
    )
    np.testing.assert_array_equal(again.labels, fresh.labels)


def test_another_volume_is_not_mistaken_for_the_one_before(segmenter: Segmenter, usual) -> None:
    volume, support = volume_and_support()
    other = replace(volume, array=(volume.array // 2 + 300).astype(np.int16))
    other.array[:, :, 30:] = 300
    found = segmenter.segment(other, support)
    assert found.mask(2).sum() != usual.mask(2).sum()


def test_chosen_structures_only_are_segmented_and_the_rest_keep_their_drawing(segmenter: Segmenter) -> None:
    volume, support = volume_and_support()
    found = segmenter.segment(volume, support, structures=["left"])
    assert [one.structure.name for one in found.structures] == ["left"]
    assert not (found.mask("left") & (painting() == 2)).any()
    with pytest.raises(InputError, match="spleen"):
        segmenter.segment(volume, support, structures=["spleen"])


def test_fast_works_on_coarser_grids_and_best_adapts(segmenter: Segmenter, usual, monkeypatch) -> None:
    from MedMetaSegLib.same_volume import structure_logits as module

    details = []
    monkeypatch.setattr(
        module, "working_grid", lambda *given: details.append(given[-1]) or working_grid(*given)
    )
    volume, support = volume_and_support()
    for quality, adapts in (("fast", False), ("best", True)):
        details.clear()
        result = segmenter.segment(volume, support, quality=quality)
        assert set(map(id, details)) == {id(DETAILS[quality])}
        assert result.report["quality"] == quality
        assert ["adaptation" in one for one in result.report["structures"]] == [adapts, adapts]
        for name in ("left", "right"):
            assert dice(result.mask(name), usual.mask(name)) > 0.8


def test_an_unknown_quality_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match="no quality 'finest'; use fast, balanced, best"):
        segmenter.segment(*volume_and_support(), quality="finest")


def test_cancelling_stops_with_its_own_error(segmenter: Segmenter) -> None:
    with pytest.raises(Cancelled):
        segmenter.segment(*volume_and_support(), cancelled=lambda: True)


def test_progress_rises_to_one(segmenter: Segmenter) -> None:
    shares: list[float] = []
    segmenter.segment(*volume_and_support(), progress=lambda share, what: shares.append(share))
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0


def test_a_painting_of_the_whole_volume_is_refused(segmenter: Segmenter) -> None:
    labels = np.ones(SHAPE, np.uint8)
    with pytest.raises(InputError, match="nothing is left"):
        segmenter.segment(*volume_and_support(labels=labels))


def test_a_dicom_series_and_labels_stored_flipped_land_in_one_place(
    segmenter: Segmenter, shared_data
) -> None:
    volume = read_volume(shared_data / "totalseg" / "ct_dicom")
    labels = read_image(shared_data / "totalseg" / "ct_dicom_label.nii.gz")
    value = int(np.bincount(labels.array[labels.array > 0]).argmax())
    drawn = np.where(labels.array == value, labels.array, 0)
    filled = np.flatnonzero(drawn.any((1, 2)))
    keep = [int(filled[len(filled) // 5]), int(filled[-len(filled) // 5])]
    drawn[[k for k in range(len(drawn)) if k not in keep]] = 0
    found = segmenter.segment(
        volume, Support.from_labels(drawn.astype(np.uint8), labels.geometry, plane="axial")
    )
    image = sitk.GetImageFromArray(labels.array.astype(np.int16))
    assert image.GetSize() == tuple(reversed(labels.array.shape))
    wanted = Support.from_labels(
        (labels.array == value).astype(np.uint8), labels.geometry, annotation="complete"
    )
    expected = wanted.on(volume.geometry).labels() > 0
    assert dice(found.mask(value), expected) > 0.7
    assert found.report["intensity"]["kind"] == "CT"


def test_a_structure_that_lies_outside_the_image_is_told(segmenter: Segmenter) -> None:
    labels = np.concatenate([painting(), np.zeros_like(painting())])
    labels[np.isin(labels, 2)] = 0
    labels[[44, 50], 10:20, 10:20] = 2
    volume, _ = volume_and_support()
    support = Support.from_labels(labels, Geometry(labels.shape, AFFINE), {1: "left", 2: "right"})
    report = segmenter.segment(volume, support, quality="fast").report
    assert [one["name"] for one in report["structures"]] == ["left"]
    assert [one["name"] for one in report["skipped"]] == ["right"]
    assert "outside the image" in report["skipped"][0]["reason"]


@pytest.mark.parametrize("affine", [AFFINE, AFFINE @ np.diag([-1.0, -1.0, 1.0, 1.0])])
def test_a_preview_of_each_structure_comes_once_before_the_next_is_begun(segmenter, affine):
    volume, support = volume_and_support(affine=affine)
    heard: list[tuple[str, str]] = []
    masks = {}

    def preview(one):
        heard.append(("preview", one.structure.name))
        whole = np.zeros(volume.array.shape, bool)
        whole[tuple(slice(o, o + n) for o, n in zip(one.offset, one.mask.shape, strict=True))] = one.mask
        masks[one.structure.name] = whole

    result = segmenter.segment(
        volume, support, progress=lambda share, what: heard.append(("begun", what)), preview=preview
    )
    assert heard == [
        ("begun", "left"),
        ("preview", "left"),
        ("begun", "right"),
        ("preview", "right"),
        ("begun", "done"),
    ]
    for name in ("left", "right"):
        assert dice(masks[name], result.mask(name)) > 0.95
        drawn = painting() == {"left": 1, "right": 2}[name]
        assert masks[name][drawn].all()
    without = segmenter.segment(volume, support)
    np.testing.assert_array_equal(without.labels, result.labels)


def test_with_adaptation_the_preview_comes_before_it(segmenter, monkeypatch):
    from MedMetaSegLib.same_volume import structure_logits as module

    heard = []
    monkeypatch.setattr(module, "adapted_to_slices", lambda *_: heard.append("adaptation"))
    volume, support = volume_and_support()
    preview = lambda one: heard.append(one.structure.name)  # noqa: E731
    segmenter.segment(volume, support, adapt=True, structures=["left"], preview=preview)
    assert heard[:2] == ["left", "adaptation"]
    assert heard.count("left") == 1


def test_figures_that_were_fitted_for_other_weights_come_with_a_note(usual) -> None:
    other = Segmenter.load("cpu")
    other.provenance = {**other.provenance, "sha256": "0" * 64}
    volume, support = volume_and_support()
    notes = other.segment(volume, support).report["notes"]
    assert [note for note in notes if "other weights" in note]
    assert not [note for note in usual.report["notes"] if "other weights" in note]
    silent = other.segment(volume, support, confidence=False).report
    assert not [note for note in silent["notes"] if "other weights" in note]
    assert "predicted_dice" not in silent["structures"][0]
