"""Organs of a scene that are measured, and where they lie."""

from __future__ import annotations

import numpy as np

import scene_phantom as fx


def whole(scene, matrix=fx.STRAIGHT):
    """Volume and segmentation with the liver, the kidney and an empty segment on the volume's voxels."""
    volumeNode = fx.addVolume(scene, matrix)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    for name, value in (("liver", fx.LIVER), ("kidney", fx.KIDNEY)):
        fx.addSegment(node, name, fx.phantom() == value, matrix)
    fx.addSegment(node, "nothing", None, matrix)
    return volumeNode, node


def under(scene, matrix, *nodes):
    transform = fx.linear(scene, matrix)
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def centre(value, matrix):
    """The mean position of a structure's voxels, (r, a, s)."""
    return (matrix @ np.append(np.argwhere(fx.phantom() == value)[:, ::-1].mean(axis=0), 1))[:3]


def matrix_of(array):
    import slicer.util

    return slicer.util.vtkMatrixFromArray(array)
