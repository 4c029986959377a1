"""Episodic training: time-boxed, checkpointed, resumable, on CPU, one GPU or several."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..datasets.patients import training_cases, training_label_maps
from ..errors import CancelledPartway, InputError
from ..network.inference import chosen_device
from ..network.model import FewShotNetwork
from .anatomy import Anatomy
from .config import TrainingConfig, read_config
from .drafts import Batch, EpisodeDraft, batch_of
from .label_maps import LESION_SHAPES, read_maps
from .log import Log, require_tensorboard
from .painted import PaintedMaps
from .parallel import Ranks, available_cores, joined
from .placements import Placements, real_placements
from .prepared import real_anatomies
from .run import Run
from .stream import EpisodeStream, TimedStream, moved
from .throughput import Throughput, episode_seconds, needed_workers
from .validation import Validation


def train(
    folder: Path,
    config: TrainingConfig,
    *,
    device: str = "auto",
    resume: bool = False,
    tensorboard: bool = False,
) -> Run:
    """Learn until the schedule's time or steps are used up, and write into `folder` what was learned.

    device: "auto", "cpu" or "cuda". Under torchrun every process calls this, and the first one writes. A run
    that Ctrl-C interrupts is saved. Raises InputError for what cannot be used: nothing is written then.
    """
    if tensorboard:
        require_tensorboard()
    with joined(chosen_device(device)[0]) as (ranks, own_device):
        with ranks.first_alone():
            sources = _sources(config)
        run = Run(folder, config, own_device, resume=resume, ranks=ranks)
        stream = _stream(config, run.starts, ranks, sources)
        run.data_sets = sources.names(stream)
        workers = _workers(run, stream)
        log = Log(folder, run.step, tensorboard) if ranks.first else None
        if ranks.first and sources.real:
            shares = ", ".join(
                f"{name or 'no name'} {share:.0%}" for name, share in stream.population.shares.items()
            )
            print(f"Patients are drawn from {shares}.", file=sys.stderr)
        try:
            _learn(run, stream, workers, log)
        except KeyboardInterrupt:
            run.save()
            raise CancelledPartway(
                f"stopped at step {run.step}; go on with --resume --out {folder}."
            ) from None
        finally:
            if log is not None:
                log.close()
        return run


@dataclass(frozen=True)
class _Sources:
    """What the data folders hold: anatomies of patients, label maps to paint on, and patients registered to
    one another.
    """

    real: Sequence[Anatomy]
    painted: PaintedMaps | None
    placements: Placements | None

    def names(self, stream: EpisodeStream) -> tuple[str, ...]:
        """Names of the data sets."""
        of_maps = () if self.painted is None else self.painted.datasets
        return (*(stream.population.shares if self.real else ()), *of_maps)


def _sources(config: TrainingConfig) -> _Sources:
    """Raises InputError for a folder that cannot be used."""
    real = [one for folder in config.data for one in real_anatomies(folder, prepared=config.prepared)]
    maps = read_maps(config.data) if config.episodes.painted_share else []
    painted = PaintedMaps(maps) if any(one.dataset not in LESION_SHAPES for one in maps) else None
    placements = None
    if config.episodes.placed_share:
        placements = real_placements(config.data, config.prepared)
        if placements is None:
            raise InputError(
                "No two patients have a structure in common that lies in one place when they are registered: "
                "give a folder of more by --data, or no --placed-share."
            )
    return _Sources(real, painted, placements)


def _check_shares(data: Sequence[Path], asked: Mapping[str, Any]) -> None:
    """Raise InputError where a share is asked for of what no data folder has: it would be synthetic.

    Folders that are not there are refused later.
    """
    if asked.get("real_share") and not any(not one.is_dir() or training_cases(one) for one in data):
        raise InputError(
            "There are no patients to draw from: give their folder by --data, or no --real-share."
        )
    maps = (one for folder in data for one in training_label_maps(folder))
    if asked.get("painted_share") and all(one.dataset in LESION_SHAPES for one in maps):
        raise InputError(
            "There are no label maps to paint on: give a folder of label maps without images by --data, or "
            "no --painted-share."
        )


def _stream(config: TrainingConfig, starts: int, ranks: Ranks, sources: _Sources) -> EpisodeStream:
    options = config.episodes
    return EpisodeStream(
        seed=config.schedule.seed + 7919 * starts,
        real=sources.real,
        painted=sources.painted,
        painted_share=options.painted_share,
        placements=sources.placements,
        placed_share=options.placed_share,
        real_share=options.real_share,
        episodes_each=options.each,
        batch=options.batch,
        shuffle=options.shuffle,
        side=options.side,
        rank=ranks.rank,
    )


def _workers(run: Run, stream: EpisodeStream) -> int:
    """Processes that make episodes: those asked for, or as many as keep the network busy."""
    asked = run.config.episodes.workers
    if asked >= 0:
        return asked
    as_drafts = gathers_evidence(run.device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    episode_s, largest = episode_seconds(stream, as_drafts)
    torch.set_num_threads(threads)
    if largest is None:
        return 1
    step_s = _step_seconds(run, [largest] * stream.batch, as_drafts)
    workers = needed_workers(episode_s, step_s, stream.batch, run.ranks.size)
    if run.ranks.first:
        print(
            f"An episode is made in {episode_s:.2f} s by one process; a step of {stream.batch} takes "
            f"{step_s:.2f} s; {workers} of {available_cores()} cores make episodes.",
            file=sys.stderr,
        )
    return workers


def _step_seconds(run: Run, drafts: list[EpisodeDraft], with_evidence: bool) -> float:
    """Seconds of a step on a batch of these drafts, and of making its channels where the device does."""
    batch = moved(batch_of(drafts, run.device), run.device)
    run.tried(batch)  # the first one takes longer
    begun = time.monotonic()
    run.tried(moved(batch_of(drafts, run.device), run.device) if with_evidence else batch)
    return time.monotonic() - begun


@dataclass(frozen=True)
class _Made:
    """A batch on the device; seconds that the device took for its channels, and that a worker took."""

    batch: Batch
    gathered_s: float
    made_s: float


def gathers_evidence(device: torch.device) -> bool:
    """Whether the device that learns makes the channels too; beside a CPU that learns, workers make them."""
    return device.type != "cpu"


def _batches(stream: EpisodeStream, workers: int, device: torch.device) -> Iterator[_Made]:
    """Batches without end, on the device."""
    timed = TimedStream(stream, as_drafts=gathers_evidence(device))
    loader = DataLoader(timed, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None)
    for made, made_s in loader:
        begun = time.monotonic()
        batch = moved(batch_of(made, device) if timed.as_drafts else made, device)
        yield _Made(batch, time.monotonic() - begun, made_s)


def _learn(run: Run, stream: EpisodeStream, workers: int, log: Log | None) -> None:
    """The loop; `log` is None on every rank but the first."""
    schedule = run.schedule
    validation = None
    if log is not None and schedule.validation_episodes:
        validation = Validation(schedule.validate_every_s, stream.side, schedule.validation_episodes)
    speed = Throughput(stream.batch * run.ranks.size, workers)
    saved = validated = begun = time.monotonic()
    already = run.seconds
    batches = _batches(stream, workers, run.device)
    while True:
        asked = time.monotonic()
        made = next(batches)
        got = time.monotonic()
        figures = run.learn(made.batch)
        now = time.monotonic()
        speed.add(now - got, made.gathered_s, got - asked - made.gathered_s, made.made_s)
        run.seconds = run.ranks.agreed(already + now - begun, run.device)
        if log is not None:
            log.note(run.step, run.seconds, figures, speed.taken)
            if validation is not None and validation.due(now - validated):
                _validate(run, log, validation)
                validated = time.monotonic()
        if time.monotonic() - saved > schedule.save_every_s:
            run.save()
            saved = time.monotonic()
        if run.seconds >= 60 * schedule.minutes or 0 < schedule.steps <= run.step:
            break
    if log is not None and validation is not None:
        _validate(run, log, validation)
    run.save()
    if log is not None:
        _draw(log)


def _validate(run: Run, log: Log, validation: Validation) -> None:
    network = run.averaged.module
    assert isinstance(network, FewShotNetwork)
    log.validated(run.step, run.seconds, validation.measured(network, run.device))
    _draw(log)


def _draw(log: Log) -> None:
    if find_spec("matplotlib") is None:
        print("No picture of the curves: the package matplotlib is not installed.", file=sys.stderr)
    else:
        log.draw()


def main(
    config: Path | None = None,
    out: Path = Path("out/training"),
    *,
    device: str = "auto",
    resume: bool = False,
    tensorboard: bool = False,
    show_episodes: Path | None = None,
    **options: Any,
) -> Run | None:
    """The command `train`: a file of settings, and options (None: not given) that take their place.

    show_episodes: only draw ten episodes as the settings make them, into this picture; returns None. Raises
    InputError as `train` does, and for a share that is asked for of what the data folders do not have.
    """
    settings = (read_config(config) if config is not None else TrainingConfig()).overridden(**options)
    _check_shares(settings.data, options)
    if show_episodes is not None:
        from .episode_picture import draw_episodes

        draw_episodes(show_episodes, _stream(settings, 0, Ranks(), _sources(settings)))
        return None
    return train(out, settings, device=device, resume=resume, tensorboard=tensorboard)
