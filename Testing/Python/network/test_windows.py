"""Windows and residual blocks: MONAI's, without importing it where that can be spared."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from monai.networks.blocks import UnetResBlock

from MedMetaSegLib.network.encoder import SLOPE, ResidualBlock
from MedMetaSegLib.network.windows import overlapping_windows, window_weights


def test_an_image_of_one_window_needs_no_monai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.data.utils", None)
    assert overlapping_windows((8, 16, 24), (8, 16, 24), (8, 16, 24)) == (np.s_[0:8, 0:16, 0:24],)
    with pytest.raises(ImportError):
        overlapping_windows((8, 16, 24), (8, 16, 16), (8, 16, 8))


def test_windows_cover_an_image_and_weigh_most_in_their_middle() -> None:
    covered = np.zeros((40, 64, 24))
    for window in overlapping_windows(covered.shape, (16, 16, 24), (8, 8, 24)):
        weights = window_weights((16, 16, 24))
        assert weights.max() == weights[8, 8, 12] <= 1
        assert weights.min() >= 1e-3
        covered[window] += weights
    assert covered.min() > 0


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
