"""Fusing occupancies: the weighted mean of what scipy samples, structure by structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedMetaSegLib.next_patient import fusion
from MedMetaSegLib.next_patient.absence import absence_evidence
from MedMetaSegLib.next_patient.fusion import RegisteredAtlas, fused_occupancies, grown
from MedMetaSegLib.registration.pose import Pose
from MedMetaSegLib.registration.sampling import TensorImage
from MedMetaSegLib.registration.warping import moved
from MedMetaSegLib.task.atlas import Atlas
from MedMetaSegLib.working_grid.reduced_image import ReducedImage
from task_phantom import make_task

pytestmark = pytest.mark.usefixtures("one_thread")

CLOSE = ReducedImage(
    np.random.default_rng(0).integers(0, 256, (7, 8, 9)).astype(np.uint8),
    np.array([2.5, 2.0, 1.5]),
    np.array([1.0, 6.0, 0.0]),
)
PLACES = TensorImage.of(CLOSE, torch.device("cpu")).places()


def placement(atlas: Atlas, seed: int, warped: bool) -> RegisteredAtlas:
    rng = np.random.default_rng(seed)
    pose = Pose(np.eye(3) + 0.02 * rng.normal(size=(3, 3)), rng.normal(size=3), 0.1 * seed)
    atlas_mm = moved(pose, PLACES)
    if warped:
        atlas_mm = atlas_mm + torch.from_numpy(rng.normal(size=atlas_mm.shape).astype(np.float32))
    local_ncc = torch.from_numpy(rng.random(CLOSE.intensity.shape).astype(np.float32))
    return RegisteredAtlas(atlas, pose, atlas_mm, local_ncc, warped)


def all_placements() -> list[RegisteredAtlas]:
    """Of two atlases, the second of which alone has the second structure."""
    atlases = make_task().atlases
    return [placement(atlas, 2 * n + w, bool(w)) for n, atlas in enumerate(atlases) for w in (1, 0)]


def occupancy(one: RegisteredAtlas, number: int, atlas_mm: torch.Tensor) -> np.ndarray:
    index = one.atlas.close.index(atlas_mm.numpy().astype(float))
    return ndimage.map_coordinates(one.atlas.occupancy(number), index, order=1)


@pytest.mark.parametrize("at_once", [1, 16])
def test_each_structure_is_the_mean_of_all_placements_by_their_trust(
    at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fusion, "_AT_ONCE", at_once)
    registered = all_placements()
    fused = fused_occupancies(registered, PLACES)
    for number in range(2):
        for found, some in (
            (fused.by_all, registered),
            (fused.by_warped, [one for one in registered if one.warped]),
        ):
            trusts = [one.local_ncc.numpy() ** 4 + 1e-6 for one in some]
            total = sum(t * occupancy(one, number, one.atlas_mm) for t, one in zip(trusts, some, strict=True))
            np.testing.assert_allclose(found[number], total / sum(trusts), atol=1e-4)
        having = [one for one in registered if one.warped and one.atlas.places[number] is not None]
        affine = [occupancy(one, number, moved(one.pose, PLACES)).sum() for one in having]
        assert float(fused.affine_voxels[number]) == pytest.approx(np.mean(affine), rel=1e-3)
    assert fused.by_all.flatten(1).amax(1).min() > 0


def test_evidence_is_taken_of_what_was_warped_and_of_intensities_of_one_modality_only():
    registered = all_placements()
    fused = fused_occupancies(registered, PLACES)
    evidence = absence_evidence(registered, fused, CLOSE, same_modality=True)
    by_warped = fused.by_warped.numpy()
    for number, one in enumerate(evidence):
        threshold = max(0.5 * min(1.0, by_warped[number].max()), 0.05)
        core = by_warped[number] > threshold
        near = ndimage.binary_dilation(core, iterations=2)
        most = max(float(r.local_ncc.numpy()[near].mean()) for r in registered if r.warped)
        assert one.local_ncc == pytest.approx(most, rel=1e-4)
        assert one.global_ncc == max(r.pose.global_ncc for r in registered if r.warped)
        ratio = by_warped[number].sum() / float(fused.affine_voxels[number])
        assert one.volume_ratio_after_warp == pytest.approx(min(1.0, ratio), rel=1e-4)
        assert 0 < one.intensity_overlap <= 1
    others = absence_evidence(registered, fused, CLOSE, same_modality=False)
    assert [one.intensity_overlap for one in others] == [None, None]


def test_masks_grow_step_by_step_as_by_scipy():
    masks = np.random.default_rng(1).random((2, 6, 7, 5)) > 0.95
    found = grown(torch.from_numpy(masks), 2)
    for one, mask in zip(found, masks, strict=True):
        np.testing.assert_array_equal(one, ndimage.binary_dilation(mask, iterations=2))
    assert 0 < int(found.sum()) < found.numel()
