"""Training runs: they learn, can be stopped and resumed, and are never left half written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from MedMetaSegLib import cli
from MedMetaSegLib.errors import CancelledPartway, InputError
from MedMetaSegLib.imageio import files as image_file
from MedMetaSegLib.network.model import Architecture
from MedMetaSegLib.network.weights import load_network
from MedMetaSegLib.training import trainer
from MedMetaSegLib.training.config import Schedule, TrainingConfig
from MedMetaSegLib.training.run import CHECKPOINT, WEIGHTS, Run, prototype_loss
from MedMetaSegLib.training.stream import EpisodeStream, moved
from MedMetaSegLib.training.trainer import train
from network_phantom import TINY
from training_phantom import CPU, QUICK, QUICK_TOML, one_batch, quick

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A run of one step, its episodes made by a worker, and its folder; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, train(folder, quick(workers=1), device="cpu")


# ---- learning


def test_a_few_steps_lower_the_loss_on_one_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = Run(tmp_path, QUICK, CPU)
    shown = one_batch()
    losses = [run.learn(shown)["loss"] for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


def test_prototypes_learn_to_carry_to_the_next_patient(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = Run(tmp_path, QUICK, CPU)
    image, prompt, target, _ = one_batch()
    support = torch.cat([image.flip(-1), target.flip(-1), 1 - target.flip(-1)], 1)
    figures = [run.learn((image, prompt, target, support)) for _ in range(12)]
    assert figures[-1]["loss"] < 0.8 * figures[0]["loss"]
    assert figures[-1]["task_ridge_score"] > max(0.5, figures[0]["task_ridge_score"])


def test_where_a_structure_is_not_there_only_what_was_learned_elsewhere_is_taught() -> None:
    scores = torch.randn(2, 4, 8, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    target = one_batch()[2].clone()
    target[1] = 0
    prototype_loss(scores, target).backward()
    assert scores.grad is not None
    taught = scores.grad.abs().amax((2, 3, 4)) > 0
    assert taught.tolist() == [[True] * 4, [False, False, True, True]]


def test_the_rate_warms_up_and_falls_over_the_time_given() -> None:
    schedule = Schedule(minutes=10, warm_up_steps=100)
    assert schedule.rate(0, 0) == pytest.approx(schedule.learning_rate * 1.01 / 100)
    rates = [schedule.rate(500, seconds) for seconds in (0, 150, 300, 450, 600, 900)]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.02 * rates[0]


def test_a_number_of_steps_learns_at_the_same_rates_however_fast_it_goes() -> None:
    schedule = Schedule(minutes=600, steps=200, warm_up_steps=10)
    fast, slow = ([schedule.rate(step, pace * step) for step in range(0, 200, 20)] for pace in (0.1, 9.0))
    assert fast == slow
    assert fast[1:] == sorted(fast[1:], reverse=True)
    assert schedule.rate(199, 1.0) < 0.02 * schedule.learning_rate


def test_a_run_leaves_a_checkpoint_and_weights_that_load(finished: tuple[Path, Run]) -> None:
    folder, run = finished
    assert run.step == 1
    network, provenance = load_network(folder / WEIGHTS)
    assert network.architecture == TINY
    assert provenance["steps"] == 1
    assert provenance["device"] == "cpu"
    assert provenance["batch"] == 1
    assert sorted(one.name for one in folder.iterdir()) == [CHECKPOINT, WEIGHTS]


def test_the_weights_are_the_moving_average(finished: tuple[Path, Run]) -> None:
    folder, run = finished
    written = load_network(folder / WEIGHTS)[0].state_dict()
    for name, tensor in run.averaged.module.state_dict().items():
        torch.testing.assert_close(written[name], tensor.half().float(), rtol=0, atol=0)


def test_training_ends_with_the_time_given(tmp_path: Path) -> None:
    run = train(tmp_path, quick(steps=0, minutes=1e-5), device="cpu")
    assert run.step == 1
    assert run.seconds > 60e-5


def test_trying_a_batch_changes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, QUICK, CPU)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.tried(one_batch())
    assert run.step == 0
    assert all(torch.equal(value, before[name]) for name, value in run.network.state_dict().items())
    assert all(parameter.grad is None for parameter in run.network.parameters())


# ---- stopping and going on


def test_resuming_goes_on_counting_and_keeps_what_was_learned(tmp_path: Path) -> None:
    first = Run(tmp_path, QUICK, CPU)
    shown = one_batch()
    for _ in range(3):
        first.learn(shown)
    first.seconds = 12.5
    first.save()
    second = Run(tmp_path, QUICK, CPU, resume=True)
    assert (second.step, second.seconds, second.starts) == (3, 12.5, 1)
    for one, again in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, again)
    assert first.learn(shown)["loss"] == pytest.approx(second.learn(shown)["loss"], rel=1e-4)
    assert second.step == 4


def test_a_resumed_run_sees_other_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def noted(seed: int, **options: object) -> EpisodeStream:
        seeds.append(seed)
        return EpisodeStream(seed=seed, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "EpisodeStream", noted)
    for steps in (1, 2):
        run = train(tmp_path, quick(steps=steps, seed=5), device="cpu", resume=steps == 2)
    assert run.step == 2
    assert seeds[0] == 5
    assert seeds[0] != seeds[1]


def test_a_device_that_makes_the_channels_learns_what_it_would_from_whole_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for name, gathers in (("whole", False), ("drafts", True)):
        monkeypatch.setattr(trainer, "gathers_evidence", lambda device, gathers=gathers: gathers)
        torch.manual_seed(0)
        runs.append(train(tmp_path / name, quick(steps=2, workers=1), device="cpu"))
    whole, drafts = (run.network.state_dict() for run in runs)
    for key, value in whole.items():
        torch.testing.assert_close(drafts[key], value)


def test_an_existing_checkpoint_is_not_overwritten_unasked(finished: tuple[Path, Run], capsys) -> None:
    folder, _ = finished
    before = (folder / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match=r"--resume.*--out"):
        train(folder, QUICK, device="cpu")
    assert cli.run(["train", "--out", str(folder), "--minutes", "0.01", "--device", "cpu"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert (folder / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("interrupted", ["save", "replace"])
def test_a_save_that_is_killed_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    run = Run(tmp_path, QUICK, CPU)
    run.step = 1
    run.save()
    run.step = 2

    def killed(state: object, path: Path, *_: object) -> None:
        if interrupted == "save":
            Path(path).write_bytes(b"half a checkpoi")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((torch, "save") if interrupted == "save" else (image_file.os, "replace")), killed)
        with pytest.raises(KeyboardInterrupt):
            run.save()
    assert Run(tmp_path, QUICK, CPU, resume=True).step == 1
    assert load_network(tmp_path / WEIGHTS)[1]["steps"] == 1


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".partial-0.pt").write_bytes(b"half a checkpoi")
    Run(tmp_path, QUICK, CPU)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_saves_what_was_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    learn = Run.learn

    def interrupted(run: Run, batch: tuple) -> dict[str, float]:
        if run.step == 1:
            raise KeyboardInterrupt
        return learn(run, batch)

    monkeypatch.setattr(Run, "learn", interrupted)
    with pytest.raises(CancelledPartway, match=r"stopped at step 1.*--resume"):
        train(tmp_path, quick(steps=5), device="cpu")
    assert Run(tmp_path, QUICK, CPU, resume=True).step == 1


def test_a_damaged_checkpoint_is_refused_in_a_sentence(tmp_path: Path) -> None:
    Run(tmp_path, QUICK, CPU).save()
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"damaged.*--start"):
        Run(tmp_path, QUICK, CPU, resume=True)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, QUICK, CPU).save()
    with pytest.raises(InputError, match="another network"):
        Run(tmp_path, TrainingConfig(), CPU, resume=True)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, QUICK, CPU)
    image, prompt, target, support = one_batch()
    with pytest.raises(RuntimeError, match="resume from the last checkpoint"):
        run.learn((image * float("nan"), prompt, target, support))


def test_training_may_begin_with_given_weights_and_says_so(tmp_path: Path) -> None:
    first = Run(tmp_path / "first", QUICK, CPU)
    first.save()
    config = TrainingConfig(start=tmp_path / "first" / WEIGHTS)
    second = Run(tmp_path / "second", config, CPU)
    for name, value in second.network.state_dict().items():
        assert torch.equal(value.half(), first.averaged.module.state_dict()[name].half())
    second.save()
    again = Run(tmp_path / "second", config, CPU, resume=True)
    assert again.began_with["steps"] == 0
    with pytest.raises(InputError, match="another network"):
        Run(tmp_path / "third", TrainingConfig(Architecture(), start=config.start), CPU)
    assert not (tmp_path / "third").exists()


# ---- the command


def test_options_of_the_command_go_before_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = {}

    def noted(folder: Path, config: TrainingConfig, **options: object) -> None:
        asked.update(options, folder=folder, config=config)

    monkeypatch.setattr(trainer, "train", noted)
    (tmp_path / "own.toml").write_text(QUICK_TOML)
    options = "--minutes 2.5 --workers 3 --seed 9 --batch 4 --real-share 0.5 --learning-rate 0.01 --steps 7"
    paths = ["--config", tmp_path / "own.toml", "--out", tmp_path, "--data", tmp_path / "d"]
    arguments = [*options.split(), *map(str, paths), "--resume", "--device", "cpu"]
    assert cli.run(["train", *arguments]) == 0
    config = asked.pop("config")
    assert asked == {"folder": tmp_path, "resume": True, "device": "cpu", "tensorboard": False}
    assert config.network == TINY
    assert config.data == (tmp_path / "d",)
    schedule, episodes = config.schedule, config.episodes
    assert (schedule.minutes, schedule.seed, schedule.learning_rate, schedule.steps) == (2.5, 9, 0.01, 7)
    assert (episodes.workers, episodes.batch, episodes.real_share, episodes.side) == (3, 4, 0.5, 40)


def test_cuda_asked_for_where_there_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path / "run"
    assert cli.run(["train", "--out", str(out), "--device", "cuda"]) == 2
    assert "CUDA was asked for" in capsys.readouterr().err
    assert not out.exists()


def test_without_cuda_auto_trains_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train(tmp_path, QUICK).device == CPU


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_few_steps_lower_the_loss_on_cuda(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = Run(tmp_path, QUICK, torch.device("cuda"))
    shown = moved(one_batch(), torch.device("cuda"))
    losses = [run.learn(shown)["loss"] for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]
