"""Which slice to paint next, on answers made of logits."""

from __future__ import annotations

import numpy as np
import pytest

from MedMetaSegLib.confidence.next_slice import (
    BEYOND,
    LEAST_SURE,
    WIDEST_GAP,
    ErrorWeights,
    NextSlice,
    next_slice,
)

SURE = 12.0


def rod(first: int, last: int, planes: int = 40) -> np.ndarray:
    """Logits of a rod of one cross-section on planes first to last, which the network is sure of."""
    logits = np.full((planes, 24, 24), -SURE, np.float32)
    logits[first : last + 1, 6:18, 6:18] = SURE
    return logits


def test_the_middle_of_the_widest_gap_where_the_answer_is_as_sure_everywhere() -> None:
    assert next_slice(rod(5, 33), [5, 11, 27, 33], 1.0) == NextSlice(19, WIDEST_GAP)


def test_an_unsure_part_comes_before_the_widest_gap() -> None:
    logits = rod(5, 33)
    logits[7:10, 6:18, 6:18] = 0.1
    assert next_slice(logits, [5, 11, 27, 33], 1.0) == NextSlice(8, LEAST_SURE)


def test_an_unsure_part_does_not_count_without_its_weight() -> None:
    logits = rod(5, 33)
    logits[7:10, 6:18, 6:18] = 0.1
    assert next_slice(logits, [5, 11, 27, 33], 1.0, ErrorWeights(uncertainty=0)) == NextSlice(19, WIDEST_GAP)


def test_a_long_outline_comes_before_a_short_one_at_the_same_distance() -> None:
    logits = rod(4, 20)
    logits[13:20, 2:22, 2:22] = SURE
    found = next_slice(logits, [4, 12, 20], 1.0)
    assert found is not None
    assert 13 < found.plane < 20


@pytest.mark.parametrize(("first", "last", "side"), [(2, 20, -1), (16, 36, 1)])
def test_beyond_the_painted_slices_where_the_answer_goes_on(first: int, last: int, side: int) -> None:
    found = next_slice(rod(first, last), [15, 17, 21], 1.0)
    assert found is not None
    assert found.reason == BEYOND
    assert (found.plane < 15) if side < 0 else (found.plane > 21)
    assert first <= found.plane <= last


def test_one_painted_slice_is_enough_to_go_on_from() -> None:
    found = next_slice(rod(10, 34), [12.4], 1.0)
    assert found is not None
    assert found.reason == BEYOND
    assert 14 < found.plane <= 34


def test_no_plane_that_is_painted_or_beside_one() -> None:
    painted = [5.0, 9.0, 12.4, 15.0]
    logits = rod(5, 15)
    while (found := next_slice(logits, painted, 1.0)) is not None:
        assert min(abs(found.plane - one) for one in painted) > 1
        painted.append(float(found.plane))
    assert max(np.diff(sorted(painted))) <= 3


@pytest.mark.parametrize("painted", [[7.0], [6.0, 8.0], [6.4, 8.2]])
def test_nothing_is_worth_painting_beside_painted_slices(painted: list[float]) -> None:
    assert next_slice(rod(6, 8), painted, 2.5) is None


def test_nothing_is_worth_painting_where_nothing_was_found() -> None:
    assert next_slice(np.full((16, 8, 8), -3.0, np.float16), [4.0], 1.0) is None


def test_nothing_is_told_without_a_painted_slice() -> None:
    with pytest.raises(ValueError, match="no slice is painted"):
        next_slice(rod(6, 8), [], 1.0)


def test_the_same_whatever_the_order_of_slices_and_the_precision() -> None:
    logits = rod(3, 36) + np.random.default_rng(4).normal(0, 9, (40, 24, 24)).astype(np.float32)
    found = next_slice(logits, [8.5, 20.0, 31.25], 1.7)
    assert found is not None
    assert next_slice(logits.astype(np.float16), [31.25, 8.5, 20.0], 1.7) == found


def test_a_mirrored_answer_has_the_mirrored_slice() -> None:
    logits = rod(3, 30)
    logits[22:26, 8:16, 8:16] = 0.5
    found, mirrored = (next_slice(*one, 1.0) for one in ((logits, [6, 17]), (logits[::-1], [33, 22])))
    assert found is not None
    assert mirrored == NextSlice(39 - found.plane, found.reason)


def test_the_answer_is_left_as_it_was() -> None:
    logits = rod(3, 30)
    before = logits.copy()
    next_slice(logits, [10], 1.0)
    np.testing.assert_array_equal(logits, before)
