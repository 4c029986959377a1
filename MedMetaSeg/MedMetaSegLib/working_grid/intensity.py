"""How a volume's intensities are treated, decided once per volume and written in the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..imageio.volume import Volume

_SOFT_TISSUE_HU = (-160.0, 240.0)
"""Hounsfield units that are black and white in pictures of CT."""
_SAMPLE = 500_000
"""Voxels, about, from which the percentiles are taken."""
_CT_RANGE = (-1024.0, 2000.0)
"""Hounsfield units to which CT is cut."""
_POSSIBLE_HU = (-1100.0, 3100.0)
"""Hounsfield units from air, with its noise, to the end of a scanner's twelve bits; metal lies above."""
_INSIDE = 0.9
"""Fraction of the voxels within that range, at least, of an image in Hounsfield units."""
_AIR_HU, _AIR = -400.0, 0.01
"""Below it lie air and lung, and these are that fraction of the voxels at least, where there are any."""
_BONE_HU, _BONE = 500.0, 0.25
"""Above it lies bone, and that is no larger a fraction of what is no air."""
_WATER_HU, _LEAST_SPREAD_HU = 20.0, 20.0
"""Where there is no air, something is as dark as water, and tissues differ by more than the second."""
_USUAL_HIGH_HU = 5000.0
"""A 99.95 percentile up to it is tissue or a small implant."""
_FILL = 0.001
"""Fraction of the voxels that share one value, at least, where that value may be padding."""
_FILL_GAP_HU = 300.0
"""Hounsfield units without a voxel between padding and the image."""
_LIMITS = (32767.0, 65535.0, 2147483647.0, 4294967295.0)
"""Largest values of integer types; padding where nothing else comes near."""


@dataclass(frozen=True)
class IntensityNormalization:
    """Intensities are cut to low..high before the network's own standardisation.

    modality: "CT", or "MR" for all else. why: what decided, a sentence.
    """

    modality: str
    low: float
    high: float
    why: str

    def as_dict(self) -> dict[str, object]:
        """For the report."""
        return {"kind": self.modality, "low": self.low, "high": self.high, "why": self.why}


def intensity_normalization(volume: Volume) -> IntensityNormalization:
    """CT where the values are Hounsfield units, whatever a header calls them, else the rule for MR.

    CT is cut to a fixed range, so that padding outside the scanner's field of view and metal do not squeeze
    tissue; anything else to its own 0.05 and 99.95 percentiles, padding left out. "MR" stands for every
    image without a fixed scale, CT that is not calibrated (micro-CT, cone beam) among them.
    """
    flat = volume.array.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float32)
    image, padding = _without_padding(sample, volume.padding)
    low, high = (float(cut) for cut in np.percentile(image, [0.05, 99.95]))
    told = f"values from {low:.4g} to {high:.4g}{padding}"
    if volume.modality == "CT":
        if _may_be_hounsfield(image):
            return IntensityNormalization("CT", *_CT_RANGE, f"DICOM says CT, and the {told} agree.")
        why = f"DICOM says CT, but the {told} are no Hounsfield units."
    elif volume.modality:
        why = f"DICOM says {volume.modality}."
    elif low <= -500 and high >= 100 and _look_like_hounsfield(image, high):
        return IntensityNormalization("CT", *_CT_RANGE, f"The {told} are Hounsfield units.")
    else:
        why = f"The {told} are no Hounsfield units."
    if high <= low:
        low, high = float(image.min()), float(image.max())
    return IntensityNormalization("MR", low, high, why)


def display_window(volume: Volume) -> tuple[float, float]:
    """Intensities that are black and white in a picture: soft tissue of CT, else what is not padding."""
    rule = intensity_normalization(volume)
    return _SOFT_TISSUE_HU if rule.modality == "CT" else (rule.low, rule.high)


def _look_like_hounsfield(image: np.ndarray, high: float) -> bool:
    """True where values of no known modality, from air to tissue, are Hounsfield units."""
    body = _unfilled(image)
    return _inside(body) >= _INSIDE and (high <= _USUAL_HIGH_HU or _air(body) >= _AIR)


def _may_be_hounsfield(image: np.ndarray) -> bool:
    """False where values of CT, without padding, cannot be Hounsfield units.

    They reach far beyond what a scanner gives; or there is no air, or air of one value only, as where a body
    was masked, and the rest looks like air and tissue that are stored with an offset or in another unit.
    """
    body = _unfilled(image)
    if _inside(body) < _INSIDE:
        return False
    rest = body[body > body.min()] if _is_filled(body) else body
    if _air(rest) >= _AIR:
        return True
    dark, bright = np.percentile(rest, [0.5, 99.5])
    few_bright = float((rest > _BONE_HU).mean()) <= _BONE
    return bool(dark <= _WATER_HU and bright - dark >= _LEAST_SPREAD_HU and few_bright)


def _unfilled(image: np.ndarray) -> np.ndarray:
    """Values of CT without the lowest where that is darker than air and a fill value."""
    lowest = float(image.min())
    return image[image > lowest] if lowest < _POSSIBLE_HU[0] and _is_filled(image) else image


def _is_filled(image: np.ndarray) -> bool:
    """True where many voxels have the lowest value, and no other is near."""
    filled = image == image.min()
    if filled.mean() < _FILL or filled.all():
        return False
    return bool(image[~filled].min() - image.min() > _FILL_GAP_HU)


def _air(image: np.ndarray) -> float:
    """The fraction of the values that are air or lung."""
    return float((image < _AIR_HU).mean())


def _inside(image: np.ndarray) -> float:
    """The fraction of the values that lie where Hounsfield units can."""
    return float(((image >= _POSSIBLE_HU[0]) & (image <= _POSSIBLE_HU[1])).mean())


def _without_padding(sample: np.ndarray, named: tuple[float, float] | None) -> tuple[np.ndarray, str]:
    """Values without those that stand for no tissue, and words for what was left out, "" for nothing.

    Padding is what DICOM names, and beside it one value of many voxels that lies further from all others
    than these lie from each other: the lowest if negative, or the limit of an integer type.
    """
    image, left_out = sample, []
    if named is not None:
        outside = (sample < named[0]) | (sample > named[1])
        if outside.any() and not outside.all():
            image = sample[outside]
            left_out.append(named[0])
    for value in (float(image.min()), float(image.max())):
        if not (value < 0 or value in _LIMITS or value > 1e30):
            continue
        filled = image == np.float32(value)
        if filled.mean() < _FILL or filled.all():
            continue
        rest = image[~filled]
        gap = min(abs(float(rest.min()) - value), abs(float(rest.max()) - value))
        if gap > float(rest.max()) - float(rest.min()):
            image = rest
            left_out.append(value)
    words = " and ".join(f"{value:.6g}" for value in left_out)
    return image, f" (padding of {words} left out)" if words else ""
