"""Training runs: they learn, can be stopped and resumed, and are never left half written."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from MedMetaSegLib import cli
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.network.weights import load_network
from MedMetaSegLib.training import stream, trainer
from MedMetaSegLib.training.stream import EpisodeStream
from MedMetaSegLib.training.synthesis import random_anatomy
from MedMetaSegLib.training.trainer import CHECKPOINT, LOG, WEIGHTS, Run, Schedule, train
from network_phantom import TINY, annotated, ball, batch

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 40
CPU = torch.device("cpu")
QUICK = Schedule(minutes=1e-5, learning_rate=1e-2, warm_up_steps=1)


def make_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training runs make a network of a fraction of the shipped width, from small anatomies, at once."""
    monkeypatch.setattr(trainer, "Architecture", lambda: TINY)
    small = replace(EpisodeStream(0), shuffle=0, episodes_each=1, batch=1)
    monkeypatch.setattr(trainer, "EpisodeStream", partial(replace, small))
    monkeypatch.setattr(stream, "random_anatomy", lambda rng: random_anatomy(rng, SIDE))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch)


def one_batch() -> tuple[torch.Tensor, ...]:
    """Image, condition and target of two episodes of 16 x 32 x 32 voxels."""
    shape = (16, 32, 32)
    target = torch.from_numpy(ball(shape).astype(np.float32)).expand(2, 1, *shape)
    return *batch(annotated(shape, seed=1), annotated(shape, seed=2)), target


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A run of one step, its episodes made by a worker, and its folder; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        return folder, train(folder, QUICK, workers=1, device="cpu")


# ---- learning


def test_a_few_steps_lower_the_loss_on_one_batch(tiny: None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = Run(tmp_path, Schedule(minutes=1, learning_rate=1e-2, warm_up_steps=1), CPU, resume=False)
    shown = one_batch()
    losses = [run.learn(*shown)["loss"] for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_rate_warms_up_and_falls_over_the_time_given() -> None:
    schedule = Schedule(minutes=10, warm_up_steps=100)
    assert schedule.rate(0, 0) == pytest.approx(schedule.learning_rate * 1.01 / 100)
    rates = [schedule.rate(500, seconds) for seconds in (0, 150, 300, 450, 600, 900)]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.02 * rates[0]


def test_a_run_leaves_a_checkpoint_and_weights_that_load(finished: tuple[Path, Run]) -> None:
    folder, run = finished
    assert run.step == 1
    network, provenance = load_network(folder / WEIGHTS)
    assert network.architecture == TINY
    assert provenance["steps"] == 1
    assert provenance["device"] == "cpu"
    assert sorted(one.name for one in folder.iterdir()) == [CHECKPOINT, WEIGHTS]


def test_the_weights_are_the_moving_average(finished: tuple[Path, Run]) -> None:
    folder, run = finished
    written = load_network(folder / WEIGHTS)[0].state_dict()
    for name, tensor in run.averaged.module.state_dict().items():
        torch.testing.assert_close(written[name], tensor.half().float(), rtol=0, atol=0)


def test_resuming_goes_on_counting_and_keeps_what_was_learned(tiny: None, tmp_path: Path) -> None:
    first = Run(tmp_path, QUICK, CPU, resume=False)
    shown = one_batch()
    for _ in range(3):
        first.learn(*shown)
    first.seconds = 12.5
    first.save()
    second = Run(tmp_path, QUICK, CPU, resume=True)
    assert (second.step, second.seconds, second.starts) == (3, 12.5, 1)
    for one, again in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, again)
    assert first.learn(*shown)["loss"] == pytest.approx(second.learn(*shown)["loss"], rel=1e-4)
    assert second.step == 4


def test_a_resumed_run_sees_other_episodes(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, small = [], trainer.EpisodeStream

    def noted(seed: int, **options: object) -> EpisodeStream:
        seeds.append(seed)
        return small(seed=seed, **options)

    monkeypatch.setattr(trainer, "EpisodeStream", noted)
    for resume in (False, True):
        run = train(tmp_path, QUICK, workers=0, device="cpu", resume=resume, seed=5)
    assert run.step == 2
    assert seeds[0] == 5
    assert seeds[0] != seeds[1]


def test_an_existing_checkpoint_is_not_overwritten_unasked(finished: tuple[Path, Run], capsys) -> None:
    folder, _ = finished
    before = (folder / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match=r"--resume.*--out"):
        train(folder, QUICK, workers=0, device="cpu")
    assert cli.run(["train", "--out", str(folder), "--minutes", "0.01", "--device", "cpu"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert (folder / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("interrupted", ["save", "replace"])
def test_a_save_that_is_killed_leaves_the_checkpoint_before_it(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    run = Run(tmp_path, QUICK, CPU, resume=False)
    run.step = 1
    run.save()
    run.step = 2

    def killed(state: object, path: Path, *_: object) -> None:
        if interrupted == "save":
            Path(path).write_bytes(b"half a checkpoi")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((torch, "save") if interrupted == "save" else (trainer.os, "replace")), killed)
        with pytest.raises(KeyboardInterrupt):
            run.save()
    assert Run(tmp_path, QUICK, CPU, resume=True).step == 1
    assert load_network(tmp_path / WEIGHTS)[1]["steps"] == 1


def test_the_log_has_a_line_every_fifty_steps(tiny: None, tmp_path: Path) -> None:
    run = Run(tmp_path, QUICK, CPU, resume=False)
    for step in range(1, 101):
        run.step, run.seconds = step, 2.0 * step
        run.note({"loss": 1.0, "dice": 0.5 if step % 2 else float("nan")})
    with (tmp_path / LOG).open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["step", "seconds", "loss", "dice"],
        ["50", "100", "1.0", "0.5"],
        ["100", "200", "1.0", "0.5"],
    ]


def test_a_loss_that_is_not_finite_stops_the_run(tiny: None, tmp_path: Path) -> None:
    run = Run(tmp_path, QUICK, CPU, resume=False)
    image, condition, target = one_batch()
    with pytest.raises(RuntimeError, match="resume from the last checkpoint"):
        run.learn(image * float("nan"), condition, target)


# ---- the command


def test_the_command_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {}

    def noted(folder: Path, schedule: Schedule, **options: object) -> None:
        asked.update(options, folder=folder, schedule=schedule)

    monkeypatch.setattr(trainer, "train", noted)
    arguments = [
        "--minutes",
        "2.5",
        "--out",
        tmp_path,
        "--data",
        tmp_path / "d",
        "--workers",
        "3",
        "--seed",
        "9",
    ]
    assert cli.run(["train", *map(str, arguments), "--resume", "--device", "cpu"]) == 0
    assert asked == {
        "folder": tmp_path,
        "schedule": Schedule(minutes=2.5),
        "data": tmp_path / "d",
        "workers": 3,
        "seed": 9,
        "resume": True,
        "device": "cpu",
        "start": None,
    }


def test_cuda_asked_for_where_there_is_none_is_refused(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path / "run"
    assert cli.run(["train", "--out", str(out), "--device", "cuda"]) == 2
    assert "CUDA was asked for" in capsys.readouterr().err
    assert not out.exists()


def test_without_cuda_auto_trains_on_the_cpu(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert trainer.main(minutes=1e-5, out=tmp_path, workers=0).device == CPU


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_few_steps_lower_the_loss_on_cuda(tiny: None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    device = torch.device("cuda")
    run = Run(tmp_path, Schedule(minutes=1, learning_rate=1e-2, warm_up_steps=1), device, resume=False)
    shown = [part.to(device) for part in one_batch()]
    losses = [run.learn(*shown)["loss"] for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


def test_training_may_begin_with_given_weights_and_says_so(tmp_path: Path, one_thread: None) -> None:
    schedule = Schedule(minutes=1.0)
    first = Run(tmp_path / "first", schedule, torch.device("cpu"), resume=False)
    first.save()
    weights = tmp_path / "first" / "medmetaseg.safetensors"
    second = Run(tmp_path / "second", schedule, torch.device("cpu"), resume=False, start=weights)
    for name, value in second.network.state_dict().items():
        assert torch.equal(value.half(), first.averaged.module.state_dict()[name].half())
    second.save()
    again = Run(tmp_path / "second", schedule, torch.device("cpu"), resume=True)
    assert again.began_with["steps"] == 0
