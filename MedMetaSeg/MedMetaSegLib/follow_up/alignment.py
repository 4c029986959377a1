"""Where places of the present image lie in the earlier one: registered, given, or the same.

Masks are never resampled to be measured; a lesion is measured on its own grid and only placed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..errors import InputError
from ..imageio.geometry import LPS_RAS, Geometry, corners
from ..imageio.itk import quiet_itk
from ..imageio.names import itk_path
from ..imageio.volume import Volume, check_volume
from ..support.structure import StructureMask
from .changes import Fit, How
from .registered import Frame, fit_of, registered

# Of made follow-ups of 5 images the correlation was 0.76 to 0.90, and of 3 of these the strain 0.21 to 0.31.
# Of 8 pairs of patients of the same region they were 0.61 to 0.73 and 0.43 to 0.59. Of 9 that show other
# parts, views or kinds of image the strain was 0.90 or more.
REFUSED_BELOW = 0.4
"""Mean local correlation of registered images below which they are not compared."""
DOUBTED_BELOW = 0.6
"""Mean local correlation below which the reader is told to look at the alignment."""
REFUSED_STRAIN = 0.8
"""Strain above which registered images are not compared, see `Fit`."""
DOUBTED_STRAIN = 0.4
"""Strain above which the reader is told to look at the alignment."""
DOUBTED_SHARED = 0.5
"""Share of the present image around what was segmented that the earlier one shows: a note tells of less."""
LARGEST_FACTOR = 4.0
"""Factor by which a given transform may make volumes larger or smaller, a child that grew among them."""
_INVERSE_STEPS = 50
"""Steps in which a place is looked for that a transform maps to another, at most."""
_INVERSE_MM = 0.05
"""Millimetres to which it is looked for."""
_ASTRAY_MM = 1.0
"""Millimetres by which it may be missed in the end."""
_READABLE = (".tfm", ".h5", ".hdf5", ".txt", ".mat", ".xfm")


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where places of the present image lie in the earlier one.

    transform: ITK's, which maps points (LPS mm) of the present to the earlier image. how: whether it was
    found by registration, given, or the world coordinates are the same. fit: how well the two images fit.
    now: the grid of the present image.
    """

    transform: sitk.Transform
    how: How
    fit: Fit
    now: Geometry

    def to_before(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) RAS mm in the present image -> (N, 3) RAS mm in the earlier one."""
        flip = LPS_RAS[:3, :3]
        found = [self.transform.TransformPoint(point) for point in (points @ flip).tolist()]
        return np.array(found, float).reshape(-1, 3) @ flip

    def to_now(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) RAS mm in the earlier image -> (N, 3) RAS mm in the present one; nan where none is found.

        By fixed-point iteration from the affine map nearest to the transform, which displacement fields have
        no inverse beside.
        """
        matrix, shift = self.nearest_affine
        places = np.linalg.solve(matrix, (points - shift).T).T
        for _ in range(_INVERSE_STEPS):
            missed = points - self.to_before(places)
            if not len(missed) or np.abs(missed).max() < _INVERSE_MM:
                break
            places += np.linalg.solve(matrix, missed.T).T
        astray = np.linalg.norm(points - self.to_before(places), axis=1) > _ASTRAY_MM
        return np.where(astray[:, None], np.nan, places)

    @cached_property
    def nearest_affine(self) -> tuple[np.ndarray, np.ndarray]:
        """(3, 3) and (3,): the affine map that is nearest to the transform over the present image."""
        axes = [np.linspace(0, size - 1, 5) for size in self.now.shape]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        places = self.now.index_to_world(index)
        known = np.column_stack([places, np.ones(len(places))])
        solution, *_ = np.linalg.lstsq(known, self.to_before(places), rcond=None)
        return solution[:3].T, solution[3]


def registered_alignment(
    now: Volume,
    before: Volume,
    masks: tuple[Sequence[StructureMask], Sequence[StructureMask]],
    check: Callable[[], None] = lambda: None,
    device: torch.device | None = None,
) -> Alignment:
    """The earlier image brought onto the present one by registration.

    masks: what was segmented now and before, around which the images are registered. check: called between
    pieces of work, may raise. device: where it is computed, the CPU when None. Raises InputError for images
    that do not fit one another, see `REFUSED_BELOW`, and as `check_volume` does.
    """
    frames = Frame.of(check_volume(now)), Frame.of(check_volume(before))
    box = _corners(now, masks[0]), _corners(before, masks[1])
    transform = registered(*frames, box, check, device)
    fit = None if transform is None else fit_of(*frames, box[0], transform, device)
    if transform is None or fit is None:
        raise InputError(f"{_names(now, before)} show nothing in common; are they of one patient and region?")
    if fit.correlation < REFUSED_BELOW or fit.strain > REFUSED_STRAIN:
        raise InputError(
            f"{_names(now, before)} do not fit one another ({_figures(fit)}): another patient or region? "
            "If they are the same, register them elsewhere and give --transform FILE, or --transform none "
            "where they lie on one another as they are."
        )
    return Alignment(transform, "registered", fit, now.geometry)


def given_alignment(
    now: Volume,
    before: Volume,
    masks: Sequence[StructureMask],
    transform: sitk.Transform | None,
    device: torch.device | None = None,
) -> Alignment:
    """The earlier image brought onto the present one by a transform, or by the world coordinates they share.

    masks: what was segmented now, around which it is judged how well they fit. transform: of points (LPS mm)
    of the present image to the earlier one, as ITK has it; None where the two lie on one another. device:
    where that is judged, the CPU when None. Raises InputError for images that do not overlap then, for
    a transform that mirrors or multiplies volumes (`LARGEST_FACTOR`), and as `check_volume` does.
    """
    frames = Frame.of(check_volume(now)), Frame.of(check_volume(before))
    chosen = sitk.Transform(3, sitk.sitkIdentity) if transform is None else transform
    _check_volumes_kept(Alignment(chosen, "given", Fit(0.0, 0.0, 0.0), now.geometry))
    fit = fit_of(*frames, _corners(now, masks), chosen, device)
    if fit is None:
        raise InputError(
            f"{_names(now, before)} do not overlap there; give another transform, or none to register."
        )
    return Alignment(chosen, "none" if transform is None else "given", fit, now.geometry)


def read_transform(path: Path) -> sitk.Transform:
    """A transform of points in three dimensions (LPS mm) from a file: .tfm, .h5, .txt, .mat or .xfm.

    Raises InputError for a file that holds none.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give a transform ({', '.join(_READABLE)}).")
    try:
        with quiet_itk(), itk_path(path) as name:
            transform = sitk.ReadTransform(name)
    except RuntimeError as error:
        raise InputError(f"{path} holds no transform that ITK reads ({', '.join(_READABLE)}).") from error
    if transform.GetDimension() != 3:
        raise InputError(
            f"{path} holds a transform of {transform.GetDimension()} dimensions; give one of three."
        )
    return transform


def _check_volumes_kept(alignment: Alignment) -> None:
    """Raise InputError for a transform that mirrors, or makes much larger or smaller."""
    matrix, _ = alignment.nearest_affine
    factor = float(np.linalg.det(matrix))
    if not 1 / LARGEST_FACTOR <= factor <= LARGEST_FACTOR:
        what = "mirrors" if factor < 0 else f"multiplies volumes by {factor:.3g}"
        raise InputError(f"The transform {what}; give one that brings one image of a patient onto another.")


def _corners(volume: Volume, masks: Sequence[StructureMask]) -> np.ndarray:
    """(N, 3) RAS mm: the corners of the boxes of what was segmented."""
    ends = [corners(one.mask.shape, one.offset) for one in masks if one.mask.size]
    return volume.geometry.index_to_world(np.concatenate(ends)) if ends else np.zeros((0, 3))


def _figures(fit: Fit) -> str:
    return f"correlation {fit.correlation:.2f}, strain {fit.strain:.2f}"


def _names(now: Volume, before: Volume) -> str:
    return f"{now.source or now.name or 'The image'} and {before.source or before.name or 'the earlier one'}"


def doubts(alignment: Alignment) -> tuple[str, ...]:
    """Sentences about an alignment that a reader must see; none about one that fits well."""
    fit = alignment.fit
    found = []
    if fit.correlation < DOUBTED_BELOW or fit.strain > DOUBTED_STRAIN:
        found.append(
            f"The two images fit one another poorly ({_figures(fit)}): look whether they show the same "
            "patient, and whether lesions were matched that do not belong together."
        )
    if fit.shared < DOUBTED_SHARED:
        found.append(
            f"The earlier image shows only {fit.shared:.0%} of what was looked at in the present one."
        )
    return tuple(found)
