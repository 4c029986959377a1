"""Windows and residual blocks as MONAI has them, which would take seconds to import."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.networks.blocks import UnetResBlock

from MedMetaSegLib.network.encoder import SLOPE, ResidualBlock
from MedMetaSegLib.network.windows import overlapping_windows, window_weights


@pytest.mark.parametrize("shape", [(16, 16, 24), (40, 64, 24), (8, 104, 56), (96, 96, 200)])
@pytest.mark.parametrize(("size", "step"), [((8, 8, 8), (8, 8, 8)), ((8, 16, 24), (8, 8, 16))])
def test_windows_and_weights_are_those_of_monai(
    shape: tuple[int, int, int], size: tuple[int, int, int], step: tuple[int, int, int]
) -> None:
    assert list(overlapping_windows(shape, size, step)) == dense_patch_slices(shape, size, step)
    expected = compute_importance_map(size, mode="gaussian", sigma_scale=0.25).numpy()
    np.testing.assert_allclose(window_weights(size), expected, rtol=1e-5)


def test_one_window_covers_an_image_of_its_size() -> None:
    assert overlapping_windows((8, 16, 24), (8, 16, 24), (8, 16, 24)) == (np.s_[0:8, 0:16, 0:24],)


@pytest.mark.parametrize("out_channels", [6, 10])
def test_a_residual_block_begins_and_answers_as_monai_s(out_channels: int) -> None:
    torch.manual_seed(0)
    ours = ResidualBlock(6, out_channels).eval()
    torch.manual_seed(0)
    act = ("leakyrelu", {"negative_slope": SLOPE, "inplace": True})
    theirs = UnetResBlock(3, 6, out_channels, 3, 1, norm_name=("instance", {"affine": True}), act_name=act)
    assert {name: part.shape for name, part in ours.state_dict().items()} == {
        name: part.shape for name, part in theirs.state_dict().items()
    }
    for name, part in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], part, rtol=0, atol=0)
    x = torch.randn(1, 6, 8, 10, 12)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)
