"""A real sequence of volumes in a real browser, for the scene tests and the panel's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

import scene_phantom as fx

INDEX_VALUES = ("0", "62.5", "125")


def add_sequence(
    scene: Any,
    arrays: Sequence[np.ndarray],
    matrices: Sequence[np.ndarray],
    values: Sequence[str] = INDEX_VALUES,
    name: str = "Heart",
) -> tuple[Any, Any]:
    """(browser, the volume that shows its items). Needs the logic of `scrubbing`."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("ms")
    for array, matrix, value in zip(arrays, matrices, values, strict=True):
        volume = fx.addVolume(scene, matrix, array, "item")
        sequence.SetDataNodeAtValue(volume, value)
        scene.RemoveNode(volume.GetDisplayNode())
        scene.RemoveNode(volume)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return browser, browser.GetProxyNode(sequence)


@cache
def scrubbing(scene: Any) -> Any:
    """What Slicer's Sequences module has: the logic that makes volumes follow their browsers.

    One for all tests, as in Slicer: each registers its nodes in the scene, which warns of a second time.
    """
    import slicer

    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)
    return logic
