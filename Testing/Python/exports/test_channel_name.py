"""What nnU-Net's channel is called, which decides how it normalises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.exports.channel_name import ImageKind, channel_name
from MedMetaSegLib.imageio.volume import Volume
from support_phantom import SHAPE, grid


def volume(low: float, high: float, modality: str = "") -> Volume:
    array = np.random.default_rng(0).uniform(low, high, SHAPE).astype(np.float32)
    return replace(Volume.from_array(array, grid(SHAPE)), modality=modality)


CT, CT_DICOM = volume(-1000, 800), volume(-1000, 800, "CT")
UNCALIBRATED, MR, PET, UNKNOWN = (
    volume(0, 30000, "CT"),
    volume(0, 900, "MR"),
    volume(0, 9, "PT"),
    volume(0, 9),
)


@pytest.mark.parametrize(
    ("volumes", "name"),
    [
        ([CT, CT_DICOM], "CT"),
        ([MR, UNKNOWN], "MRI"),
        ([UNKNOWN, PET], "PT"),
        ([UNKNOWN, UNKNOWN], "image"),
        ([UNCALIBRATED], "CT without Hounsfield units"),
    ],
)
def test_the_name_is_what_the_images_are(volumes: list[Volume], name: str) -> None:
    assert channel_name([ImageKind.of(f"p{n}", one) for n, one in enumerate(volumes)]) == name


@pytest.mark.parametrize(
    ("volumes", "says"),
    [
        ([CT, CT, MR], "Case p0 is CT and case p2 is MRI"),
        ([CT_DICOM, UNCALIBRATED], "Case p0 is CT and case p1 is CT without Hounsfield units"),
        ([UNKNOWN, CT], "Case p0 is no CT and case p1 is CT"),
        ([UNKNOWN, MR, PET], "Case p1 is MRI and case p2 is PT"),
    ],
)
def test_images_of_several_kinds_are_refused(volumes: list[Volume], says: str) -> None:
    with pytest.raises(InputError, match=says):
        channel_name([ImageKind.of(f"p{n}", one) for n, one in enumerate(volumes)])
