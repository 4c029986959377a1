"""Intensities, texture and acquisition of a synthetic anatomy: CT-like, or any contrast of a scanner."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .canvas import Rng, smooth_noise

_HOUNSFIELD = {
    "air": (-1000, 5),
    "gas": (-850, 120),
    "fat": (-100, 15),
    "soft": (45, 28),
    "muscle": (55, 8),
    "vessel": (130, 70),
    "bone": (550, 200),
    "marrow": (220, 90),
    "lesion": (60, 40),
}
"""Mean and standard deviation of the intensity of each kind of tissue in CT, Hounsfield units."""


Contrast = tuple[np.ndarray, np.ndarray]
"""An intensity and a strength of texture for each tissue, (tissues,) float32 each."""


def drawn_contrast(rng: Rng, kinds: list[str], calibrated: bool = False) -> Contrast:
    """Intensities and textures of tissues of these kinds: as in CT, or in any contrast of a scanner.

    calibrated: as in CT only.
    """
    return _ct_levels(rng, kinds) if calibrated or rng.random() < 0.4 else _any_levels(rng, kinds)


def rendered(rng: Rng, tissues: np.ndarray, contrast: Contrast, aspect: float) -> np.ndarray:
    """The image (k, j, i) float32 of tissues (k, j, i), numbered as the contrast has them."""
    levels, texture = contrast
    shape = (tissues.shape[0], tissues.shape[1], tissues.shape[2])
    image = levels[tissues]
    pattern = smooth_noise(rng, shape, rng.uniform(1.5, 5), aspect)
    image = image + texture[tissues] * pattern
    spread = float(np.percentile(image, 90) - np.percentile(image, 10)) + 1e-3
    if rng.random() < 0.4:
        image = image + rng.uniform(0.02, 0.12) * spread * smooth_noise(
            rng, shape, rng.uniform(4, 12), aspect
        )
    if rng.random() < 0.4:
        image = image + rng.uniform(0.05, 0.3) * image * smooth_noise(
            rng, shape, rng.uniform(40, 120), aspect
        )
    blur = rng.uniform(0.3, 1.3)
    image = ndimage.gaussian_filter(image, (rng.uniform(0.2, 0.7) if aspect > 1.5 else blur, blur, blur))
    noise = rng.standard_normal(shape, dtype=np.float32)
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, (0, *[rng.uniform(0.4, 1.0)] * 2))
        noise /= noise.std()
    strength = float(np.exp(rng.uniform(np.log(0.004), np.log(0.12))))
    return (image + strength * spread * noise).astype(np.float32)


def _ct_levels(rng: Rng, kinds: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """An intensity and a strength of texture for each tissue, in Hounsfield units."""
    levels = [rng.normal(*_HOUNSFIELD[kind]) for kind in kinds]
    texture = np.abs(rng.normal(0, 10, len(kinds))) * np.array(
        [2.0 if kind in ("bone", "marrow", "gas") else 1.0 for kind in kinds]
    )
    limit = rng.choice([300.0, 700.0, 2000.0])
    return np.clip(levels, -1000, limit).astype(np.float32), texture.astype(np.float32)


def _any_levels(rng: Rng, kinds: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """An intensity and a strength of texture for each tissue; those of a kind are from equal to unrelated."""
    by_kind = {kind: rng.standard_normal() for kind in _HOUNSFIELD}
    by_kind["air"] = min(by_kind.values()) - rng.uniform(0, 1)
    palette = rng.standard_normal(int(rng.integers(3, 7)))
    deviation = rng.choice([0.05, 0.2, 0.5])
    mode = rng.random()
    levels = []
    for kind in kinds:
        if mode < 0.4 or kind == "air":
            base = by_kind[kind]
        elif mode < 0.75:
            base = rng.choice(palette)
        else:
            base = rng.standard_normal()
        levels.append(base + deviation * rng.standard_normal() * (kind != "air"))
    texture = rng.random(len(kinds)) * rng.choice([0.03, 0.1, 0.25])
    return np.array(levels, np.float32), texture.astype(np.float32)
