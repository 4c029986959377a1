"""`slicer.app`, `slicer.modules` and what loads a scripted module, around a real MRML scene."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import types
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtWidgets

from MedMetaSegLib.demo.slicer_core import boot

from . import ctk_widgets, pythonqt, qmrml_widgets, segment_editor

_STAND_INS = Path(__file__).parent / "standins"
_SOURCES = ("i18n", "parameterNodeWrapper", "ScriptedLoadableModule")


class Application(QtWidgets.QApplication):
    """Stands in for qSlicerApplication: one scene, one main window with a module selector."""

    majorVersion, minorVersion = 5, 12
    startupCompleted = QtCore.Signal()

    def prepare(self) -> None:
        core = boot()
        self._scene, self._logic = core.scene, core.applicationLogic
        self._window, self._moduleManager = _MainWindow(), _ModuleManager()
        # Settings of the tests' own; nothing of the user's is read or written.
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        self._settings = tempfile.TemporaryDirectory(prefix="slicer-settings-")
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, self._settings.name)

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def coreIOManager(self) -> Any:
        return _CoreIOManager(self._scene)

    def moduleManager(self) -> Any:
        return self._moduleManager

    def mainWindow(self) -> Any:
        return self._window

    def testingEnabled(self) -> bool:
        return True

    def translate(self, context: str, text: str) -> str:
        return text

    def settings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    userSettings = settings

    @property
    def temporaryPath(self) -> str:
        return tempfile.gettempdir()

    def loadModule(self, path: Path | str) -> ScriptedModule:
        """Load a scripted module's file as Slicer does when it starts."""
        module = ScriptedModule(Path(path))
        self._window.selector.modules[module.name] = module
        return module


class _CoreIOManager:
    """What slicer.util loads and saves nodes with: Slicer's own storage nodes."""

    _CLASSES = {  # noqa: RUF012
        "VolumeFile": ("vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode"),
        "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode"),
    }

    def __init__(self, scene: Any) -> None:
        self._scene = scene

    def loadNodes(self, fileType: str, properties: dict[str, Any], loaded: Any, messages: Any) -> bool:
        nodeClass, storageClass = self._CLASSES[fileType]
        path = Path(properties["fileName"])
        node = self._scene.AddNewNodeByClass(nodeClass, path.name.partition(".")[0])
        storage = self._scene.AddNewNodeByClass(storageClass)
        storage.SetFileName(str(path))
        if not storage.ReadData(node):
            self._scene.RemoveNode(node)
            self._scene.RemoveNode(storage)
            return False
        node.SetAndObserveStorageNodeID(storage.GetID())
        loaded.AddItem(node)
        return True

    def fileWriterFileType(self, node: Any) -> str:
        return next(fileType for fileType, (name, _) in self._CLASSES.items() if node.IsA(name))

    def saveNodes(self, fileType: str, properties: dict[str, Any], messages: Any) -> bool:
        path = properties["fileName"]
        if fileType == "SceneFile":
            if not path.endswith(".mrb"):
                raise NotImplementedError("The harness saves a scene as .mrb only.")
            return self._scene.WriteToMRB(path)
        node = self._scene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        return bool(storage.WriteData(node))


class _ModuleManager(QtCore.QObject):
    """Slicer's own ScriptedLoadableModuleWidget listens to its signal; modules are unloaded by `unload`."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def module(self, name: str) -> Any:
        import slicer

        return getattr(slicer.modules, name.lower(), None)


@dataclass
class _ModuleSelector:
    """Remembers which module was selected; enters and leaves those that are loaded."""

    modules: dict[str, Any] = field(default_factory=dict)
    selected: str = ""

    def selectModule(self, name: str) -> None:
        if self.selected in self.modules:
            self.modules[self.selected].exit()
        self.selected = name
        if name in self.modules:
            self.modules[name].enter()


class _MainWindow(QtWidgets.QWidget):
    """What slicer.util.mainWindow finds."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.selector = _ModuleSelector()

    def moduleSelector(self) -> _ModuleSelector:
        return self.selector


class qSlicerScriptedLoadableModuleWidget(qmrml_widgets.qMRMLWidget):
    """What a module's Python widget fills; `self()` is that."""

    def __init__(self, moduleName: str) -> None:
        super().__init__()
        self.setLayout(QtWidgets.QVBoxLayout(self))
        self._moduleName = moduleName
        self.isEntered = False
        self.python: Any = None

    def reload(self) -> None:
        """Make the Python widget, of the class that is there now; as in Slicer, `enter` is not called."""
        import slicer

        name = f"{self._moduleName}Widget"
        self.python = getattr(sys.modules[self._moduleName], name)(self)
        setattr(slicer.modules, name, self.python)
        self.python.setup()

    def self(self) -> Any:
        return self.python


class ScriptedModule:
    """Stands in for qSlicerScriptedLoadableModule: holds a module's metadata, makes and enters its widget."""

    def __init__(self, path: Path) -> None:
        import slicer

        self.path, self.name = str(path), path.stem
        self.icon: Any = None
        specification = importlib.util.spec_from_file_location(self.name, path)
        assert specification is not None
        assert specification.loader is not None
        self.python = importlib.util.module_from_spec(specification)
        sys.modules[self.name] = self.python
        specification.loader.exec_module(self.python)
        setattr(slicer.modules, self.name.lower(), self)
        self.instance = getattr(self.python, self.name)(self)
        self._representation: Any = None

    def widgetRepresentation(self) -> Any:
        """The panel as Slicer would show it, made the first time it is asked for."""
        import slicer

        if self._representation is None:
            self._representation = qSlicerScriptedLoadableModuleWidget(self.name)
            self._representation.setMRMLScene(slicer.mrmlScene)
            self._representation.reload()
        return self._representation

    @property
    def widget(self) -> Any:
        """The module's Python widget; None before it was made."""
        return self._representation.python if self._representation is not None else None

    def enter(self) -> None:
        self.widgetRepresentation().isEntered = True
        self.widget.enter()

    def exit(self) -> None:
        self._representation.isEntered = False
        self.widget.exit()

    def reload(self) -> None:
        """What the button Reload does in developer mode."""
        self.widget.onReload()

    def unload(self) -> None:
        """What Slicer does with the module when it quits."""
        if self.widget is not None:
            self.widget.cleanup()
            # What their destructors do in Slicer.
            for selector in self._representation.findChildren(qmrml_widgets.qMRMLNodeComboBox):
                selector.setMRMLScene(None)
            self._representation.deleteLater()
            self._representation = None


def _importFrom(folder: Path, name: str) -> None:
    """Make a module or package of `folder` slicer.`name`; what else lies there is not taken."""
    import slicer

    full = f"slicer.{name}"
    specification = PathFinder.find_spec(full, [str(folder)])
    if specification is None or specification.loader is None:
        raise RuntimeError(f"SLICER_PYTHON_SOURCES names {folder}, in which there is no {name}.")
    sys.modules[full] = importlib.util.module_from_spec(specification)
    setattr(slicer, name, sys.modules[full])
    specification.loader.exec_module(sys.modules[full])


def start() -> Application:
    """The application; made the first time."""
    import slicer
    import slicer.util

    running = QtWidgets.QApplication.instance()
    if running is not None:
        if not isinstance(running, Application):
            raise RuntimeError("Another Qt application is running in this process.")
        return running
    application = Application(sys.argv[:1])
    application.prepare()
    slicer.app = application
    sys.modules["qt"], sys.modules["ctk"] = pythonqt, ctk_widgets
    for name, widget in qmrml_widgets.WIDGETS.items():
        setattr(slicer, name, widget)
    slicer.qSlicerScriptedLoadableModuleWidget = qSlicerScriptedLoadableModuleWidget
    folder = Path(os.environ.get("SLICER_PYTHON_SOURCES") or _STAND_INS)
    for name in _SOURCES:
        _importFrom(folder, name)
    slicer.qMRMLSegmentEditorWidget = segment_editor.qMRMLSegmentEditorWidget
    application.mainWindow().selector.modules["SegmentEditor"] = segment_editor.SegmentEditorModule()
    slicer.moduleNames = types.SimpleNamespace()
    return application
