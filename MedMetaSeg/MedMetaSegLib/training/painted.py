"""Images painted on label maps of patients, with contrasts drawn at random.

After SynthSeg (Billot et al., MedIA 2023): every class of tissue gets an intensity and a texture, then come a
bias field, noise, and blur to the thickness of the slices. What a map leaves unlabelled is painted as other
tissue, so that everything in the image is known. The next patient is another map of the same anatomy, seen
otherwise, in nearly the same contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..working_grid.grid import antialias_sigma
from .anatomy import Anatomy, Subject
from .appearance import Contrast, drawn_contrast, rendered
from .canvas import Rng, smooth_noise
from .label_maps import LESION_SHAPES, ReadMap, View, lesion, seen, tissue_name
from .population import TEMPER

LESION = "implanted lesion"
"""Name of the structure that a lesion is, whose shape is from another patient."""
_PIXEL_MM = (0.9, 3.0)
"""In-plane spacings of views, at least and at most."""
_THINNEST = 4
"""Thin slices of which a thick one is the mean, at most."""
_CALIBRATED = 0.3
"""How often what was CT is painted in Hounsfield units."""
_HAS_LESION = 0.35
"""How often a lesion is implanted, where there are shapes of lesions."""
_SURROUNDED_BY_AIR = 0.6
"""How often a map that leaves tissue unlabelled ends, in air, at some distance from its structures."""
_SKIN_MM = (6.0, 30.0)
"""That distance, at least and at most."""
_OTHER_MAP = 0.75
"""How often the next patient is another map; otherwise it is the same one seen anew."""
_SIMILAR = (0.03, 0.15)
"""By how much intensities differ between two patients, in the standard deviation of those of all tissues."""
_CALIBRATED_SPREAD = 100.0
"""Hounsfield units in place of that standard deviation, in CT: it is calibrated, and mostly soft tissue."""
_REST = 6
"""Other tissues at most, of which what is not labelled is made."""
_GAS, _BONE = ("lung", "trachea", "airway"), ("mandible", "bone", "skull", "vertebra", "rib")
"""What names of structures contain which are gas and bone in CT."""


@dataclass(frozen=True)
class _Palette:
    """The tissues of some maps.

    kinds: of every tissue: air, those of the structures, a lesion's, and those of what is not labelled;
    numbers: the tissue of every structure, by its `tissue_name`; in_air: what is far from all structures is
    air, where tissue was left unlabelled.
    """

    numbers: dict[str, int]
    kinds: list[str]
    in_air: bool

    @property
    def rest(self) -> int:
        """The first tissue of what is not labelled."""
        return len(self.kinds) - _REST

    @property
    def lesion(self) -> int:
        """The tissue of a lesion."""
        return self.rest - 1


class PaintedMaps:
    """Anatomies painted on label maps. Raises ValueError where there is no map but of lesions."""

    def __init__(self, maps: Sequence[ReadMap]) -> None:
        self._lesions = [one for one in maps if one.dataset in LESION_SHAPES]
        self._sets: dict[str, list[ReadMap]] = {}
        for one in maps:
            if one.dataset not in LESION_SHAPES:
                self._sets.setdefault(one.dataset, []).append(one)
        if not self._sets:
            raise ValueError("no label map of an anatomy")
        weights = np.array([len(some) for some in self._sets.values()], float) ** TEMPER
        self._shares = weights / weights.sum()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets whose maps are used, lesions included."""
        return (*self._sets, *sorted({one.dataset for one in self._lesions}))

    def drawn(self, rng: Rng, side: int) -> tuple[Anatomy, Anatomy]:
        """An anatomy of at most about side^3 voxels, and the next patient's, who has a structure of the same.

        First a data set is drawn, then a map of it, then the structure that both views are about.
        """
        some = list(self._sets.values())[int(rng.choice(len(self._sets), p=self._shares))]
        first = some[int(rng.integers(len(some)))]
        name = first.names[int(rng.integers(len(first.names)))]
        others = [one for one in some if one.patient != first.patient and name in one.names]
        second = first
        if others and rng.random() < _OTHER_MAP:
            second = others[int(rng.integers(len(others)))]
        palette = _palette(rng, [first, second])
        calibrated = first.modality == "CT" and rng.random() < _CALIBRATED
        contrast = _contrast(rng, palette, calibrated)
        view = _view(rng, side, max(first.spacing_mm[0], second.spacing_mm[0]))
        modality = "CT" if calibrated else ""
        return (
            self._painted(rng, first, name, view, palette, contrast, modality),
            self._painted(rng, second, name, view, palette, _similar(rng, contrast, calibrated), modality),
        )

    def _painted(
        self,
        rng: Rng,
        one: ReadMap,
        name: str,
        view: View,
        palette: _Palette,
        contrast: Contrast,
        modality: str,
    ) -> Anatomy:
        """One map, seen around a structure, painted with thin slices that are averaged to thick ones."""
        thin = max(1, min(_THINNEST, int(view.slice_mm / one.spacing_mm[0]), int(view.aspect)))
        fine = View((view.shape[0] * thin, *view.shape[1:]), view.slice_mm / thin, view.pixel_mm)
        structures = seen(rng, one, one.names.index(name) + 1, fine).astype(np.int16)
        names = (*one.names, LESION)
        if self._lesions and rng.random() < _HAS_LESION:
            self._implant(rng, structures, len(names), fine)
        numbers = [0, *(palette.numbers[tissue_name(each)] for each in one.names), palette.lesion]
        tissues = np.array(numbers, np.int16)[structures]
        if not one.whole:
            _paint_rest(rng, structures, tissues, len(names), palette, fine)
        image = rendered(rng, tissues, contrast, fine.aspect)
        if thin > 1:
            image = ndimage.gaussian_filter1d(image, float(antialias_sigma(thin)), axis=0)
        kept = slice(thin // 2, None, thin)
        subject = Subject(one.dataset, one.patient, modality, view.pixel_mm, names, ())
        return Anatomy(image[kept], structures[kept], view.aspect, subject=subject)

    def _implant(self, rng: Rng, structures: np.ndarray, label: int, view: View) -> None:
        """Put a lesion's shape where the body is labelled, as a structure of its own; in place."""
        mask = lesion(rng, self._lesions[int(rng.integers(len(self._lesions)))], view)
        inside = np.flatnonzero(structures)
        if not len(inside) or not mask.any():
            return
        centre = np.unravel_index(int(inside[rng.integers(len(inside))]), structures.shape)
        there, here = [], []
        for at, length, whole in zip(centre, mask.shape, structures.shape, strict=True):
            start = int(at) - length // 2
            first, last = max(0, start), min(whole, start + length)
            there.append(slice(first, last))
            here.append(slice(first - start, last - start))
        part = structures[tuple(there)]
        part[mask[tuple(here)] & (part > 0)] = label


def _view(rng: Rng, side: int, slice_mm: float) -> View:
    """A view whose slices are no thinner than `slice_mm`; half have voxels as near to cubes as that."""
    pixel_mm = float(np.exp(rng.uniform(*np.log(_PIXEL_MM))))
    thickness = pixel_mm * (1.0 if rng.random() < 0.5 else float(np.exp(rng.uniform(0, np.log(5)))))
    thickness = max(thickness, slice_mm)
    extent = rng.uniform(0.75, 1.1, 3) * side
    slices = max(12, int(extent[0] * pixel_mm / thickness))
    return View((slices, int(extent[1]), int(extent[2])), thickness, pixel_mm)


def _palette(rng: Rng, maps: Sequence[ReadMap]) -> _Palette:
    names = sorted({tissue_name(name) for one in maps for name in one.names})
    rest = ["fat" if rng.random() < 0.3 else "soft" for _ in range(_REST)]
    kinds = ["air", *map(_kind, names), "lesion", *rest]
    numbers = {name: number for number, name in enumerate(names, 1)}
    return _Palette(numbers, kinds, bool(rng.random() < _SURROUNDED_BY_AIR))


def _kind(name: str) -> str:
    if any(part in name for part in _GAS):
        return "gas"
    return "bone" if any(part in name for part in _BONE) else "soft"


def _contrast(rng: Rng, palette: _Palette, calibrated: bool) -> Contrast:
    """CT's where it is calibrated; otherwise every tissue has one of its own, air mostly the least."""
    if calibrated:
        return drawn_contrast(rng, palette.kinds, calibrated=True)
    levels = rng.standard_normal(len(palette.kinds))
    if rng.random() < 0.8:
        levels[0] = levels.min() - rng.uniform(0, 1)
    texture = rng.random(len(levels)) * rng.choice([0.03, 0.1, 0.25])
    return levels.astype(np.float32), texture.astype(np.float32)


def _similar(rng: Rng, contrast: Contrast, calibrated: bool) -> Contrast:
    """The contrast of another patient's image; air stays as it is."""
    levels, texture = contrast
    spread = _CALIBRATED_SPREAD if calibrated else levels.std()
    change = rng.uniform(*_SIMILAR) * spread * rng.standard_normal(len(levels))
    change[0] = 0
    return (levels + change).astype(np.float32), texture


def _paint_rest(
    rng: Rng, structures: np.ndarray, tissues: np.ndarray, number: int, palette: _Palette, view: View
) -> None:
    """Make what is not labelled into regions of other tissue, numbered from number + 1, and air; in place."""
    rest = structures == 0
    if palette.in_air:
        skin_mm = rng.uniform(*_SKIN_MM) * np.exp(0.15 * smooth_noise(rng, view.shape, 25, view.aspect))
        rest &= ndimage.distance_transform_edt(rest, view.steps_mm) < skin_mm
    regions = int(rng.integers(2, _REST + 1))
    wavelength = rng.uniform(15, 60)
    fields = [smooth_noise(rng, view.shape, wavelength, view.aspect) for _ in range(regions)]
    region = np.argmax(fields, 0)
    structures[rest] = number + 1 + region[rest]
    tissues[rest] = palette.rest + region[rest]
