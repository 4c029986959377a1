"""What `medmetaseg segment` is asked for, and the names of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..imageio.files import stem, suffix
from ..imageio.frames import Frames
from ..measurements.measurements import MeasureOptions
from ..measurements.table import lesions_path
from .channels import ChannelFile

if TYPE_CHECKING:
    from ..support.support import Annotation

LABEL_MAPS = (".nii.gz", ".nii", ".nrrd", ".mha")
SEGMENTATION, DICOM = ".seg.nrrd", ".dcm"
SEGMENTATIONS = (SEGMENTATION, DICOM)
"""Formats in which structures may overlap."""
_MAPS_OF_SEGMENTATION = ".nrrd"
"""Format of uncertainty maps beside SEGMENTATIONS; beside a label map they have its own."""


@dataclass(frozen=True)
class SegmentRequest:
    """The arguments of `medmetaseg segment`, under the names of its options.

    table, measure: where and how the result is measured; both None where it is not.
    """

    image: Path
    support: Path
    out: Path
    annotation: Annotation = "slices"
    plane: str | None = None
    structures: tuple[str, ...] = ()
    report: Path | None = None
    device: str = "auto"
    allow_nonfinite: bool = False
    resample_uneven: bool = False
    keep_islands: bool = False
    save_task: Path | None = None
    quality: str = "balanced"
    adapt: bool = False
    confidence: bool = True
    uncertainty: Path | None = None
    frames: Frames = None
    table: Path | None = None
    measure: MeasureOptions | None = None
    within: Path | None = None
    channels: tuple[ChannelFile, ...] = ()

    @property
    def inputs(self) -> dict[str, Path]:
        """The files that are read, by what messages call them."""
        region = {} if self.within is None else {"the region": self.within}
        channels = {f"the channel {one.name}": one.path for one in self.channels}
        return {"the image": self.image, "the support": self.support, **region, **channels}

    def out_of(self, frame: int | None) -> Path:
        """The result of a frame: of all frames each has a name of its own."""
        return self._of(frame, self.out)

    def table_of(self, frame: int | None) -> Path:
        """The table of what was measured in a frame."""
        assert self.table is not None
        return self._of(frame, self.table)

    def outputs_of(self, frame: int | None) -> list[Path]:
        """The result of a frame and, where it is measured, the tables."""
        if self.table is None:
            return [self.out_of(frame)]
        table = self.table_of(frame)
        return [self.out_of(frame), table, lesions_path(table)]

    def _of(self, frame: int | None, path: Path) -> Path:
        if self.frames != "all" or frame is None:
            return path
        name = stem(path)
        return path.with_name(f"{name}_frame{frame}{path.name[len(name) :]}")

    def map_of(self, name: str, frame: int | None) -> Path:
        """The uncertainty map of a structure, under a name from `map_names`, in a frame."""
        assert self.uncertainty is not None
        number = f"_frame{frame}" if self.frames == "all" and frame is not None else ""
        kind = suffix(self.out)
        return self.uncertainty / f"{name}{number}{_MAPS_OF_SEGMENTATION if kind in SEGMENTATIONS else kind}"
