"""Training as processes: killed at work and resumed, and several that learn together under torchrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from MedMetaSegLib.network.weights import load_network
from MedMetaSegLib.training.log import VALIDATION
from MedMetaSegLib.training.run import CHECKPOINT, WEIGHTS, Run
from MedMetaSegLib.training.trainer import train
from training_phantom import CPU, QUICK, QUICK_TOML, one_batch, quick

pytestmark = pytest.mark.usefixtures("one_thread")
PATIENCE_S = 500
ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "Testing" / "Fixtures"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "MedMetaSeg"), str(FIXTURES)]),
    "OMP_NUM_THREADS": "1",
}


def steps_written(folder: Path) -> int:
    """Of the weights in a run's folder, which must be whole at any moment."""
    return load_network(folder / WEIGHTS)[1]["steps"] if (folder / WEIGHTS).exists() else 0


def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    settings, folder = tmp_path / "own.toml", tmp_path / "run"
    settings.write_text(QUICK_TOML.replace("\nsteps = 1\n", "\nsteps = 100000\nsave_every_s = 0\n"))
    command = [sys.executable, "-c", "from MedMetaSegLib.cli import main; main()", "train", "--device", "cpu"]
    process = subprocess.Popen([*command, "--config", settings, "--out", folder], env=ENVIRONMENT)
    try:
        until = time.monotonic() + PATIENCE_S
        while steps_written(folder) < 4 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        assert process.poll() is None, "the run ended by itself"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = Run(folder, QUICK, CPU, resume=True)
    assert kept.step >= 4
    assert steps_written(folder) in (kept.step, kept.step - 1)
    again = train(folder, quick(steps=kept.step + 2), device="cpu", resume=True)
    assert again.step == kept.step + 2
    assert again.seconds > kept.seconds
    assert steps_written(folder) == again.step
    assert not list(folder.glob(".partial-*"))


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """A run of three steps by two processes, and what each ended with."""
    if not torch.distributed.is_available():
        pytest.skip("this build of torch has no torch.distributed")
    folder = tmp_path_factory.mktemp("together") / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, FIXTURES / "train_on_ranks.py", folder],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return folder, [torch.load(folder.parent / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_ranks_end_with_the_same_weights(together: tuple[Path, list[dict]]) -> None:
    _, (first, second) = together
    for part in ("network", "averaged"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), name


def test_ranks_learn_from_episodes_of_their_own(together: tuple[Path, list[dict]]) -> None:
    _, (first, second) = together
    assert len(first["seen"]) == len(second["seen"]) == 3
    assert not set(first["seen"]) & set(second["seen"])


def test_only_the_first_rank_writes(together: tuple[Path, list[dict]]) -> None:
    folder, (first, second) = together
    assert {CHECKPOINT, WEIGHTS, VALIDATION} <= set(first["written"])
    assert second["written"] == []
    assert load_network(folder / WEIGHTS)[1]["processes"] == 2


def test_what_ranks_learned_goes_on_in_one_process(together: tuple[Path, list[dict]]) -> None:
    folder, (first, _) = together
    run = Run(folder, QUICK, CPU, resume=True)
    assert run.step == 3
    for name, value in run.network.state_dict().items():
        assert torch.equal(value, first["network"][name]), name
    run.learn(one_batch())
    assert run.step == 4
