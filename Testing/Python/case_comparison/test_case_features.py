"""Features of a case: the same however it is stored, and an embedding that is the encoder's mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from MedMetaSegLib.case_comparison.case_features import CaseFeatures, case_features, voxel_checksum
from MedMetaSegLib.case_comparison.embedding import shipped_predictor
from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.measurements.measurements import MeasureOptions
from MedMetaSegLib.network.image_evidence import image_channels
from MedMetaSegLib.network.inference import Predictor
from MedMetaSegLib.support.structure import Structure, StructureMask

OPTIONS = MeasureOptions()


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return shipped_predictor("cpu")[0]


def case() -> tuple[Volume, np.ndarray]:
    """An image (20, 24, 28) of 2 mm with a bright box in noise, and the box as a mask."""
    random = np.random.default_rng(0)
    mask = np.zeros((20, 24, 28), bool)
    mask[6:13, 8:18, 8:20] = True
    array = (random.normal(0, 20, mask.shape) + 100 * mask + 300).astype(np.int16)
    return Volume(array, Geometry(mask.shape, np.diag([2.0, 2.0, 2.0, 1.0]))), mask


def as_mask(mask: np.ndarray, name: str = "box", label: int = 1) -> StructureMask:
    return StructureMask(Structure(name, label, (1, 0, 0)), (0, 0, 0), mask)


def stored_otherwise(volume: Volume, mask: np.ndarray) -> tuple[Volume, np.ndarray]:
    """The same image and mask with the axes in another order and one of them backwards."""

    def moved(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.transpose(2, 0, 1)[:, ::-1])

    k = volume.array.shape[0]
    # New (i, j, k) of voxels are old (j, k from the end, i).
    affine = volume.geometry.affine @ np.array(
        [[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, k - 1], [0, 0, 0, 1.0]]
    )
    array = moved(volume.array)
    return Volume(array, Geometry(array.shape, affine)), moved(mask)


def test_features_do_not_depend_on_how_the_image_is_stored(predictor: Predictor) -> None:
    volume, mask = case()
    one = case_features(volume, [as_mask(mask)], OPTIONS, predictor)
    other_volume, other_mask = stored_otherwise(volume, mask)
    two = case_features(other_volume, [as_mask(other_mask)], OPTIONS, predictor)
    assert one.image_sha256 == two.image_sha256
    assert one.values["box"] == pytest.approx(two.values["box"])
    np.testing.assert_array_equal(one.embeddings["box"], two.embeddings["box"])


def test_a_size_of_nothing_is_refused() -> None:
    volume, mask = case()
    voxel = np.zeros_like(mask)
    voxel[8, 10, 12] = True
    one = case_features(volume, [as_mask(voxel)], OPTIONS, None)
    assert one.measurements(["box:volume_cm3"], ["box"]) == pytest.approx([0.008])
    with pytest.raises(InputError, match=r"box:feret_diameter_mm is 0, .* must be above 0"):
        one.measurements(["box:feret_diameter_mm"], ["box"])


def test_the_checksum_tells_voxels_and_not_their_type_or_place() -> None:
    volume, _ = case()
    there = voxel_checksum(volume)
    assert voxel_checksum(replace(volume, array=volume.array.astype(np.float64))) == there
    affine = volume.geometry.affine.copy()
    affine[:3, 3] += 50
    moved = Geometry(volume.array.shape, affine)
    assert voxel_checksum(replace(volume, geometry=moved)) == there
    changed = volume.array.copy()
    changed[0, 0, 0] += 1
    assert voxel_checksum(replace(volume, array=changed)) != there


def test_the_embedding_is_the_mean_of_the_encoder_over_the_mask(predictor: Predictor) -> None:
    volume, mask = case()
    found = case_features(volume, [as_mask(mask)], OPTIONS, predictor).embeddings["box"]
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    # The mean over the whole image at its own resolution; the working grid sees it a little otherwise.
    image = torch.as_tensor(volume.array.astype(np.float32))
    padded = torch.nn.functional.pad(image[None], (0, 4, 0, 0, 0, 4), mode="replicate")[0]
    with torch.inference_mode():
        embedding = predictor.network.encode(image_channels(padded)[None]).embedding[0]
    inside = torch.nn.functional.avg_pool3d(torch.as_tensor(mask, dtype=torch.float32)[None], 2)[0]
    whole = embedding[:, : inside.shape[0], : inside.shape[1], : inside.shape[2]]
    mean = (whole * inside).sum((1, 2, 3))
    mean = (mean / mean.norm()).numpy()
    background = (whole * (inside == 0)).sum((1, 2, 3))
    background = (background / background.norm()).numpy()
    assert found @ mean > 0.85
    assert found @ mean > found @ background + 0.1


def test_left_and_right_have_one_embedding(predictor: Predictor) -> None:
    volume, mask = case()
    array = volume.array.astype(np.float32)
    array += 12 * np.arange(array.shape[2])
    one, other = (
        case_features(replace(volume, array=image), [as_mask(there)], OPTIONS, predictor).embeddings["box"]
        for image, there in ((array, mask), (array[..., ::-1], mask[..., ::-1]))
    )
    assert one @ other > 0.998


def test_structures_without_voxels_have_no_values(predictor: Predictor) -> None:
    volume, mask = case()
    masks = [as_mask(mask), as_mask(np.zeros_like(mask), "none", 2)]
    found = case_features(volume, masks, OPTIONS, predictor)
    assert found.values["none"] == {}
    assert set(found.embeddings) == {"box"}
    assert "'none' is empty" in found.problem(["box", "none"])
    assert found.problem(["box"]) == ""


def test_the_image_of_a_thin_structure_has_an_embedding(predictor: Predictor) -> None:
    volume, mask = case()
    line = np.zeros_like(mask)
    line[10, 10, 5:20] = True
    found = case_features(volume, [as_mask(line)], OPTIONS, predictor)
    assert np.isfinite(found.embeddings["box"]).all()


def test_shares_of_volume_are_of_the_structures_that_count() -> None:
    values = {name: {"volume_cm3": size} for name, size in (("a", 1.0), ("b", 3.0), ("c", 4.0))}
    found = CaseFeatures("CT", "", values, {})
    assert found.measurements(["b:volume_fraction"], ["a", "b"]) == (0.75,)
    assert found.measurements(["b:volume_fraction"], ["a", "b", "c"]) == (0.375,)


def test_without_a_network_there_is_no_embedding() -> None:
    volume, mask = case()
    found = case_features(volume, [as_mask(mask)], OPTIONS, None, ["a note"])
    assert found.embeddings == {}
    assert found.modality == "MR"
    assert found.notes == ("a note",)


def test_a_structure_at_the_border_is_told() -> None:
    volume, mask = case()
    mask[:, :, 20:] = True
    found = case_features(volume, [as_mask(mask)], OPTIONS, None)
    assert found.notes == (
        "box touches the image's border: perhaps it is cut off, and its size that of a part.",
    )


def test_structures_of_one_name_and_none_at_all_are_refused() -> None:
    volume, mask = case()
    with pytest.raises(InputError, match="Several structures are called 'box'"):
        case_features(volume, [as_mask(mask), as_mask(mask)], OPTIONS, None)
    with pytest.raises(InputError, match="no structure"):
        case_features(volume, [], OPTIONS, None)


def test_cancel_is_heard(predictor: Predictor) -> None:
    volume, mask = case()
    with pytest.raises(Cancelled):
        case_features(volume, [as_mask(mask)], OPTIONS, predictor, cancelled=lambda: True)
