"""Carrying structures to another patient: learning, applying, and what is not there.

The network has random weights here, so what is right about a result comes from where the structures lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from affines import moved
from MedMetaSegLib import Cancelled, InputError, Support, Task, Volume
from MedMetaSegLib.demo.phantom import LABEL, STRUCTURES, Patient, make_patient
from MedMetaSegLib.errors import TaskError
from MedMetaSegLib.evaluation.metrics import dice
from MedMetaSegLib.imageio.volume import Geometry
from MedMetaSegLib.network.inference import Predictor
from MedMetaSegLib.next_patient import atlas_placement
from MedMetaSegLib.next_patient.apply import applied_task
from MedMetaSegLib.next_patient.atlas_placement import register_atlases
from MedMetaSegLib.registration.refinement import refined_poses
from MedMetaSegLib.registration.rotations import in_plane_rotation
from MedMetaSegLib.registration.sampling import TensorImage
from MedMetaSegLib.registration.warping import moved as placed_at
from MedMetaSegLib.segmenter import Segmenter
from MedMetaSegLib.task.task_file import LearnedPrototypes
from network_phantom import tiny_network

SHAPE, SPACING = (24, 56, 72), (8.0, 5.0, 5.0)
NAMES = {one.label: one.name for one in STRUCTURES if one.name in ("liver", "left kidney")}
LIVER, KIDNEY = LABEL["liver"], LABEL["left kidney"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """Random weights: what comes from the network is noise."""
    return Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "ab" * 32}, "for tests")


@pytest.fixture(scope="module")
def first() -> Patient:
    return make_patient(0, SHAPE, SPACING, (3.0, 0.0, 2.0))


@pytest.fixture(scope="module")
def second() -> Patient:
    return make_patient(1, SHAPE, SPACING, (-2.0, 0.0, -3.0))


def complete(patient: Patient, names: dict[int, str] | None = None) -> Support:
    names = names or NAMES
    labels = np.where(np.isin(patient.truth, list(names)), patient.truth, 0).astype(np.uint8)
    return Support.from_labels(labels, patient.volume.geometry, names, "complete")


@pytest.fixture(scope="module")
def task(segmenter: Segmenter, first: Patient) -> Task:
    return segmenter.learn([(first.volume, complete(first))])


# --- learning and applying ------------------------------------------------------------------------


def test_structures_are_carried_to_another_patient(segmenter: Segmenter, task: Task, second: Patient):
    result = segmenter.apply(task, second.volume)
    assert result.geometry is second.volume.geometry
    assert dice(result.mask("liver"), second.truth == LIVER) > 0.7
    assert dice(result.mask("left kidney"), second.truth == KIDNEY) > 0.5
    assert [one["found"] for one in result.report["structures"]] == [True, True]
    assert set(np.unique(result.labels)) == {0, LIVER, KIDNEY}


@pytest.mark.parametrize("margin", [4, 8, 14])
def test_black_margins_around_the_next_patient_change_nothing(
    segmenter: Segmenter, task: Task, second: Patient, margin: int
):
    before = segmenter.apply(task, second.volume)
    volume = second.volume
    around = volume.geometry.cropped((-margin,) * 3, [size + 2 * margin for size in SHAPE])
    after = segmenter.apply(task, Volume(np.pad(volume.array, margin), around))
    np.testing.assert_array_equal(after.labels, np.pad(before.labels, margin))
    np.testing.assert_array_equal(after.probability("liver"), np.pad(before.probability("liver"), margin))


def test_black_margins_around_the_support_change_nothing(
    segmenter: Segmenter, task: Task, first: Patient, second: Patient
):
    around = first.volume.geometry.cropped((-6, -5, -4), [size + 12 for size in SHAPE])
    pad = [(6, 6), (5, 7), (4, 8)]
    labels = np.pad(complete(first).labels(), pad)
    support = Support.from_labels(labels, around, NAMES, "complete")
    learned = segmenter.learn([(Volume(np.pad(first.volume.array, pad), around), support)])
    for one, other in zip(learned.atlases, task.atlases, strict=True):
        np.testing.assert_array_equal(one.close.intensity, other.close.intensity)
        np.testing.assert_array_equal(one.overview.intensity, other.overview.intensity)


def test_a_support_is_warped_several_times_and_its_pose_has_a_say_too(task: Task, second: Patient):
    found = register_atlases(task, second.volume, lambda: False)
    assert found.close is not None
    *warped, affine_only = found.registered
    assert [one.warped for one in found.registered] == [True] * 8 + [False]
    places = TensorImage.of(found.close, torch.device("cpu")).places()
    np.testing.assert_allclose(affine_only.atlas_mm, affine_only.pose.moving(places.numpy()), atol=1e-3)
    assert all((one.atlas_mm - placed_at(one.pose, places)).abs().max() > 1 for one in warped)
    assert affine_only.pose is warped[0].pose
    # What was warped looks more like the query around the structures, and so counts more.
    where = found.fused.by_all[0] > 0.3
    assert warped[0].local_ncc[where].mean() > affine_only.local_ncc[where].mean() > 0


def test_whether_a_structure_is_there_is_judged_by_what_was_warped(
    segmenter: Segmenter, task: Task, second: Patient
):
    found = register_atlases(task, second.volume, lambda: False)
    evidence = []
    *warped, placed = found.registered
    unlike = replace(placed, local_ncc=torch.zeros_like(placed.local_ncc))
    for placement in (found, replace(found, registered=(*warped, unlike))):
        applied = applied_task(
            task, second.volume, segmenter.predictor, lambda share, what: None, lambda: False, placement
        )
        evidence.append([one["evidence"] for one in applied.report["structures"]])
    for one, again in zip(*evidence, strict=True):
        for name in ("fov_fraction", "global_ncc", "local_ncc", "volume_ratio_after_warp"):
            assert one[name] == again[name]


def test_prototypes_of_the_support_have_a_say_in_images_of_their_modality(
    segmenter: Segmenter, task: Task, second: Patient
):
    def exchanged(one: LearnedPrototypes) -> LearnedPrototypes:
        return LearnedPrototypes(one.background, one.foreground, -one.mean, -one.ridge)

    found = register_atlases(task, second.volume, lambda: False)

    def liver(one: Task) -> np.ndarray:
        applied = applied_task(
            one, second.volume, segmenter.predictor, lambda share, what: None, lambda: False, found
        )
        return applied.probability("liver")

    other = replace(task, prototypes=tuple(exchanged(one) for one in task.prototypes))
    assert not np.array_equal(liver(task), liver(other))
    # What was learned on MR says nothing about CT.
    assert np.array_equal(liver(replace(task, modality="MR")), liver(replace(other, modality="MR")))


def test_a_task_from_a_file_gives_the_same_answer(
    segmenter: Segmenter, task: Task, second: Patient, tmp_path: Path
):
    task.write(tmp_path / "two.medmetaseg")
    again = segmenter.apply(Task.read(tmp_path / "two.medmetaseg"), second.volume)
    np.testing.assert_array_equal(again.labels, segmenter.apply(task, second.volume).labels)


def test_how_the_image_is_stored_and_where_it_lies_have_no_say(
    segmenter: Segmenter, task: Task, second: Patient, store_otherwise: Callable
):
    volume = second.volume
    array, affine = store_otherwise(volume.array, volume.geometry.affine, (2, 0, 1), (True, False, True))
    affine = affine.copy()
    affine[:3, 3] += [100.0, -40.0, 7.0]
    shape = (array.shape[0], array.shape[1], array.shape[2])
    other = segmenter.apply(task, replace(volume, array=array, geometry=Geometry(shape, affine)))
    labels = segmenter.apply(task, volume).labels
    stored = store_otherwise(labels, volume.geometry.affine, (2, 0, 1), (True, False, True))[0]
    np.testing.assert_array_equal(other.labels, stored)


def test_a_patient_whose_image_is_rotated_in_its_plane_is_found(
    segmenter: Segmenter, task: Task, second: Patient
):
    """As short-axis hearts are, whose files do not tell."""
    array, truth = (np.ascontiguousarray(np.rot90(a, 1, (1, 2))) for a in (second.volume.array, second.truth))
    shape = (array.shape[0], array.shape[1], array.shape[2])
    query = replace(second.volume, array=array, geometry=Geometry(shape, second.volume.geometry.affine))
    result = segmenter.apply(task, query)
    assert dice(result.mask("liver"), truth == LIVER) > 0.7
    assert dice(result.mask("left kidney"), truth == KIDNEY) > 0.5


def test_scans_along_other_planes_are_brought_together_by_their_directions(
    segmenter: Segmenter, task: Task, second: Patient
):
    """The query's slices lie nearer to coronal planes than to the axial ones of the support, and askew."""
    geometry = second.volume.geometry
    tilt = np.eye(4)
    tilt[:3, :3] = in_plane_rotation(0, 50) @ in_plane_rotation(1, 40)
    middle = np.eye(4)
    middle[:3, 3] = geometry.index_to_world((np.array([geometry.shape]) - 1) / 2)[0]
    shape = (56, 56, 72)
    start = Geometry(shape, np.diag([5.0, 5.0, 5.0, 1.0]))
    centred = start.affine.copy()
    centred[:3, 3] = -start.index_to_world((np.array([shape]) - 1) / 2)[0]
    planes = Geometry(shape, middle @ tilt @ centred)
    index = geometry.world_to_index(planes.index_to_world(np.indices(shape).reshape(3, -1).T)).T
    array, truth = (
        ndimage.map_coordinates(values, index, order=order, cval=outside).reshape(shape)
        for values, order, outside in ((second.volume.array, 1, -1000), (second.truth, 0, 0))
    )
    query = replace(second.volume, array=array.astype(np.float32), geometry=planes)
    assert query.canonical()[1].order != (0, 1, 2)
    result = segmenter.apply(task, query)
    assert dice(result.mask("liver"), truth == LIVER) > 0.7
    told = result.report["structures"][0]
    without = replace(task, atlases=tuple(replace(one, axes=None) for one in task.atlases))
    untold = segmenter.apply(without, query).report["structures"][0]
    assert told["present"] > 0.99 > untold["present"]
    assert untold["evidence"]["pose_ncc"] < 0.5 < told["evidence"]["pose_ncc"]


def test_a_part_that_no_pose_brings_into_view_is_no_error(
    segmenter: Segmenter, task: Task, monkeypatch: pytest.MonkeyPatch
):
    whole_view = task.atlases[0].overview.intensity.shape

    def only_the_whole(fixed, moving, starts, *rest, **more):
        whole = moving.intensity.shape == whole_view
        return refined_poses(fixed, moving, starts, *rest, **more) if whole else []

    monkeypatch.setattr(atlas_placement, "refined_poses", only_the_whole)
    noise = np.random.default_rng(1).normal(0, 300, (20, 40, 40)).astype(np.float32)
    result = segmenter.apply(task, Volume.from_array(noise, np.diag([5.0, 5.0, 8.0, 1.0])))
    assert not result.labels.any()
    assert all(one["reason"] for one in result.report["structures"])


def test_what_lies_outside_the_field_of_view_is_not_invented(
    segmenter: Segmenter, task: Task, second: Patient
):
    upright, _ = second.volume.canonical()
    kidney = np.argwhere(second.volume.canonical()[1].apply(second.truth) == KIDNEY)
    # Only the right of the patient: the left kidney ends where the image does.
    left_edge = int(kidney[:, 2].max()) + 4
    cut = upright.array[:, :, left_edge:]
    shape = (cut.shape[0], cut.shape[1], cut.shape[2])
    query = Volume(cut, upright.geometry.cropped((0, 0, left_edge), shape), modality="CT")
    result = segmenter.apply(task, query)
    entry = next(one for one in result.report["structures"] if one["name"] == "left kidney")
    assert entry["found"] is False
    assert "outside the image" in entry["reason"]
    assert result.structure("left kidney").voxels == 0
    assert not (result.labels == KIDNEY).any()
    assert result.probability("left kidney").max() == 0
    assert next(one for one in result.report["structures"] if one["name"] == "liver")["found"] is True


def something_else() -> Volume:
    noise = np.random.default_rng(0).normal(0, 300, (20, 40, 40)).astype(np.float32)
    return Volume.from_array(noise, np.diag([5.0, 5.0, 8.0, 1.0]))


def test_something_else_altogether_has_none_of_it(segmenter: Segmenter, task: Task):
    result = segmenter.apply(task, something_else())
    assert not result.labels.any()
    assert all(one["reason"] for one in result.report["structures"])
    assert any("nothing of it is surely there" in one for one in result.report["unlike"])


def test_what_was_left_out_is_told_so_and_can_be_had_by_forcing_it(segmenter: Segmenter, task: Task):
    volume = something_else()
    entries = segmenter.apply(task, volume).report["structures"]
    names = [one["name"] for one in entries if one["left_out"]]
    assert names
    assert all(one["predicted_dice"] is None and not one["found"] for one in entries)
    forced = segmenter.apply(task, volume, force=names)
    for one in forced.report["structures"]:
        if one["name"] in names:
            assert (one["found"], one["left_out"], one["doubtful"]) == (True, False, True)
            assert forced.structure(one["name"]).voxels
            assert one["predicted_dice"] is not None


def test_a_name_to_force_that_the_task_does_not_have_is_refused(segmenter: Segmenter, task: Task):
    with pytest.raises(InputError, match="no structure called heart"):
        segmenter.apply(task, something_else(), force=["heart"])


def test_a_support_on_a_few_slices_is_completed_first(
    segmenter: Segmenter, first: Patient, monkeypatch: pytest.MonkeyPatch
):
    seen: list[Support] = []
    whole = segmenter.segment

    def watched(volume: Volume, support: Support, **rest: object):
        seen.append(support)
        return whole(volume, support, **rest)

    monkeypatch.setattr(segmenter, "segment", watched)
    labels = np.zeros_like(first.truth)
    held = np.flatnonzero((first.truth == LIVER).any((1, 2)))[2:-2:3]
    labels[held] = np.where(first.truth[held] == LIVER, LIVER, 0)
    support = Support.from_labels(labels, first.volume.geometry, NAMES, "slices", "axial")
    task = segmenter.learn([(first.volume, support)])
    assert seen == [support]
    assert [one.name for one in task.structures] == ["liver"]
    assert task.provenance["annotations"] == ["slices"]


def test_several_supports_are_one_task_and_one_may_lack_a_structure(
    segmenter: Segmenter, first: Patient, second: Patient
):
    only_liver = complete(second, {LIVER: "liver"})
    task = segmenter.learn([(first.volume, complete(first)), (second.volume, only_liver)])
    assert [one["supports"] for one in task.describe()["structures"]] == [2, 1]
    result = segmenter.apply(task, second.volume)
    assert dice(result.mask("liver"), second.truth == LIVER) > 0.8
    assert len(result.report["global_ncc"]) == 2


def test_structures_that_share_a_label_value_are_told_apart_by_name(
    segmenter: Segmenter, first: Patient, second: Patient
):
    named = complete(second, {LIVER: "hepar"})
    task = segmenter.learn([(first.volume, complete(first, {LIVER: "liver"})), (second.volume, named)])
    assert [(one.name, one.label) for one in task.structures] == [("liver", LIVER), ("hepar", LIVER + 1)]


def test_nothing_that_says_who_the_patient_is_goes_into_the_file(
    segmenter: Segmenter, first: Patient, tmp_path: Path
):
    volume = replace(first.volume, name="DOE^JANE", source="/data/DOE_JANE_19700101/ct.nii.gz")
    segmenter.learn([(volume, complete(first))]).write(tmp_path / "a.medmetaseg")
    content = (tmp_path / "a.medmetaseg").read_bytes()
    assert b"DOE" not in content
    assert b"1970" not in content
    # Nor where the patient lay: the same image elsewhere teaches the same.
    shifted = moved(first.volume.geometry, np.eye(4) + np.eye(4, k=3) * 55.0)
    support = complete(first)
    elsewhere = (replace(volume, geometry=shifted), replace(support, geometry=shifted))
    segmenter.learn([elsewhere]).write(tmp_path / "b.medmetaseg")
    assert (tmp_path / "b.medmetaseg").read_bytes() == content


def test_learning_nothing_or_from_ct_and_mr_at_once_is_refused(segmenter: Segmenter, first: Patient):
    with pytest.raises(InputError, match="nothing to learn"):
        segmenter.learn([])
    bright = replace(first.volume, array=np.abs(first.volume.array) + 5, modality="MR")
    pairs = [(first.volume, complete(first)), (bright, complete(first))]
    with pytest.raises(InputError, match="one task from each kind"):
        segmenter.learn(pairs)


def test_a_support_of_another_place_is_refused(segmenter: Segmenter, first: Patient):
    far = moved(first.volume.geometry, np.eye(4) + np.eye(4, k=3) * 5000.0)
    with pytest.raises(InputError, match="outside the image"):
        segmenter.learn([(first.volume, replace(complete(first), geometry=far))])


def test_a_task_of_other_weights_is_refused_before_any_work(task: Task, second: Patient):
    other = Segmenter(Predictor(tiny_network(), torch.device("cpu")), {"sha256": "cd" * 32}, "for tests")
    with pytest.raises(TaskError, match="other weights"):
        other.apply(task, second.volume)


def test_an_image_of_another_modality_is_noted(segmenter: Segmenter, task: Task, second: Patient):
    result = segmenter.apply(task, replace(second.volume, modality="MR"))
    assert any("learned on CT" in note for note in result.report["notes"])


@pytest.mark.parametrize(("asks", "threads"), [(1, 1), (3, 1), (6, 1), (1, 2), (6, 2)])
def test_both_stop_when_asked(segmenter: Segmenter, task: Task, first: Patient, asks: int, threads: int):
    left = iter([False] * asks)
    torch.set_num_threads(threads)
    with pytest.raises(Cancelled):
        segmenter.apply(task, first.volume, cancelled=lambda: next(left, True))
    torch.set_num_threads(1)
    with pytest.raises(Cancelled):
        segmenter.learn([(first.volume, complete(first))], cancelled=lambda: True)


def test_progress_goes_up_and_ends(segmenter: Segmenter, task: Task, second: Patient):
    shares: list[float] = []
    segmenter.apply(task, second.volume, progress=lambda share, what: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
