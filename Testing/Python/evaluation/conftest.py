"""What the tests of the evaluation share."""

from __future__ import annotations

import pytest

from batch_stand_in import StandInSegmenter, put_in_place


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> StandInSegmenter:
    """A segmenter that gives back one block, in the place of the real one."""
    stand_in = StandInSegmenter()
    put_in_place(stand_in, monkeypatch)
    return stand_in
