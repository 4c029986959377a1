"""What the user chose in the panel, kept in a parameter node and so in the scene."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from ...confidence.triage import ACCEPT_ABOVE, PAINT_BELOW
from ...measurements.measurements import SMALLEST_LESION_MM3


class Annotation(enum.Enum):
    """How the structures were painted; see `Support`."""

    SLICES = "slices"
    SCRIBBLES = "scribbles"

    def label(self) -> str:
        """What the user reads."""
        return {"slices": _("whole slices"), "scribbles": _("scribbles")}[self.value]


class LearnAnnotation(enum.Enum):
    """What the segmentations to learn from are; see `Support`."""

    COMPLETE = "complete"
    SLICES = "slices"
    SCRIBBLES = "scribbles"

    def label(self) -> str:
        """What the user reads."""
        return {
            "complete": _("finished segmentations"),
            "slices": _("painted slices"),
            "scribbles": _("scribbles"),
        }[self.value]


class SequenceItems(enum.Enum):
    """Which items of a sequence a task is applied to."""

    CURRENT = "current"
    ALL = "all"

    def label(self) -> str:
        """What the user reads."""
        return {"current": _("the item that is shown"), "all": _("all items")}[self.value]


class Device(enum.Enum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    def label(self) -> str:
        """What the user reads."""
        return {"auto": _("automatic"), "cpu": "CPU", "cuda": "CUDA"}[self.value]


class Memory(enum.Enum):
    """How much memory the network may use; the values are the keys of worker.process.WINDOWS."""

    AS_NEEDED = "as needed"
    LOW = "low"
    LITTLE = LOW
    """Another name of LOW, for scenes that were saved with it: names are what a scene keeps."""

    def label(self) -> str:
        """What the user reads."""
        return _("low") if self is Memory.LOW else _("as needed")


class Quality(enum.Enum):
    """How fine the network looks; see Segmenter.segment."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"

    def label(self) -> str:
        """What the user reads."""
        return {"fast": _("fast"), "balanced": _("balanced"), "best": _("best")}[self.value]


class BatchSource(enum.Enum):
    """Where the images of a batch come from."""

    FOLDER = "folder"
    DATABASE = "database"

    def label(self) -> str:
        """What the user reads."""
        return {"folder": _("a folder"), "database": _("patients of the DICOM database")}[self.value]


class BatchFormat(enum.Enum):
    """How a batch writes its results; the value is the ending of the files."""

    NRRD = ".seg.nrrd"
    NIFTI = ".nii.gz"
    DICOM = ".dcm"

    def label(self) -> str:
        """What the user reads."""
        return {
            ".seg.nrrd": _("Slicer segmentation (.seg.nrrd)"),
            ".nii.gz": _("NIfTI label map (.nii.gz)"),
            ".dcm": _("DICOM segmentation of DICOM images (.dcm)"),
        }[self.value]


class BatchExisting(enum.Enum):
    """What a batch does with images whose result is there."""

    RESUME = "resume"
    OVERWRITE = "overwrite"

    def label(self) -> str:
        """What the user reads."""
        return {"resume": _("leave them, do the others"), "overwrite": _("make them anew")}[self.value]


class Neighbours(enum.Enum):
    """Which neighbours a voxel of a lesion is connected to; the value is how many; see `MeasureOptions`."""

    FACES = 6
    EDGES = 18
    CORNERS = 26

    def label(self) -> str:
        """What the user reads."""
        return {
            6: _("faces (6 neighbours)"),
            18: _("faces, edges (18 neighbours)"),
            26: _("faces, edges, corners (26 neighbours)"),
        }[self.value]


class Role(enum.Enum):
    """What a painted segment is for."""

    STRUCTURE = "structure"
    BACKGROUND = "background"
    IGNORE = "ignore"

    def label(self) -> str:
        """What the user reads."""
        return {"structure": _("structure"), "background": _("background"), "ignore": _("ignore")}[self.value]


class _Choices:
    """output: None for a new segmentation. within: a segmentation or an ROI outside which nothing is looked
    for, None to look everywhere; withinSegmentId: of one of its segments, "" for all. untickedSegmentIds:
    painted segments that are not segmented but keep what was painted of them; the other two lists are of
    those whose role is not structure. acceptAbove, paintBelow: bounds of the expected Dice; see
    `triage.TriageBounds`. lesionSegmentIds: segments of measureSegmentation whose connected parts are
    lesions.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    output: slicer.vtkMRMLSegmentationNode
    within: slicer.vtkMRMLDisplayableNode
    withinSegmentId: str
    annotation: Annotation = Annotation.SLICES
    untickedSegmentIds: list[str]
    backgroundSegmentIds: list[str]
    ignoredSegmentIds: list[str]
    showPreview: bool = True
    showUncertainty: bool = False
    learnAnnotation: LearnAnnotation = LearnAnnotation.COMPLETE
    batchSource: BatchSource = BatchSource.FOLDER
    sequenceItems: SequenceItems = SequenceItems.CURRENT
    keepDoubtful: bool = True
    batchInput: str
    batchPattern: str
    batchOutput: str
    batchFormat: BatchFormat = BatchFormat.NRRD
    batchExisting: BatchExisting = BatchExisting.RESUME
    batchResampleUneven: bool = False
    batchKeepDoubtful: bool = True
    acceptAbove: Annotated[float, WithinRange(0, 1)] = ACCEPT_ABOVE
    paintBelow: Annotated[float, WithinRange(0, 1)] = PAINT_BELOW
    measureVolume: slicer.vtkMRMLScalarVolumeNode
    measureSegmentation: slicer.vtkMRMLSegmentationNode
    lesionSegmentIds: list[str]
    neighbours: Neighbours = Neighbours.CORNERS
    smallestLesionMm3: Annotated[float, WithinRange(0, 1e6)] = SMALLEST_LESION_MM3
    device: Device = Device.AUTO
    quality: Quality = Quality.BALANCED
    memory: Memory = Memory.AS_NEEDED
    keepFeatures: bool = True


_CHANNELS = "channels"
"""Role of the references to further volumes; Slicer keeps them right when nodes go, and in saved scenes."""


class PanelParameters(parameterNodeWrapper(_Choices)):  # type: ignore[misc]
    """What the user chose, in a parameter node, and the widgets that show it."""

    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self._widgetsTag: int | None = None
        self._observerTags: list[int] = []

    def connectWidgets(self, ui: Any) -> None:
        """Bind each widget of `ui` to the parameter it names, until `disconnectWidgets`.

        Slicer's `connectGui` finds the same widgets but gives no tag (Slicer issue 7547), so they stay bound.
        """
        widgets = {}
        for widget in vars(ui).values():
            name = widget.property("SlicerParameterName")
            if name:
                widgets[name] = widget
        self._widgetsTag = self.connectParametersToGui(widgets)

    def disconnectWidgets(self) -> None:
        """Let go of the widgets and of every observer that was added to the node for them.

        Slicer's `disconnectGui` leaves its own observer on the node up to 5.10.
        """
        if self._widgetsTag is not None:
            self.disconnectGui(self._widgetsTag)
        for tag in self._observerTags:
            self.RemoveObserver(tag)
        self._widgetsTag, self._observerTags = None, []

    def AddObserver(self, event: Any, callback: Callable[..., None], priority: float = 0.0) -> int:
        """As of the node; `disconnectWidgets` removes it."""
        tag: int = super().AddObserver(event, callback, priority)
        self._observerTags.append(tag)
        return tag

    @property
    def channels(self) -> list[Any]:
        """The volumes that are used with `volume`, in the order in which they were chosen."""
        node = self.parameterNode
        count = node.GetNumberOfNodeReferences(_CHANNELS)
        found = (node.GetNthNodeReference(_CHANNELS, number) for number in range(count))
        return [one for one in found if one is not None]

    def chooseChannels(self, nodes: Sequence[Any]) -> None:
        """Choose the volumes that are used with `volume`."""
        with slicer.util.NodeModify(self.parameterNode):
            self.parameterNode.RemoveNodeReferenceIDs(_CHANNELS)
            for node in nodes:
                self.parameterNode.AddNodeReferenceID(_CHANNELS, node.GetID())

    def unchoose(self, node: Any) -> None:
        """Where this node is chosen, none is from now on."""
        channels = self.channels
        if node in channels:
            self.chooseChannels([one for one in channels if one is not node])
        for name in ("volume", "segmentation", "output", "within", "measureVolume", "measureSegmentation"):
            if getattr(self, name) is node:
                setattr(self, name, None)
