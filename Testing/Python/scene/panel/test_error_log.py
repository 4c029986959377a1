"""The log that fails a test: each kind of error is in it, and what a test expects is not held against it."""

from __future__ import annotations

import logging

import pytest

from error_log import ErrorLog


def of_vtk():
    import vtk

    vtk.vtkOutputWindow.GetInstance().DisplayErrorText("ERROR: it went wrong")


def of_a_vtk_observer():
    import vtk

    node = vtk.vtkObject()
    node.AddObserver("ModifiedEvent", lambda caller, event: 1 / 0)
    node.Modified()


def of_a_qt_slot():
    import qt

    timer = qt.QTimer()
    timer.connect("timeout()", lambda: 1 / 0)
    timer.timeout.emit()


def of_qt():
    from PySide6 import QtCore

    QtCore.qWarning("it went wrong")


def of_logging():
    logging.getLogger("slicer").error("it went wrong")


def of_what_cannot_be_raised():
    class Fragile:
        def __del__(self):
            raise ZeroDivisionError

    Fragile()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (of_vtk, "VTK: ERROR: it went wrong"),
        (of_a_vtk_observer, "ZeroDivisionError"),
        (of_a_qt_slot, "ZeroDivisionError"),
        (of_qt, "Qt: it went wrong"),
        (of_logging, "logging: it went wrong"),
        (of_what_cannot_be_raised, "unraisable: .*ZeroDivisionError"),
    ],
)
def test_every_kind_of_error_is_collected(application, error_log, fault, says):
    fault()
    error_log.expect(says)


def test_without_being_expected_it_is_a_fault_and_so_is_what_does_not_come(error_log):
    error_log.expect("it went wrong")
    with ErrorLog() as log:
        of_logging()
    assert log.unexpected() == ["logging: it went wrong"]
    log.expect("it went wrong")
    assert log.unexpected() == []
    log.expect("something else")
    assert log.unexpected() == ["expected, but not there: something else"]
