"""Volumes in the worker's folder: each written once, and gone when no job names it any more."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume
from MedMetaSegLib.worker.sent_volumes import SentVolumes


def volume(value: int) -> Volume:
    return Volume.from_array(np.full((4, 5, 6), value, np.int16), Geometry((4, 5, 6), np.eye(4)), str(value))


def written(sent: SentVolumes) -> int:
    """How many pieces there were to write."""
    pieces = 0
    while sent.write_piece():
        pieces += 1
    return pieces


def test_a_volume_is_written_once_under_its_key(tmp_path: Path) -> None:
    sent = SentVolumes(tmp_path)
    first = sent.of_job(1, [(volume(1), "ct"), (volume(2), "t1")])
    assert written(sent) == 2
    again = sent.of_job(2, [(volume(1), "ct"), (volume(2), "t1")])
    assert again == first
    assert written(sent) == 0
    assert [int(np.load(one["file"]).max()) for one in again] == [1, 2]


def test_what_a_job_does_not_name_is_removed(tmp_path: Path) -> None:
    sent = SentVolumes(tmp_path)
    sent.of_job(1, [(volume(1), "ct"), (volume(2), "t1")])
    written(sent)
    (ct,) = sent.of_job(2, [(volume(1), "ct")])
    assert [path.name for path in tmp_path.iterdir()] == [Path(ct["file"]).name]


def test_without_keys_volumes_are_sent_anew(tmp_path: Path) -> None:
    sent = SentVolumes(tmp_path)
    for job in (1, 2):
        told = sent.of_job(job, [(volume(job), None), (volume(10 * job), None)])
        assert written(sent) == 2
        assert [int(np.load(one["file"]).max()) for one in told] == [job, 10 * job]
    assert len(list(tmp_path.iterdir())) == 2
