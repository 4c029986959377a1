"""The panel on the harness: opened over an empty scene, and a patient painted in it."""

from __future__ import annotations

import os
import tempfile

import pytest

from Harness import start
from measure_bench import MeasureBench
from MedMetaSegLib.demo.phantom import make_patient
from panel_bench import MODULE, Bench
from python_slicer import python_slicer


@pytest.fixture(autouse=True)
def qt_messages(error_log):
    """Qt's warnings are errors of the test, too."""
    from PySide6 import QtCore

    before = QtCore.qInstallMessageHandler(error_log.onQtMessage)
    yield
    QtCore.qInstallMessageHandler(before)


@pytest.fixture(scope="module", autouse=True)
def launcher(tmp_path_factory):
    """PythonSlicer on the PATH, as in Slicer: the panel's worker is a child of it."""
    folder = tmp_path_factory.mktemp("launcher")
    python_slicer(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def application():
    """Slicer's application and main window, as the harness has them."""
    return start()


@pytest.fixture(scope="module")
def module(application):
    """The module, loaded as Slicer loads it."""
    one = application.loadModule(MODULE)
    one.widgetRepresentation()
    yield one
    one.unload()


@pytest.fixture
def panel(application, module, tmp_path, monkeypatch):
    """The open panel over an empty scene; private folders go to `tmp_path / "private"`."""
    (tmp_path / "private").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "private"))
    application.mrmlScene().Clear(0)
    application.mainWindow().moduleSelector().selectModule("MedMetaSeg")
    yield module.widget.panel
    application.mrmlScene().Clear(0)
    application.mainWindow().moduleSelector().selectModule("Welcome")


@pytest.fixture
def fresh_module(application):
    """The module loaded once more, over an empty scene, its panel not made yet; it goes after the test."""
    modules = application.mainWindow().moduleSelector().modules
    before = dict(modules)
    application.mrmlScene().Clear(0)
    one = application.loadModule(MODULE)
    yield one
    application.mrmlScene().Clear(0)
    one.unload()
    modules.clear()
    modules.update(before)


@pytest.fixture(scope="module")
def patient():
    """A phantom patient small enough for the worker to be quick."""
    return make_patient(shape=(24, 70, 90), spacing_mm=(8.0, 4.0, 4.0))


@pytest.fixture
def bench(panel, patient):
    """The patient in the open panel, the liver painted on three slices."""
    return Bench(panel, patient).paint("liver")


@pytest.fixture
def folder(panel, tmp_path):
    """An empty folder of tasks, chosen."""
    import qt

    path = tmp_path / "tasks"
    path.mkdir()
    qt.QSettings().setValue("MedMetaSeg/TaskFolder", str(path))
    panel.tasksTab._folder = None
    panel.ui.tabs.setCurrentIndex(1)
    yield path
    qt.QSettings().remove("MedMetaSeg/TaskFolder")
    panel.tasksTab._folder = None
    panel.ui.tabs.setCurrentIndex(0)


@pytest.fixture
def measure_bench(panel, patient):
    """The patient in the Measure tab."""
    yield MeasureBench(panel, patient)
    panel.ui.tabs.setCurrentIndex(0)
