"""What an image alone says, on one working grid: made once, used for every structure and every painting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..stages import stage
from .likelihood import histogram_bins
from .propagation import Motion, slice_motion
from .voxel_classifier import voxel_features

_QUANTILES = 128

Value = TypeVar("Value")


@torch.no_grad()
def image_channels(image: Tensor | np.ndarray, device: torch.device | str | None = None) -> Tensor:
    """(IMAGE_CHANNELS, k, j, i) float32 of a finite image: standardised, and histogram-equalised.

    The first keeps contrast as it is; the second spreads the intensities that most voxels have (soft tissue
    in CT beside air and bone), whatever the modality. Both are invariant to scale and offset of the
    intensities. device: where they are made and stay; that of the image when None.
    """
    image = torch.from_numpy(np.ascontiguousarray(image)) if isinstance(image, np.ndarray) else image
    image = image.to(device, torch.float32)
    sample = image.reshape(-1)[:: max(1, image.numel() // 200_000)]
    # Torch sorts anew for every call: one for all.
    shares = torch.cat([torch.tensor([0.002, 0.998]), torch.linspace(0, 1, _QUANTILES + 1)])
    quantiles = sample.quantile(shares.to(sample.device))
    low, high = quantiles[:2]
    flat = high <= low
    low, high = torch.where(flat, sample.min(), low), torch.where(flat, sample.max(), high)
    cut = torch.clamp(image, low, high)
    deviation = cut.std(correction=0)
    standard = (cut - cut.mean()) / torch.where(deviation > 0, deviation, 1.0)
    levels = quantiles[2:]
    # Equal levels share a rank, in the middle of theirs.
    first, after = (torch.searchsorted(levels, levels, right=right) for right in (False, True))
    rank = (first + after - 1) / (2 * _QUANTILES)
    above = torch.searchsorted(levels, image, right=True).clamp_(1, _QUANTILES)
    lower, upper = levels[above - 1], levels[above]
    share = ((image - lower) / (upper - lower).clamp(min=1e-30)).clamp_(0, 1)
    equalised = (torch.lerp(rank[above - 1], rank[above], share) - 0.5) * 12**0.5
    return torch.stack([standard, equalised])


class _Kept(Generic[Value]):
    """A property that is made when it is first asked for, and kept.

    As functools.cached_property, which before Python 3.12 makes it for one object at a time in all threads.
    """

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self._make, self.__doc__ = make, make.__doc__

    def __get__(self, owner: Any, _: type | None = None) -> Value:
        value = owner.__dict__[self._make.__name__] = self._make(owner)
        return value


@dataclass(frozen=True, eq=False)
class ImageEvidence:
    """channels: (IMAGE_CHANNELS, k, j, i) from `image_channels`, on the device where evidence is gathered;
    aspect: slice spacing over in-plane spacing. The rest is made when first asked for, and kept.
    """

    channels: Tensor
    aspect: float

    @property
    def device(self) -> torch.device:
        """Where all of it lies."""
        return self.channels.device

    @_Kept
    def motion(self) -> Motion:
        """The motion between the slices."""
        with stage("motion"):
            return slice_motion(self.channels)

    @_Kept
    def features(self) -> Tensor:
        """What the voxel classifier reads of the image."""
        with stage("features"):
            return voxel_features(self.channels, self.aspect)

    @_Kept
    def bins(self) -> Tensor:
        """The histogram bin of every voxel."""
        with stage("histogram"):
            return histogram_bins(self.channels[1])

    @property
    def bytes(self) -> int:
        """Memory held by what was made so far."""
        made = [self.channels, *self.__dict__.get("motion", ())]
        made += [self.__dict__[name] for name in ("features", "bins") if name in self.__dict__]
        return sum(one.nelement() * one.element_size() for one in made)
