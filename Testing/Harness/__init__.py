"""The Slicer application, stood in for: its modules load, are clicked and are photographed without it.

    from Harness import start
    application = start()
    module = application.loadModule("MedMetaSeg/MedMetaSeg.py")
    widget = module.widgetRepresentation()

MRML nodes and logics are Slicer's own (slicer-core). Qt is PySide6 made to behave like PythonQt (`pythonqt`);
the qMRML widgets (`qmrml_widgets`) and `slicer.app` (`application`) are stand-ins. So are
ScriptedLoadableModule, parameterNodeWrapper and i18n in `standins/`, unless the environment variable
SLICER_PYTHON_SOURCES names a folder that holds Slicer's own. Only what this project's panel and its tests
need is here.
"""

from __future__ import annotations

from .application import Application, start

__all__ = ["Application", "start"]
