"""What only the application can prove: the panel pressed, painted in and saved, with the real worker.

Steps have the numbers of docs/try-in-slicer.md. In Slicer's Python console, over an empty scene:

    from MedMetaSegLib.scene.panel.self_test import run; run()
"""

from __future__ import annotations

from .runner import check, run, whySkipped

__all__ = ["check", "run", "whySkipped"]
