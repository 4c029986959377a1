"""Volumes of a scene as channels of another: where they lie, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from MedMetaSegLib.errors import InputError
from scene_stand_in import StandInSegmenter


def readChannels(nodes, volumeNode):
    from MedMetaSegLib.scene.channels import readChannels

    return readChannels(nodes, volumeNode)


def under(node, transform):
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def test_a_channel_lies_where_its_transforms_put_it(scene):
    volumeNode = under(fx.addVolume(scene, name="CT"), fx.linear(scene, fx.moved(3, 4, 5)))
    turned = fx.linear(scene, fx.rotation(20, (1, 2, 3)))
    channelNode = under(fx.addVolume(scene, name="T1"), turned)
    (channel,) = readChannels([channelNode], volumeNode)
    assert channel.name == "T1"
    points = channel.volume.geometry.index_to_world(np.argwhere(np.ones(fx.SHAPE, bool)))
    np.testing.assert_allclose(points, at.voxelsInWorld(channelNode), atol=1e-6)


def test_under_one_bent_transform_both_lie_in_its_space(scene):
    bent = fx.thinPlate(scene)
    volumeNode, channelNode = (under(fx.addVolume(scene, name=name), bent) for name in ("CT", "T1"))
    (channel,) = readChannels([channelNode], volumeNode)
    np.testing.assert_allclose(channel.volume.geometry.affine, fx.STRAIGHT, atol=1e-9)


@pytest.mark.parametrize("bent", ["CT", "T1"])
def test_a_bent_transform_between_the_two_is_refused(scene, bent):
    volumeNode, channelNode = (fx.addVolume(scene, name=name) for name in ("CT", "T1"))
    under(volumeNode if bent == "CT" else channelNode, fx.thinPlate(scene))
    with pytest.raises(InputError, match="not linear lies between 'T1' and 'CT'"):
        readChannels([channelNode], volumeNode)


def test_two_volumes_of_one_name_are_refused(scene):
    volumeNode, channelNode = (fx.addVolume(scene, name="CT") for _ in range(2))
    with pytest.raises(InputError, match="Two volumes are called 'CT'"):
        readChannels([channelNode], volumeNode)


def test_a_volume_is_no_channel_of_its_own(scene):
    volumeNode = fx.addVolume(scene, name="CT")
    with pytest.raises(InputError, match="'CT' is the volume itself"):
        readChannels([volumeNode], volumeNode)


def test_the_logic_hands_channels_over(scene):
    from MedMetaSegLib.scene.logic import SceneLogic

    segmenter = StandInSegmenter()
    volumeNode, channelNode = (fx.addVolume(scene, name=name) for name in ("CT", "T1"))
    segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    fx.paint(segmentationNode, volumeNode)
    logic = SceneLogic(lambda device: segmenter)
    logic.segment(volumeNode, segmentationNode, channels=[channelNode])
    logic.segment(volumeNode, segmentationNode)
    assert [[one.name for one in options["channels"]] for options in segmenter.options] == [["T1"], []]
