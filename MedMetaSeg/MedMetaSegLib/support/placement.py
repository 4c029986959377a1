"""Where a support lies in an image when a header says it in two ways, or seems to have lost it.

A NIfTI header may hold a qform and a sform that differ, and may name a unit or none. What was drawn is never
moved in silence: either one reading is certain, and a note says so, or the support is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ..errors import InputError
from ..imageio.geometry import Geometry, corners
from ..imageio.nifti import NiftiForms, Reading
from ..imageio.volume import Volume
from .frame_of_reference import check_frame_of_reference
from .lost_header import lost_header
from .support import Support

_APART_MM = 1.0
_APART_VOXELS = 2.0
"""Furthest that a voxel may lie from itself in two readings of which none is certain; the lesser of both."""
_ONE_PLACE_VOXELS = 0.5
"""Furthest that it may lie from itself in two readings between which a choice is not worth a note."""
ON_GRID_VOXELS = 0.05
"""Furthest that the voxels of a grid may lie beside those of another that they were taken from."""


@dataclass(frozen=True, eq=False)
class _Combination:
    """One reading of the image and one of the support. to_image: 4x4, support's to image's (i, j, k)."""

    image: Reading
    support: Reading
    to_image: np.ndarray

    @classmethod
    def of(cls, image: Reading, support: Reading) -> _Combination:
        to_image = np.linalg.solve(image.geometry.affine, support.geometry.affine)
        return cls(image, support, to_image)

    def lies_on_image(self) -> bool:
        """True when every voxel of the support's grid is one of the image's."""
        ends = _indices(self.support.geometry)
        there = (self.to_image @ ends)[:3]
        steps = self.to_image[:3, :3]
        size = np.array(self.image.geometry.shape[::-1])[:, None]
        off = max(np.abs(there - np.rint(there)).max(), np.abs(steps - np.rint(steps)).max())
        inside = (there > -0.5) & (there < size - 0.5)
        return bool(off <= ON_GRID_VOXELS and inside.all() and np.abs(np.linalg.det(np.rint(steps))) == 1)

    def apart_mm(self, other: _Combination, geometry: Geometry) -> float:
        """How far a corner of the support's grid moves on an image's grid from one reading to the other."""
        moved = (self.to_image - other.to_image) @ _indices(self.support.geometry)
        return float(np.linalg.norm((geometry.affine @ moved)[:3], axis=0).max())


@dataclass(frozen=True, eq=False)
class Place:
    """Where something drawn lies: its grid, what the header of a NIfTI file says, and notes about both.

    role: what it is called in messages. frame_of_reference: of DICOM, "" where it is not known.
    """

    geometry: Geometry
    forms: NiftiForms | None = None
    notes: tuple[str, ...] = ()
    role: str = "support"
    frame_of_reference: str = ""


def placed_support(support: Support, volume: Volume) -> Support:
    """The support where it belongs in a volume, with a note when that was not plain; else as it is.

    Raises InputError as `settled_place`.
    """
    if support.placed_on is not None and support.placed_on.same_grid(volume.geometry):
        return support
    found = Place(
        support.geometry, support.forms, support.notes, frame_of_reference=support.frame_of_reference
    )
    place = settled_place(found, volume)
    return replace(
        support, geometry=place.geometry, forms=place.forms, notes=place.notes, placed_on=volume.geometry
    )


def settled_place(place: Place, volume: Volume) -> Place:
    """The place in a volume of what was drawn, with a note when that was not plain; else as it is.

    Raises InputError when headers put it in several places more than 1 mm, or two voxels, apart and none is
    certain, when image and support name different units of length, and as `check_frame_of_reference`.
    """
    check_frame_of_reference(place.frame_of_reference, volume.frame_of_reference, place.role)
    settled = _in_one_reading(_in_one_unit(place, volume), volume)
    return _noted(settled, lost_header(settled.geometry, volume.geometry, place.role))


def _noted(place: Place, note: str) -> Place:
    return replace(place, notes=(*place.notes, note)) if note else place


def _in_one_unit(place: Place, volume: Volume) -> Place:
    """The place in the image's unit of length, where one of the two headers names none."""
    image, painted = _forms(volume), _forms(place)
    if image is None or painted is None:
        return place
    factor = image.mm_per_unit / painted.mm_per_unit
    if factor == 1 or place.geometry.same_grid(volume.geometry):
        return place
    scaled = Geometry(place.geometry.shape, np.diag([factor] * 3 + [1]) @ place.geometry.affine)
    if "unknown" not in (image.unit, painted.unit) or not scaled.same_grid(volume.geometry):
        raise InputError(
            f"The image is in {_unit(image)} and the {place.role} in {_unit(painted)}, by their headers "
            "(xyzt_units), and they do not lie on one grid; give both the same unit."
        )
    return _noted(
        replace(place, geometry=scaled, forms=None),
        f"The image is in {_unit(image)} and the {place.role} in {_unit(painted)}, by their headers; with "
        f"one unit they lie on one grid, so both were read as {_unit(image)}.",
    )


def _unit(forms: NiftiForms) -> str:
    return "mm (no unit named)" if forms.unit == "unknown" else forms.unit


def _in_one_reading(place: Place, volume: Volume) -> Place:
    """The place where the one certain reading of both headers puts it, with a note if others differ."""
    images, supports = _readings(volume), _readings(place)
    every = [_Combination.of(image, painted) for image, painted in product(images, supports)]
    alike = [one for one in every if one.image.name == one.support.name]
    # What was written with the header of the image is read as the image is, in any of its forms.
    possible = alike if len(alike) == len(images) == len(supports) else every
    apart = max(one.apart_mm(every[0], volume.geometry) for one in possible)
    voxel_mm = min(volume.geometry.spacing_mm)
    if apart <= ON_GRID_VOXELS * voxel_mm:
        return place
    certain = _certain(every, volume.geometry)
    if certain is None and apart <= min(_APART_MM, _APART_VOXELS * voxel_mm):
        return place
    what = _who_differs(images, supports, place.role)
    if certain is None:
        raise InputError(
            f"{what}, which puts the {place.role} in places {apart:.3g} mm apart; keep only the right one in "
            "both files, or draw on the image itself."
        )
    affine = volume.geometry.affine @ certain.to_image
    placed = replace(place, geometry=Geometry(place.geometry.shape, affine), forms=None)
    if apart <= min(_APART_MM, _ONE_PLACE_VOXELS * voxel_mm):
        return placed
    taken = certain.image.name if len(images) > 1 else certain.support.name
    return _noted(
        placed, f"{what}; the {place.role} lies on the image's voxels by the {taken}, so that was taken."
    )


def _forms(of: Place | Volume) -> NiftiForms | None:
    """What a header said, unless the grid has changed since."""
    return of.forms if of.forms is not None and of.forms.geometry.same_grid(of.geometry) else None


def _readings(of: Place | Volume) -> tuple[Reading, ...]:
    forms = _forms(of)
    return (Reading("", of.geometry),) if forms is None else forms.readings


def _certain(combinations: Sequence[_Combination], geometry: Geometry) -> _Combination | None:
    """The combination in which the support's voxels are the image's; None when there is none, or another."""
    found = [one for one in combinations if one.lies_on_image()]
    one_place_mm = _ONE_PLACE_VOXELS * min(geometry.spacing_mm)
    if not found or any(one.apart_mm(found[0], geometry) > one_place_mm for one in found):
        return None
    return found[0]


def _who_differs(images: Sequence[Reading], supports: Sequence[Reading], role: str) -> str:
    """Whose header says two things, and which: the beginning of a sentence."""
    whose, readings = ("image", images) if len(images) > 1 else (role, supports)
    first, second = readings[0], readings[-1]
    if "qform" not in (first.name, second.name):
        return f"The {whose}'s header has no position (the codes of qform and sform are 0)"
    ends = corners(first.geometry.shape)
    places = [one.geometry.index_to_world(ends) for one in (first, second)]
    far = np.linalg.norm(places[0] - places[1], axis=1).max()
    return f"The {whose}'s qform and sform differ by {far:.3g} mm"


def _indices(geometry: Geometry) -> np.ndarray:
    """(4, 8): (i, j, k, 1) of the corner voxels."""
    ends = corners(geometry.shape)[:, ::-1].T
    return np.concatenate([ends, np.ones((1, ends.shape[1]))])
