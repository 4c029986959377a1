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
    shares = torch.cat([torch.tensor([0.002, 0.998]), torch.linspace(0, 1, _QUANTILES + 1)])
    quantiles = quantiles_of(sample, shares)
    low, high = quantiles[:2]
    flat = high <= low
    low, high = torch.where(flat, sample.min(), low), torch.where(flat, sample.max(), high)
    cut = torch.clamp(image, low, high)
    deviation = cut.std(correction=0)
    standard = (cut - cut.mean()) / torch.where(deviation > 0, deviation, 1.0)
    return torch.stack([standard, (rank_among(image, quantiles[2:]) - 0.5) * 12**0.5])


class _Kept(Generic[Value]):
    """A property that is made when it is first asked for, and kept.

    As functools.cached_property, which before Python 3.12 makes it for one object at a time in all threads.
    """

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self._make, self.__doc__ = make, make.__doc__

    def __get__(self, owner: Any, _: type | None = None) -> Value:
        value = owner.__dict__[self._make.__name__] = self._make(owner)
        return value


def quantiles_of(values: Tensor, shares: Tensor) -> Tensor:
    """The quantiles of values (N,) at shares (S,) from 0 to 1, linear, as `torch.quantile`.

    Numpy sorts in a tenth of torch's time on a CPU.
    """
    if values.device.type != "cpu":
        return values.quantile(shares.to(values.device))
    ascending = torch.from_numpy(np.sort(values.numpy()))
    place = shares * (len(values) - 1)
    below = place.long()
    return torch.lerp(ascending[below], ascending[(below + 1).clamp(max=len(values) - 1)], place - below)


def rank_among(values: Tensor, levels: Tensor) -> Tensor:
    """Where values (...) lie among ascending levels (L,), float32 from 0 to 1, linear between two of them.

    Equal levels share a rank, in the middle of theirs. On a CPU numpy interpolates in less time than torch.
    """
    first, after = (torch.searchsorted(levels, levels, right=right) for right in (False, True))
    rank = (first + after - 1) / (2 * (len(levels) - 1))
    interpolated = interpolated_by_numpy if values.device.type == "cpu" else interpolated_by_torch
    return interpolated(values, levels, rank)


def interpolated_by_numpy(values: Tensor, levels: Tensor, rank: Tensor) -> Tensor:
    """The rank (L,) at ascending levels (L,), linear between them at values (...) on a CPU."""
    return torch.from_numpy(np.interp(values.numpy(), levels.numpy(), rank.numpy()).astype(np.float32))


def interpolated_by_torch(values: Tensor, levels: Tensor, rank: Tensor) -> Tensor:
    """As `interpolated_by_numpy`, on any device."""
    above = torch.searchsorted(levels, values, right=True).clamp_(1, len(levels) - 1)
    lower, upper = levels[above - 1], levels[above]
    share = ((values - lower) / (upper - lower).clamp(min=1e-30)).clamp_(0, 1)
    return torch.lerp(rank[above - 1], rank[above], share)


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
