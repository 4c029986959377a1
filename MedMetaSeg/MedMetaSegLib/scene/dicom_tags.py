"""Tags of a segment that Slicer's DICOM export reads; without them it says that it was drawn by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import __version__

if TYPE_CHECKING:
    from ..support.dicom_seg_writing import AlgorithmType

ALGORITHM_TYPE_TAG = "DICOM.SegmentAlgorithmType"
ALGORITHM_NAME_TAG = "DICOM.SegmentAlgorithmName"


def tagAlgorithm(segment: Any, algorithmType: AlgorithmType) -> None:
    """Let Slicer's DICOM export say that this module made the segment, and whether somebody painted."""
    segment.SetTag(ALGORITHM_TYPE_TAG, algorithmType)
    segment.SetTag(ALGORITHM_NAME_TAG, f"MedMetaSeg {__version__}")
