"""The measurement of batches: a row per way, real commands with a stand-in network, memory per image."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from batch_stand_in import Elsewhere, StandInSegmenter, rows_of, write_noise
from MedMetaSegLib.evaluation import throughput
from MedMetaSegLib.evaluation.throughput import draw_memory, main, memory_mb
from task_phantom import make_task


def test_rows_of_one_task(elsewhere: Elsewhere, tmp_path: Path) -> None:
    images = elsewhere.images(3)
    main(elsewhere.folder / "two.medmetaseg", tmp_path / "out", images, [1, 2], 2, 0, "cpu")
    rows = rows_of(tmp_path / "out" / "batch_throughput.csv")
    assert [(row["name"], row["way"], row["images"]) for row in rows] == [
        ("two", "a command per image", "2"),
        ("two", "1 worker", "3"),
        ("two", "2 workers", "3"),
    ]
    for row in rows:
        assert float(row["images_per_minute"]) * float(row["seconds"]) / 60 > 0.95 * float(row["images"])
    names = [name for name, _ in elsewhere.applied]
    assert sorted(names) == sorted(["p000", "p001"] + 2 * ["p000", "p001", "p002"])
    assert len({process for _, process in elsewhere.applied[:2]}) == 2, "a command each"


def test_memory_after_every_image(segmenter: StandInSegmenter, tmp_path: Path) -> None:
    make_task().write(tmp_path / "two.medmetaseg")
    write_noise(tmp_path / "noise.nii.gz")
    taken = memory_mb(tmp_path / "two.medmetaseg", 5 * [tmp_path / "noise.nii.gz"], "cpu")
    assert len(taken) == len(segmenter.applied) == 5
    assert all(mb > 10 for mb in taken)
    draw_memory(taken, tmp_path / "pictures" / "memory.png")
    assert (tmp_path / "pictures" / "memory.png").stat().st_size > 1000


def test_a_task_without_images_is_refused(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="give the images"):
        main(elsewhere.folder / "two.medmetaseg", tmp_path / "out", None, [1], 1, 0, "cpu")
    assert not (tmp_path / "out").exists()


def test_memory_is_refused_before_anything_is_measured_where_the_system_does_not_tell_it(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "STATUS", tmp_path / "nowhere")
    with pytest.raises(typer.BadParameter, match="on Linux only: leave out --repeat"):
        main(elsewhere.folder / "two.medmetaseg", tmp_path / "out", elsewhere.images(1), [1], 1, 5, "cpu")
    assert not (tmp_path / "out").exists()
