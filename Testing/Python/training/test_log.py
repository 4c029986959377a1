"""What a training run says of itself: its log, its picture, validation, and how fast episodes are made."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from MedMetaSegLib import cli
from MedMetaSegLib.network import prompt_channels as prompts
from MedMetaSegLib.network.model import Architecture
from MedMetaSegLib.training import log, throughput
from MedMetaSegLib.training.architecture_picture import draw_architecture
from MedMetaSegLib.training.episode_picture import draw_episodes
from MedMetaSegLib.training.log import EVENTS, PICTURE, TRAINING, VALIDATION, Log
from MedMetaSegLib.training.stream import EpisodeStream
from MedMetaSegLib.training.throughput import Throughput, needed_workers
from MedMetaSegLib.training.trainer import train
from MedMetaSegLib.training.validation import MAX_TIME_FRACTION, Validation, overlaps
from network_phantom import tiny_network
from training_phantom import CPU, SIDE, one_batch, quick

pytestmark = pytest.mark.usefixtures("one_thread")


def rows(path: Path) -> list[list[str]]:
    with path.open() as file:
        return list(csv.reader(file))


def noted(written: Log, steps: range) -> None:
    for step in steps:
        figures = {"loss": 1.0, "dice": 0.5 if step % 2 else float("nan")}
        written.note(step, 2.0 * step, figures, lambda: {"step_s": 0.25})


# ---- the log


def test_the_log_has_a_line_every_fifty_steps(tmp_path: Path) -> None:
    noted(Log(tmp_path), range(1, 101))
    assert rows(tmp_path / TRAINING) == [
        ["step", "seconds", "loss", "dice", "step_s"],
        ["50", "100", "1.0", "0.5", "0.25"],
        ["100", "200", "1.0", "0.5", "0.25"],
    ]


def test_a_resumed_log_takes_back_what_was_written_after_the_checkpoint(tmp_path: Path) -> None:
    first = Log(tmp_path)
    noted(first, range(1, 151))
    first.validated(120, 240, {"dice": 0.7})
    again = Log(tmp_path, step=110)
    noted(again, range(111, 151))
    again.validated(140, 280, {"dice": 0.8})
    assert [row[0] for row in rows(tmp_path / TRAINING)] == ["step", "50", "100", "150"]
    assert rows(tmp_path / VALIDATION) == [["step", "seconds", "dice"], ["140", "280", "0.8"]]


def test_the_picture_of_the_curves_lies_beside_them(tmp_path: Path) -> None:
    written = Log(tmp_path)
    written.draw()
    assert not (tmp_path / PICTURE).exists()
    noted(written, range(1, 101))
    written.draw()
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    written = Log(tmp_path, tensorboard=True)
    noted(written, range(1, 51))
    written.validated(50, 100, {"dice": 0.75})
    written.close()
    events = reader.EventAccumulator(str(tmp_path / EVENTS)).Reload()
    assert [(one.step, one.value) for one in events.Scalars("training/loss")] == [(50, 1.0)]
    assert [(one.step, one.value) for one in events.Scalars("validation/dice")] == [(50, 0.75)]


def test_tensorboard_asked_for_and_not_installed_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(log, "find_spec", lambda name: None)
    out = tmp_path / "run"
    assert cli.run(["train", "--tensorboard", "--device", "cpu", "--out", str(out)]) == 2
    assert "pip install -e '.[training]'" in capsys.readouterr().err
    assert not out.exists()


# ---- validation


def test_validation_looks_at_the_same_episodes_every_time() -> None:
    first, second = (Validation(600, SIDE, number=2) for _ in range(2))
    for one, again in zip(first.episodes, second.episodes, strict=True):
        np.testing.assert_array_equal(one.image, again.image)
    network = tiny_network()
    figures = first.measured(network, CPU)
    assert set(figures) == {"dice", "off_interpolation", "interpolation", "validation_s"}
    assert 0 < figures["interpolation"] <= 1
    again = second.measured(network, CPU)
    assert figures["dice"] == pytest.approx(again["dice"], nan_ok=True)


def test_only_what_interpolation_does_not_say_counts_off_the_interpolation() -> None:
    _, prompt, target, _ = one_batch()
    truth, shape = target > 0, prompt[:, [prompts.SHAPE]] > 0
    assert (shape != truth).any()
    dice, off, interpolation = overlaps(truth, prompt, truth)
    assert (dice, off) == (1.0, 1.0)
    assert 0 < interpolation < 1
    dice, off, interpolation = overlaps(shape, prompt, truth)
    assert dice == interpolation
    assert off == 0.0


def test_validation_takes_no_more_than_its_share_of_the_time() -> None:
    validation = Validation(10, SIDE, number=0)
    validation.took_s = 0.1
    assert not validation.due(9.9)
    assert validation.due(10)
    validation.took_s = 2.0
    assert not validation.due(2.0 / MAX_TIME_FRACTION - 1)
    assert validation.due(2.0 / MAX_TIME_FRACTION + 1)


def test_a_run_validates_its_averaged_weights_and_draws(tmp_path: Path) -> None:
    train(tmp_path, quick(validation_episodes=1), device="cpu")
    header, row = rows(tmp_path / VALIDATION)
    assert header == ["step", "seconds", "dice", "off_interpolation", "interpolation", "validation_s"]
    assert row[0] == "1"
    assert (tmp_path / PICTURE).is_file()


# ---- speed


def test_workers_are_as_many_as_keep_the_network_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "available_cores", lambda: 16)
    assert needed_workers(episode_s=0.4, step_s=0.8, batch=2) == 2
    assert needed_workers(episode_s=0.4, step_s=0.1, batch=2) == 10
    assert needed_workers(episode_s=0.01, step_s=1.0, batch=2) == 1
    assert needed_workers(episode_s=9.0, step_s=0.1, batch=2) == 15
    assert needed_workers(episode_s=9.0, step_s=0.1, batch=2, processes=4) == 3


def test_throughput_tells_learning_waiting_and_making_apart() -> None:
    speed = Throughput(batch=2, workers=3)
    speed.add(learned_s=1.0, gathered_s=0.25, waited_s=0.5, made_s=4.0)
    speed.add(learned_s=2.0, gathered_s=0.25, waited_s=0.0, made_s=2.0)
    assert speed.taken() == {
        "step_s": 1.5,
        "evidence_s": 0.25,
        "wait_s": 0.25,
        "episodes_per_s": 3 * 2 * 2 / 6.0,
        "busy": 3.5 / 4.0,
    }
    speed.add(learned_s=1.0, gathered_s=0.0, waited_s=3.0, made_s=1.0)
    assert speed.taken()["busy"] == 0.25


def test_workers_left_open_are_measured_and_told(tmp_path: Path, capsys) -> None:
    run = train(tmp_path, quick(workers=-1), device="cpu")
    assert run.step == 1
    assert "An episode is made in" in capsys.readouterr().err


# ---- pictures


def test_episodes_are_shown_in_a_picture(tmp_path: Path) -> None:
    draw_episodes(tmp_path / "episodes.png", EpisodeStream(seed=1, side=SIDE), number=2)
    assert (tmp_path / "episodes.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_the_network_says_its_widths(tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw_architecture(tmp_path / "network.svg", Architecture(widths=(7, 11, 13), embedding=5))
    text = (tmp_path / "network.svg").read_text(encoding="utf-8")
    assert all(f"{width} channels" in text for width in (7, 11, 13))
