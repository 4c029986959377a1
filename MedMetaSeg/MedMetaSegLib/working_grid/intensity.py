"""How a volume's intensities are treated, decided once per volume and written in the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..imageio.volume import Volume

_SAMPLE = 500_000
"""Voxels, about, from which the percentiles are taken."""
_CT_RANGE = (-1024.0, 2000.0)
"""Hounsfield units to which CT is cut."""


@dataclass(frozen=True)
class IntensityNormalization:
    """Intensities are cut to low..high before the network's own standardisation.

    modality: "CT", or "MR" for all else. why: what decided, in words.
    """

    modality: str
    low: float
    high: float
    why: str

    def as_dict(self) -> dict[str, object]:
        """For the report."""
        return {"kind": self.modality, "low": self.low, "high": self.high, "why": self.why}


def intensity_normalization(volume: Volume) -> IntensityNormalization:
    """CT when DICOM says so or the values can only be Hounsfield units, else the rule for MR.

    CT is cut to a fixed range, so that padding outside the scanner's field of view and metal do not squeeze
    tissue; anything else to its own 0.05 and 99.95 percentiles. "MR" stands for every modality without a
    fixed scale.
    """
    flat = volume.array.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float32)
    low, high = (float(cut) for cut in np.percentile(sample, [0.05, 99.95]))
    hounsfield = low <= -500 and 100 <= high <= 5000
    if volume.modality == "CT" or (volume.modality == "" and hounsfield):
        why = (
            "DICOM modality"
            if volume.modality == "CT"
            else f"values from {low:.0f} to {high:.0f} are Hounsfield units"
        )
        return IntensityNormalization("CT", *_CT_RANGE, why)
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    why = (
        f"DICOM modality {volume.modality}"
        if volume.modality
        else f"values from {low:.4g} to {high:.4g} are no Hounsfield units"
    )
    return IntensityNormalization("MR", low, high, why)
