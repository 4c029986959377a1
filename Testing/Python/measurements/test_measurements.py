"""What can be asked for when a segmentation is measured."""

from __future__ import annotations

import pytest

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.measurements.measurements import MeasureOptions


@pytest.mark.parametrize("connectivity", [0, 8, 27])
def test_only_neighbours_of_faces_edges_and_corners_connect(connectivity: int) -> None:
    with pytest.raises(InputError, match="6, 18 or 26"):
        MeasureOptions(connectivity=connectivity)


@pytest.mark.parametrize("volume", [-1.0, float("nan"), float("inf")])
def test_the_smallest_lesion_has_a_volume(volume: float) -> None:
    with pytest.raises(InputError, match="smallest lesion"):
        MeasureOptions(smallest_mm3=volume)
