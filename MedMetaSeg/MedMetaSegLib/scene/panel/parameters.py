"""What the user chose in the panel, kept in a parameter node and so in the scene."""

from __future__ import annotations

import enum

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper


class Annotation(enum.Enum):
    """How the structures were painted; see `Support`."""

    SLICES = "slices"
    SCRIBBLES = "scribbles"

    def label(self) -> str:
        """What the user reads."""
        return {"slices": _("whole slices"), "scribbles": _("scribbles")}[self.value]


class Device(enum.Enum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    def label(self) -> str:
        """What the user reads."""
        return {"auto": _("automatic"), "cpu": "CPU", "cuda": "CUDA"}[self.value]


@parameterNodeWrapper
class SegmentParameters:
    """output: None for a new segmentation. untickedSegmentIds: painted segments to leave out."""

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    output: slicer.vtkMRMLSegmentationNode
    annotation: Annotation = Annotation.SLICES
    device: Device = Device.AUTO
    untickedSegmentIds: list[str]
