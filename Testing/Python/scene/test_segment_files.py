"""Files of segments read onto a volume of the scene: where they lie, and what they are called."""

from __future__ import annotations

import numpy as np
import pytest

import scene_phantom as fx
import scene_positions as at
from dicom_drawn import FRAME, DrawnCt, Roi, write_rtstruct
from dicom_frames import write_seg
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.volume import read_volume, write_labels
from MedMetaSegLib.support.seg_nrrd import write_segmentation
from MedMetaSegLib.support.structure import Structure, StructureMask

CT = DrawnCt(shape=(9, 16, 14))
LIVER = np.zeros(CT.shape, bool)
LIVER[2:7, 3:12, 2:9] = True
TUMOUR = np.zeros(CT.shape, bool)
TUMOUR[3:5, 6:14, 5:12] = True
MASKS = [
    StructureMask(Structure("Liver", 1, (0.25, 0.5, 0.75), fx.TERMINOLOGY, "Segment_1"), (0, 0, 0), LIVER),
    StructureMask(Structure("Tumour", 2, (1.0, 0.0, 0.0), "", "Segment_2"), (0, 0, 0), TUMOUR),
]


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return read_volume(CT.write(tmp_path_factory.mktemp("ct")))


@pytest.fixture
def volumeNode(scene, volume):
    return fx.addVolume(scene, volume.geometry.affine, volume.array, "CT")


def seg_nrrd(path, volume):
    write_segmentation(path / "drawn.seg.nrrd", MASKS, volume.geometry)
    return path / "drawn.seg.nrrd"


def dicom_seg(path, volume):
    frames = [
        (number, CT.world(np.array([[k, 0, 0]]))[0], mask[k])
        for number, mask in ((1, LIVER), (2, TUMOUR))
        for k in np.flatnonzero(mask.any(axis=(1, 2)))
    ]
    segments = {1: {"SegmentLabel": "Liver"}, 2: {"SegmentLabel": "Tumour"}}
    orientation = CT.turn[:, :2].T.ravel()
    return write_seg(
        path / "seg.dcm", frames, segments, orientation=orientation, pixel_mm=CT.spacing_mm[1:], thickness=2.5
    )


def rtstruct(path, volume, frame=FRAME):
    rois = []
    for number, (name, mask) in enumerate((("Liver", LIVER), ("Tumour", TUMOUR)), start=1):
        places = np.argwhere(mask)[:, 1:]
        (top, left), (bottom, right) = places.min(axis=0) - 0.4, places.max(axis=0) + 0.4
        box = [(top, left), (top, right), (bottom, right), (bottom, left)]
        slices = np.flatnonzero(mask.any(axis=(1, 2)))
        rois.append(Roi(number, name, [CT.contour(k, box) for k in slices], frame_of_reference=frame))
    return write_rtstruct(path / "rs.dcm", rois)


def load(path, volumeNode):
    from MedMetaSegLib.scene import SceneLogic

    logic = SceneLogic()
    return logic.loadSegments(path, volumeNode), logic.lastReport


def places(node, name, volumeNode):
    segmentId = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return at.segmentAt(node, segmentId, at.voxelsInWorld(volumeNode)).reshape(CT.shape)


@pytest.mark.parametrize("write", [seg_nrrd, dicom_seg, rtstruct])
def test_segments_lie_on_the_volume_wherever_it_was_moved_to(scene, tmp_path, volume, volumeNode, write):
    path = write(tmp_path, volume)
    for transform in (None, fx.linear(scene, fx.OBLIQUE), fx.thinPlate(scene)):
        volumeNode.SetAndObserveTransformNodeID(transform and transform.GetID())
        node, report = load(path, volumeNode)
        assert node.GetTransformNodeID() == volumeNode.GetTransformNodeID()
        assert (report["structures"], report["notes"]) == (["Liver", "Tumour"], [])
        for name, mask in (("Liver", LIVER), ("Tumour", TUMOUR)):
            np.testing.assert_array_equal(places(node, name, volumeNode), mask)


def test_what_segments_are_is_kept_and_they_count_as_painted(tmp_path, volume, volumeNode):
    from MedMetaSegLib.scene.reader import readSupport

    node, report = load(seg_nrrd(tmp_path, volume), volumeNode)
    assert node.GetName() == report["segmentation"] == "drawn"
    support = readSupport(node, volumeNode, annotation="complete")
    structures = [one.structure for one in support.structures]
    assert [one.name for one in structures] == ["Liver", "Tumour"]
    assert structures[0].terminology == fx.TERMINOLOGY
    np.testing.assert_allclose(structures[0].color, (0.25, 0.5, 0.75))
    assert support.overlapping


def test_a_label_map_is_read_too(tmp_path, volume, volumeNode):
    write_labels(tmp_path / "labels.nii.gz", LIVER.astype(np.uint8), volume.geometry, volume.forms)
    node, _ = load(tmp_path / "labels.nii.gz", volumeNode)
    np.testing.assert_array_equal(places(node, "Label 1", volumeNode), LIVER)


class StandInDatabase:
    """Stands in for Slicer's DICOM database: one instance, in the frame of reference of the CT."""

    isOpen = True

    def instanceValue(self, uid, tag):
        return FRAME if (uid, tag) == ("1.2.1", "0020,0052") else ""


def test_what_does_not_belong_to_the_volume_leaves_no_trace(scene, tmp_path, volume, volumeNode, monkeypatch):
    import slicer

    before = scene.GetNumberOfNodes()
    monkeypatch.setattr(slicer, "dicomDatabase", StandInDatabase(), raising=False)
    volumeNode.SetAttribute("DICOM.instanceUIDs", "1.2.1 1.2.2")
    other = rtstruct(tmp_path, volume, frame="1.9")
    with pytest.raises(InputError, match="segmentation was drawn in another frame of reference"):
        load(other, volumeNode)
    away = volume.geometry.cropped((40, 0, 0), volume.geometry.shape)
    write_segmentation(tmp_path / "away.seg.nrrd", MASKS, away)
    with pytest.raises(InputError, match="segmentation lies outside the image"):
        load(tmp_path / "away.seg.nrrd", volumeNode)
    with pytest.raises(InputError, match="no segmentation"):
        load(tmp_path / "nothing.dcm", volumeNode)
    assert scene.GetNumberOfNodes() == before
    load(rtstruct(tmp_path, volume), volumeNode)
