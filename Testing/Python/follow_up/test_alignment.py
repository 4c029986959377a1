"""The earlier image brought onto the present one: registered, by a transform, or as it lies; or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.demo.phantom import make_patient
from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.evaluation.follow_up_cases import FollowUpCase
from MedMetaSegLib.follow_up.alignment import (
    Alignment,
    doubts,
    given_alignment,
    read_transform,
    registered_alignment,
)
from MedMetaSegLib.follow_up.changes import Fit
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume

GOOD = Fit(0.9, 0.1, 1.0)
GRID = Geometry((20, 30, 40), np.diag([2.0, 2.0, 3.0, 1.0]))


def shift(x: float, y: float, z: float) -> sitk.Transform:
    """Of LPS millimetres."""
    return sitk.TranslationTransform(3, (x, y, z))


@pytest.fixture(scope="module")
def ball() -> Volume:
    """Shapes of different size and brightness on a dark ground, with a little texture."""
    k, j, i = np.indices(GRID.shape)
    array = (
        20.0 * (np.hypot(k - 10, j - 12) < 7) + 35.0 * (np.hypot(j - 18, i - 25) < 8) + 3.0 * np.sin(i * j)
    )
    return Volume(array.astype(np.float32), GRID, "ball")


def test_points_go_by_itks_direction_in_lps():
    """+3 along ITK's left is -3 along the right."""
    alignment = Alignment(shift(3, 5, 7), "given", GOOD, GRID)
    assert alignment.to_before(np.array([[10.0, 20.0, 30.0]])) == pytest.approx(np.array([[7, 15, 37]]))
    assert alignment.to_now(np.array([[7.0, 15.0, 37.0]])) == pytest.approx(np.array([[10, 20, 30]]))
    assert alignment.to_before(np.zeros((0, 3))).shape == (0, 3)
    assert alignment.to_now(np.zeros((0, 3))).shape == (0, 3)


def test_the_inverse_of_a_deformation_leads_back(follow_up_case: FollowUpCase):
    grid = follow_up_case.now.volume.geometry
    alignment = Alignment(follow_up_case.transform, "given", GOOD, grid)
    places = grid.index_to_world(np.argwhere(follow_up_case.now.owner > 0)[::40])
    assert alignment.to_now(alignment.to_before(places)) == pytest.approx(places, abs=0.2)


def test_a_place_that_a_transform_leads_to_from_nowhere_is_not_known():
    """A field that folds: nothing is brought to the right of it."""
    field = np.zeros((*GRID.shape, 3))
    field[..., 0] = 80.0 * (np.arange(40) < 20)
    image = sitk.GetImageFromArray(field, isVector=True)
    image.SetSpacing((2.0, 2.0, 3.0))
    image.SetOrigin((-78.0, -58.0, 0.0))
    alignment = Alignment(sitk.DisplacementFieldTransform(image), "given", GOOD, GRID)
    assert np.isnan(alignment.to_now(np.array([[60.0, 20.0, 20.0]]))).all()


def test_registration_finds_a_shift_that_the_world_does_not_tell(ball: Volume):
    affine = GRID.affine.copy()
    affine[:3, 3] += (200.0, -150.0, 90.0)
    far = replace(ball, geometry=Geometry(GRID.shape, affine))
    alignment = registered_alignment(ball, far, ([], []))
    places = GRID.index_to_world(np.array([[10.0, 12.0, 20.0], [5.0, 15.0, 25.0]]))
    assert alignment.to_before(places) == pytest.approx(places + (200, -150, 90), abs=1.0)
    assert alignment.how == "registered"
    assert alignment.fit.correlation > 0.9
    assert doubts(alignment) == ()


def test_the_same_images_give_the_same_transform_again(ball: Volume):
    places = GRID.index_to_world(np.indices((2, 2, 2)).reshape(3, -1).T * 9.0)
    noisy = replace(
        ball, array=ball.array + np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    )
    first = registered_alignment(ball, noisy, ([], []))
    again = registered_alignment(ball, noisy, ([], []))
    assert np.array_equal(first.to_before(places), again.to_before(places))
    assert first.fit == again.fit


def test_another_region_is_refused_in_one_sentence():
    """Noise has nothing of an abdomen."""
    patient = make_patient(0, shape=(24, 60, 80), spacing_mm=(8.0, 4.5, 4.5)).volume
    array = np.random.default_rng(1).normal(40, 15, patient.array.shape).astype(np.float32)
    noise = Volume(array, patient.geometry, "noise")
    with pytest.raises(InputError, match=r"do not fit one another .* another patient or region"):
        registered_alignment(patient, noise, ([], []))


def test_a_given_transform_is_never_refused_for_its_fit_but_doubted(ball: Volume):
    noise = np.random.default_rng(1).normal(size=GRID.shape).astype(np.float32)
    alignment = given_alignment(ball, replace(ball, array=noise), [], None)
    assert alignment.how == "none"
    (sentence,) = doubts(alignment)
    assert "fit one another poorly" in sentence


@pytest.mark.parametrize(
    ("diagonal", "says"), [((-1, 1, 1), "mirrors"), ((1, 1, 1e-4), "multiplies volumes by 0.0001")]
)
def test_a_transform_of_no_patient_is_refused(ball: Volume, diagonal: tuple[float, float, float], says: str):
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(np.diag(diagonal).ravel().tolist())
    with pytest.raises(InputError, match=says):
        given_alignment(ball, ball, (), transform)


def test_a_transform_that_leaves_nothing_of_the_earlier_image_is_refused(ball: Volume):
    with pytest.raises(InputError, match="ball and ball do not overlap there"):
        given_alignment(ball, ball, [], shift(500, 0, 0))


def test_an_earlier_image_of_a_part_is_told_so(ball: Volume):
    part = Volume(ball.array[:7], GRID.cropped((0, 0, 0), (7, 30, 40)), "part")
    alignment = given_alignment(ball, part, [], None)
    assert 0.25 < alignment.fit.shared < 0.45
    assert any("shows only" in sentence for sentence in doubts(alignment))


def test_an_affine_transform_has_no_strain(ball: Volume):
    stretched = sitk.ScaleTransform(3, (1.1, 1.0, 0.95))
    assert given_alignment(ball, ball, [], stretched).fit.strain < 1e-4


def test_cancel_ends_registration(ball: Volume):
    def check() -> None:
        raise Cancelled("Cancelled: nothing was written.")

    with pytest.raises(Cancelled):
        registered_alignment(ball, ball, ([], []), check)


@pytest.mark.parametrize("name", ["moved.tfm", "moved.txt", "moved.h5", "moved.mat", "moved.xfm"])
def test_transforms_are_read_as_itk_writes_them(tmp_path: Path, name: str):
    affine = sitk.AffineTransform(3)
    affine.SetTranslation((1.0, 2.0, 3.0))
    sitk.WriteTransform(affine, str(tmp_path / name))
    assert read_transform(tmp_path / name).TransformPoint((0, 0, 0)) == pytest.approx((1, 2, 3))


def test_what_is_no_transform_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"missing\.tfm is no file"):
        read_transform(tmp_path / "missing.tfm")
    (tmp_path / "text.tfm").write_text("no transform")
    with pytest.raises(InputError, match=r"text\.tfm holds no transform that ITK reads"):
        read_transform(tmp_path / "text.tfm")
    (tmp_path / "image.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="holds no transform"):
        read_transform(tmp_path / "image.nii.gz")
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "flat.tfm"))
    with pytest.raises(InputError, match="2 dimensions; give one of three"):
        read_transform(tmp_path / "flat.tfm")
