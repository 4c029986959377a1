"""RTSTRUCT as what was painted: contours filled on the image's own grid, with names and colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_drawn import DrawnCt, Roi, write_rtstruct
from dicom_frames import dataset
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.nifti import NiftiForms
from MedMetaSegLib.imageio.volume import Volume, read_volume
from MedMetaSegLib.support.placement import placed_support
from MedMetaSegLib.support.search_region import SearchRegion
from MedMetaSegLib.support.support import Support

CT = DrawnCt(shape=(9, 32, 30))
CENTRE = (15.2, 14.3)
"""Of what is drawn on a slice, in voxels (j, i), so that no edge runs through a voxel's centre."""


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    return read_volume(CT.write(tmp_path_factory.mktemp("ct")))


def circle(number: float, radius_mm: float, centre: tuple[float, float] = CENTRE) -> np.ndarray:
    """A contour of so many corners that no voxel's centre lies between it and the circle."""
    turns = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    rows = centre[0] + radius_mm / CT.spacing_mm[1] * np.sin(turns)
    columns = centre[1] + radius_mm / CT.spacing_mm[2] * np.cos(turns)
    return CT.contour(number, np.stack([rows, columns], axis=1))


def disc(radius_mm: float, centre: tuple[float, float] = CENTRE) -> np.ndarray:
    """The voxels (j, i) of a slice whose centres lie within the circle."""
    j, i = np.ogrid[: CT.shape[1], : CT.shape[2]]
    rows_mm, columns_mm = (j - centre[0]) * CT.spacing_mm[1], (i - centre[1]) * CT.spacing_mm[2]
    return rows_mm**2 + columns_mm**2 < radius_mm**2


def on_slices(plane: np.ndarray, *numbers: int) -> np.ndarray:
    mask = np.zeros(CT.shape, bool)
    mask[list(numbers)] = plane
    return mask


def read(path: Path, volume: Volume, **options: str) -> Support:
    support = Support.read(path, reference=volume, **options)
    assert placed_support(support, volume).notes == support.notes
    return support


def mask_of(support: Support, number: int = 0) -> np.ndarray:
    mask = np.zeros(support.geometry.shape, bool)
    one = support.structures[number]
    mask[one.region] = one.mask
    return mask


def test_a_ring_with_an_island_is_filled_to_the_voxel(tmp_path: Path, volume: Volume) -> None:
    rings = [circle(k, radius) for k in (2, 5, 6) for radius in (7.0, 4.0, 2.0)]
    support = read(write_rtstruct(tmp_path / "rs.dcm", [Roi(4, "Wall", rings)]), volume)
    np.testing.assert_array_equal(mask_of(support), on_slices(disc(7.0) & ~disc(4.0) | disc(2.0), 2, 5, 6))
    assert support.geometry.same_grid(volume.geometry)
    assert support.structures[0].slices == (2, 5, 6)
    assert support.notes == ()


def test_a_keyhole_is_a_hole(tmp_path: Path, volume: Volume) -> None:
    outer, inner = circle(3, 7.0), circle(3, 4.0)
    keyhole = np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])
    support = read(write_rtstruct(tmp_path / "rs.dcm", [Roi(1, "Wall", [keyhole])]), volume)
    np.testing.assert_array_equal(mask_of(support), on_slices(disc(7.0) & ~disc(4.0), 3))


def test_a_polygon_is_filled_as_another_library_fills_it(tmp_path: Path, volume: Volume) -> None:
    path = pytest.importorskip("matplotlib.path")
    points = np.random.default_rng(5).uniform((2.2, 2.2), (29.3, 27.3), (40, 2))
    turns = np.arctan2(*(points - points.mean(axis=0)).T)
    star = points[np.argsort(turns)]
    support = read(write_rtstruct(tmp_path / "rs.dcm", [Roi(1, "Star", [CT.contour(4, star)])]), volume)
    centres = np.argwhere(np.ones(CT.shape[1:], bool))
    wanted = path.Path(star, closed=False).contains_points(centres).reshape(CT.shape[1:])
    np.testing.assert_array_equal(mask_of(support)[4], wanted)
    assert wanted.sum() > 200


def test_structures_keep_names_numbers_and_colours_where_they_overlap(tmp_path: Path, volume: Volume) -> None:
    rois = [
        Roi(7, "Leber", [circle(3, 6.0)], (0, 128, 255)),
        Roi(3, "Läsion", [circle(3, 3.0), circle(4, 3.0)], (255, 0, 51)),
    ]
    path = write_rtstruct(tmp_path / "rs" / "rs.dcm", rois)
    for given in (path, path.parent):
        support = read(given, volume, annotation="complete")
        structures = [one.structure for one in support.structures]
        assert [(one.name, one.label) for one in structures] == [("Leber", 7), ("Läsion", 3)]
        np.testing.assert_allclose(structures[1].color, (1.0, 0.0, 0.2), atol=1e-3)
        assert support.overlapping
        np.testing.assert_array_equal(mask_of(support, 1), on_slices(disc(3.0), 3, 4))


@pytest.mark.parametrize("axis", [1, 2], ids=["coronal", "sagittal"])
def test_contours_across_the_other_axes_are_filled_too(axis: int, tmp_path: Path, volume: Volume) -> None:
    low, high = np.array([1.6, 8.4, 6.3]), np.array([6.7, 22.6, 20.8])
    low[axis] = high[axis] = 12
    other = 2 if axis == 1 else 1
    corners = np.array([low, low, high, high])
    corners[1, other], corners[3, other] = high[other], low[other]
    support = read(write_rtstruct(tmp_path / "rs.dcm", [Roi(1, "Box", [CT.world(corners)])]), volume)
    wanted = np.zeros(CT.shape, bool)
    wanted[tuple(slice(int(np.ceil(a)), int(b) + 1) for a, b in zip(low, high, strict=True))] = True
    np.testing.assert_array_equal(mask_of(support), wanted)
    assert support.structures[0].axis == axis


def test_what_encloses_nothing_is_left_out_and_told(tmp_path: Path, volume: Volume) -> None:
    rois = [
        Roi(1, "Organ", [circle(3, 6.0), circle(5, 6.0)[:2]]),
        Roi(2, "Marker", [circle(3, 6.0)[:1]], kind="POINT"),
        Roi(3, "Catheter", [circle(3, 6.0)], kind="OPEN_NONPLANAR"),
        Roi(4, "Nothing"),
    ]
    support = read(write_rtstruct(tmp_path / "rs.dcm", rois), volume)
    assert [one.structure.name for one in support.structures] == ["Organ"]
    assert support.notes == (
        "Organ: left out 1 contour of points or open lines, which enclose nothing.",
        "rs.dcm has no closed contour of Marker, Catheter, Nothing: left out.",
    )


def test_contours_that_reach_outside_or_cross_are_told(tmp_path: Path, volume: Volume) -> None:
    aside = (CENTRE[0], CENTRE[1] + 5)
    rois = [
        Roi(1, "Cut", [circle(2, 6.0, (1.2, 14.3)), circle(12, 6.0)]),
        Roi(2, "Crossed", [circle(3, 6.0), circle(3, 6.0, aside)]),
        Roi(3, "Apart", [circle(3, 2.0, (5.2, 5.3)), circle(3, 2.0, (20.2, 20.3))]),
    ]
    support = read(write_rtstruct(tmp_path / "rs.dcm", rois), volume)
    np.testing.assert_array_equal(mask_of(support, 0), on_slices(disc(6.0, (1.2, 14.3)), 2))
    np.testing.assert_array_equal(mask_of(support, 1), on_slices(disc(6.0) ^ disc(6.0, aside), 3))
    assert support.notes == (
        "Cut: 2 contours lie outside the image, all or in part; what is outside was left out.",
        "Crossed: contours cross or repeat each other on 1 slice; where two overlap, neither counts "
        "(even-odd rule).",
    )


def tilted(volume: Volume) -> list[Roi]:
    points = circle(3, 6.0)
    return [Roi(1, "Organ", [points + np.outer(np.linspace(0, 4, len(points)), CT.turn[:, 2])])]


@pytest.mark.parametrize(
    ("rois", "message"),
    [
        ([Roi(1, "Organ", [circle(3.4, 6.0)])], r"Organ has a contour between slices .* \(0.4 of"),
        (tilted, "Organ has a contour that lies in no plane of the image's slices"),
        ([Roi(1, "Organ", [circle(3, 6.0)], frame_of_reference="1.9")], "another frame of reference"),
        (
            [Roi(1, "A", [circle(3, 6.0)]), Roi(2, "B", [circle(3, 6.0)], frame_of_reference="1.9")],
            "lie in 2 frames of reference",
        ),
        ([Roi(1, "Organ", [circle(30, 6.0)])], "No contour of .* encloses a voxel of the image"),
        ([Roi(1, "Organ"), Roi(2, "P", [circle(3, 6.0)[:1]], kind="POINT")], "has no closed contour"),
    ],
    ids=["between slices", "tilted", "another frame", "two frames", "outside", "nothing closed"],
)
def test_what_cannot_be_placed_is_refused(
    rois: list[Roi] | Callable[[Volume], list[Roi]], message: str, tmp_path: Path, volume: Volume
) -> None:
    path = write_rtstruct(tmp_path / "rs.dcm", rois(volume) if callable(rois) else rois)
    with pytest.raises(InputError, match=message):
        Support.read(path, reference=volume)


@pytest.mark.parametrize(
    "tags",
    [
        {"FrameOfReferenceUID": "1.9"},
        {"ReferencedFrameOfReferenceSequence": [dataset(FrameOfReferenceUID="1.9")]},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_regions_that_name_no_frame_of_reference_have_that_of_the_file(
    tags: dict[str, object], tmp_path: Path, volume: Volume
) -> None:
    roi = Roi(1, "Organ", [circle(3, 6.0)], frame_of_reference="")
    assert read(write_rtstruct(tmp_path / "unnamed.dcm", [roi]), volume).structures
    with pytest.raises(InputError, match="another frame of reference"):
        read(write_rtstruct(tmp_path / "rs.dcm", [roi], tags), volume)


def test_slices_a_little_uneven_are_the_contours_own(tmp_path: Path, volume: Volume) -> None:
    path = write_rtstruct(tmp_path / "rs.dcm", [Roi(1, "Organ", [circle(3.12, 6.0)])])
    np.testing.assert_array_equal(mask_of(read(path, volume)), on_slices(disc(6.0), 3))


def test_contours_need_the_image(tmp_path: Path, volume: Volume) -> None:
    path = write_rtstruct(tmp_path / "rs.dcm", [Roi(1, "Organ", [circle(3, 6.0)])])
    with pytest.raises(InputError, match="no grid of their own; read it with its image"):
        Support.read(path)


def test_an_image_in_two_places_takes_no_contours(tmp_path: Path, volume: Volume) -> None:
    from dataclasses import replace

    from MedMetaSegLib.imageio.nifti import Reading

    moved = volume.geometry.cropped((1, 0, 0), volume.geometry.shape)
    forms = NiftiForms((Reading("sform", volume.geometry), Reading("qform", moved)), "mm", b"")
    path = write_rtstruct(tmp_path / "rs.dcm", [Roi(1, "Organ", [circle(3, 6.0)])])
    with pytest.raises(InputError, match="contours have no certain place"):
        Support.read(path, reference=replace(volume, forms=forms))


def test_numbers_that_are_no_labels_give_way(tmp_path: Path, volume: Volume) -> None:
    rois = [Roi(0, "A", [circle(3, 6.0)]), Roi(90000, "B", [circle(5, 6.0)])]
    support = read(write_rtstruct(tmp_path / "rs.dcm", rois), volume)
    assert [one.structure.label for one in support.structures] == [1, 2]


@pytest.mark.parametrize(
    "damage", ["cut", "cut between regions", "points", "unknown region", "twice one region", "no number"]
)
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path, volume: Volume) -> None:
    rois = [Roi(n, f"Organ {n}", [circle(k, 6.0) for k in (2, 3)]) for n in (1, 2)]
    path = write_rtstruct(tmp_path / "rs.dcm", rois)
    whole = path.read_bytes()
    content = pydicom.dcmread(path)
    contour = content.ROIContourSequence[0].ContourSequence[0]
    if damage == "cut":
        path.write_bytes(whole[:-1200])
    elif damage == "cut between regions":
        color_of_the_last = whole.rindex(b"\x06\x30\x2a\x00")
        path.write_bytes(whole[: color_of_the_last - 8])
    elif damage == "points":
        contour.NumberOfContourPoints = 719
    elif damage == "unknown region":
        content.ROIContourSequence[0].ReferencedROINumber = 9
    elif damage == "twice one region":
        content.StructureSetROISequence[1].ROINumber = 1
    else:
        contour.ContourData[4] = "nan"
    if not damage.startswith("cut"):
        content.save_as(path)
    with pytest.raises(InputError, match="damaged"):
        Support.read(path, reference=volume)


def test_contours_are_a_region_too(tmp_path: Path, volume: Volume) -> None:
    rois = [Roi(1, "One", [circle(2, 7.0)]), Roi(2, "Other", [circle(5, 4.0)])]
    region = SearchRegion.read(write_rtstruct(tmp_path / "rs.dcm", rois), volume)
    expected = on_slices(disc(7.0), 2) | on_slices(disc(4.0), 5)
    np.testing.assert_array_equal(region.on_block([slice(0, size) for size in CT.shape]), expected)
    assert region.notes == ("The region is its 2 structures together.",)
    elsewhere = replace(volume, frame_of_reference="1.2.3")
    with pytest.raises(InputError, match="frame of reference"):
        SearchRegion.read(tmp_path / "rs.dcm", elsewhere)
