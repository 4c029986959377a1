"""Choosing a file of segments, which become what is painted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import qt
from slicer.i18n import tr as _

from ...progress import Progress
from .host import Host

if TYPE_CHECKING:
    from ..segment_files import LoadedSegments

_FILTER = _(
    "Segmentations (*.seg.nrrd *.nrrd *.dcm *.dicom *.ima *.nii *.nii.gz *.mha *.mhd *.nhdr);;All files (*)"
)


class SegmentFileButton:
    """Controls the button that reads a file of segments onto the chosen volume, into a node of its own."""

    def __init__(self, host: Host) -> None:
        self._host, self.ui = host, host.ui
        self.ui.segmentFileButton.connect("clicked()", self.onPressed)

    def onPressed(self) -> None:
        """Ask for a file, read it and choose the new segmentation; what goes wrong is in the error line."""
        volume = self._host.parameters.volume
        chosen = qt.QFileDialog.getOpenFileName(None, _("Segments from a file"), "", _FILTER)
        if not chosen or volume is None:
            return

        def load(progress: Progress) -> LoadedSegments:
            from ..segment_files import loadSegments

            progress(0.0, _("Reading"))
            return loadSegments(chosen, volume)

        loaded = self._host.workHere(load, _("Cancelled: nothing was read."))
        if loaded is None:
            return
        self._host.parameters.segmentation = loaded.node
        told = _("{names} from a file, in the new segmentation {node}").format(
            names=", ".join(loaded.names), node=loaded.node.GetName()
        )
        self._host.say(result="\n".join([told, *loaded.notes]))
