"""What a segment holds, compared between two moments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import scene_phantom as fx

masks = npst.arrays(bool, npst.array_shapes(min_dims=3, max_dims=3, max_side=6))


def content(mask, offset=(0, 0, 0), affine=fx.OBLIQUE):
    from MedMetaSegLib.scene.segment_content import SegmentContent

    return SegmentContent.of_mask(mask, offset, affine)


@given(masks, st.tuples(*[st.integers(-9, 9)] * 3), st.integers(0, 3))
def test_it_does_not_depend_on_how_the_mask_is_cropped_and_survives_as_text(mask, offset, margin):
    one = content(mask, offset)
    padded = content(np.pad(mask, margin), tuple(start - margin for start in offset))
    assert one.is_same_as(padded)
    text = one.as_text()
    assert not set(text) & set(":|\n")
    assert one.is_same_as(type(one).from_text(text))


@given(masks, st.data())
def test_one_voxel_more_or_less_is_another_content(mask, data):
    index = tuple(data.draw(st.integers(0, size - 1)) for size in mask.shape)
    other = mask.copy()
    other[index] = not other[index]
    assert not content(mask).is_same_as(content(other))


@pytest.mark.parametrize("axis", range(3))
def test_another_place_is_another_content_and_a_rounding_error_is_none(axis):
    mask = np.ones((2, 3, 4), bool)
    offset = [0, 0, 0]
    offset[axis] = 1
    assert not content(mask).is_same_as(content(mask, tuple(offset)))
    assert content(mask).is_same_as(content(mask, affine=fx.moved(1e-6, 0, 0) @ fx.OBLIQUE))


@pytest.mark.parametrize("text", ["", "abc", "abc 1 2", "abc x", "- 1"])
def test_other_text_is_no_content(text):
    from MedMetaSegLib.scene.segment_content import SegmentContent

    assert SegmentContent.from_text(text) is None


def test_segments_of_a_shared_labelmap_are_told_apart(scene):
    from MedMetaSegLib.scene.segment_content import contentOf, masksOf

    _, node = fx.PLACEMENTS[0].build(scene)
    segmentation = node.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    empty = segmentation.AddEmptySegment("", "empty")
    found = masksOf(segmentation, [*ids, empty, "not there"])
    drawn = np.zeros(fx.SHAPE, bool)
    drawn[2::4] = True
    for one, value in zip(ids, (fx.LIVER, fx.KIDNEY), strict=True):
        assert found[one][0].sum() == ((fx.phantom() == value) & drawn).sum()
    assert not found[empty][0].size
    assert list(found) == [*ids, empty]
    assert contentOf(segmentation, [empty])[empty].voxels == ""
