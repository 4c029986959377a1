"""Layers of the network that a CPU computes in less time when nothing is learned, with the same numbers.

Each function does what the modules given to it do, and does it by them on a GPU and where gradients are
needed. On a CPU a 3x3x3 convolution takes half of the multiplications by Winograd's minimal filtering across
the slices (F(4, 3), Lavin and Gray, CVPR 2016) around torch's planar convolution; a 1x1x1 convolution is a
matrix product; and what is only read once is not copied into one tensor before. Tensors lie in memory with
their channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

_TILE = 4
"""Planes that come out of a tile; two more go in."""
_KERNELS = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
"""Of the six planar convolutions of a tile, each as a sum of the three planes of the kernel."""
_MIXED = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
"""What each of them is of, as a sum of the tile's six planes."""
_MADE: WeakKeyDictionary[nn.Conv3d, tuple[tuple[int, ...], list[Tensor]]] = WeakKeyDictionary()
"""What was made of the weights of convolutions, and of what state of these."""
_CACHED = 200_000
"""Values of one plane of every tile that is worked on at a time: what a CPU's cache holds."""


def is_only_read(x: Tensor) -> bool:
    """Whether the layers take the way that is fast on a CPU."""
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def convolution(parts: Sequence[Tensor], conv: nn.Module, slope: float | None = None) -> Tensor:
    """A 3x3x3 `nn.Conv3d` of parts (B, C, k, j, i), one after the other along the channels; shape kept.

    slope: of a leaky ReLU that follows, None for none.
    """
    if not is_only_read(parts[0]):
        y = conv(_together(parts))
        return y if slope is None else functional.leaky_relu(y, slope)
    assert isinstance(conv, nn.Conv3d)
    batch, _, depth, rows, columns = parts[0].shape
    kernels = _kernels_of(conv)
    y = parts[0].new_empty(batch, -(-depth // _TILE) * _TILE, rows, columns, conv.out_channels)
    for number, planes in enumerate(y):
        _convolve([_channels_last(part[number]) for part in parts], kernels, conv.bias, slope, planes)
    return y[:, :depth].permute(0, 4, 1, 2, 3)


def pointwise(parts: Sequence[Tensor], conv: nn.Module) -> Tensor:
    """A 1x1x1 `nn.Conv3d` of parts (B, C, k, j, i), one after the other along the channels."""
    if not is_only_read(parts[0]):
        return conv(_together(parts))
    assert isinstance(conv, nn.Conv3d)
    batch, _, *shape = parts[0].shape
    y = parts[0].new_empty(batch, *shape, conv.out_channels)
    weights = conv.weight.flatten(1).split([part.shape[1] for part in parts], 1)
    for number, answer in enumerate(y.view(batch, -1, conv.out_channels)):
        answer.zero_() if conv.bias is None else answer.copy_(conv.bias)
        for part, weight in zip(parts, weights, strict=True):
            answer.addmm_(part[number].flatten(1).t(), weight.t())
    return y.permute(0, 4, 1, 2, 3)


def instance_norm(x: Tensor, norm: nn.Module) -> Tensor:
    """Instance normalisation of x (B, C, k, j, i)."""
    if not is_only_read(x):
        return norm(x)
    assert isinstance(norm, nn.InstanceNorm3d)
    # Of one image it is batch normalisation, which torch has for channels that are last in memory.
    each = [
        functional.batch_norm(one, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        for one in x.split(1)
    ]
    return _joined(each)


def _together(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)


def _joined(each: Sequence[Tensor]) -> Tensor:
    return each[0] if len(each) == 1 else torch.cat(list(each))


def _channels_last(image: Tensor) -> Tensor:
    """(C, k, j, i) seen as (k, j, i, C), no copy."""
    return image.permute(1, 2, 3, 0)


def _kernels_of(conv: nn.Conv3d) -> list[Tensor]:
    """The planar kernels of a convolution, made anew when its weight is another or was changed.

    Changes are told by torch's count of them, which leaves out those of fused optimisers.
    """
    weight = conv.weight
    if weight.is_inference():
        return _planar_kernels(weight)
    state = (id(weight), weight.data_ptr(), weight._version)
    known = _MADE.get(conv)
    if known is None or known[0] != state:
        known = _MADE[conv] = state, _planar_kernels(weight)
    return known[1]


def _planar_kernels(weight: Tensor) -> list[Tensor]:
    """The six planar kernels (O, C, 3, 3) of a tile, from a kernel (O, C, 3, 3, 3)."""
    kernels = torch.tensordot(_KERNELS, weight, ([1], [2]))
    return [kernel.contiguous(memory_format=torch.channels_last) for kernel in kernels]


def _convolve(
    parts: Sequence[Tensor], kernels: Sequence[Tensor], bias: Tensor | None, slope: float | None, y: Tensor
) -> None:
    """Parts (k, j, i, C) convolved into y (k, j, i, O), of which k may be a little more."""
    plane = max(kernels[0].shape[:2]) * y.shape[1] * y.shape[2]
    step = _TILE * max(1, _CACHED // plane)
    for first in range(0, len(y), step):
        planes = y[first : first + step]
        _convolve_tiles(_padded(parts, first - 1, first + len(planes) + 1), kernels, bias, planes)
        if slope is not None:
            functional.leaky_relu_(planes, slope)


def _padded(parts: Sequence[Tensor], first: int, last: int) -> Tensor:
    """Planes first to last (k, j, i, C) of all channels, zero beyond the image."""
    depth, rows, columns, _ = parts[0].shape
    low, high = max(first, 0), min(last, depth)
    if len(parts) == 1 and (low, high) == (first, last) and parts[0].is_contiguous():
        return parts[0][low:high]
    padded = parts[0].new_empty(last - first, rows, columns, sum(part.shape[3] for part in parts))
    padded[: low - first], padded[high - first :] = 0, 0
    at = 0
    for part in parts:
        padded[low - first : high - first, :, :, at : at + part.shape[3]] = part[low:high]
        at += part.shape[3]
    return padded


def _convolve_tiles(x: Tensor, kernels: Sequence[Tensor], bias: Tensor | None, y: Tensor) -> None:
    """Planes y (4 n, j, i, O) of x (4 n + 2, j, i, C), n tiles at once."""
    planes, tiles = x.view(len(x), -1), len(y) // _TILE
    seen = x.new_empty(len(kernels), tiles, *x.shape[1:])
    mixed = seen.view(len(kernels), tiles, -1)
    for tile in range(tiles):
        # One small product reads what twelve sums and differences would.
        torch.mm(_MIXED, planes[_TILE * tile : _TILE * tile + len(kernels)], out=mixed[:, tile])
    # All planes that come out hold the second one once: what is added to it is added to them.
    m0, m1, m2, m3, m4, m5 = (
        _planar(one, kernel, bias if number == 1 else None)
        for number, (one, kernel) in enumerate(zip(seen, kernels, strict=True))
    )
    plus, minus = m1 + m2, m1.sub_(m2)
    double_plus, double_minus = m3 + m4, m3.sub_(m4)
    y0, y1, y2, y3 = (y[start::_TILE] for start in range(_TILE))
    torch.add(m0.add_(plus), double_plus, out=y0)
    torch.add(minus, double_minus, alpha=2, out=y1)
    torch.add(plus, double_plus, alpha=4, out=y2)
    torch.add(m5.add_(minus), double_minus, alpha=8, out=y3)


def _planar(planes: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Planes (n, j, i, C) convolved in the plane by a kernel (O, C, 3, 3), zero beyond."""
    return functional.conv2d(planes.permute(0, 3, 1, 2), kernel, bias, padding=1).permute(0, 2, 3, 1)
