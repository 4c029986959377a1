"""What the tests of the commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_stand_in import StandInSegmenter, put_in_place
from command_files import write_image_and_painting


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> StandInSegmenter:
    """A segmenter that gives back one block, in the place of the real one."""
    stand_in = StandInSegmenter()
    put_in_place(stand_in, monkeypatch)
    return stand_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ct.nii.gz and painted.nii.gz (labels 3 and 7 on two slices each), and a folder `out`."""
    write_image_and_painting(tmp_path)
    return tmp_path
