"""The settings of a training run, from a TOML file, options of the command, or Python.

    start = "medmetaseg.safetensors"    # weights to begin with; random ones without
    data = ["patients", "label maps"]   # folders to mix in; synthetic anatomies only without
    prepared = "prepared"               # keeps what is made of the patients; beside the data without
    [network]
    widths = [32, 64, 128]
    [schedule]
    minutes = 100
    [episodes]
    real_share = 0.3

Every setting may be left out. Paths count from the file's own folder.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from ..errors import InputError
from ..network.model import Architecture


def _demand(true: bool, otherwise: str) -> None:
    if not true:
        raise InputError(f"{otherwise}.")


@dataclass(frozen=True)
class Schedule:
    """How long a run learns, at which rate, and when it saves and validates.

    minutes: of learning in all, however often it is interrupted; steps: end it earlier (0: do not). Given
    minutes enough, a number of steps learns the same on any machine.

    average: decay of the moving average of the weights, which are what is written; validation_episodes: how
    many are looked at, 0 turns validation off. Raises InputError for values that cannot be.
    """

    minutes: float = 40.0
    steps: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warm_up_steps: int = 100
    average: float = 0.998
    seed: int = 0
    save_every_s: float = 300.0
    validate_every_s: float = 600.0
    validation_episodes: int = 16

    def __post_init__(self) -> None:
        for name in ("minutes", "learning_rate", "validate_every_s"):
            _demand(getattr(self, name) > 0, f"{name} must be more than 0")
        for name in ("steps", "weight_decay", "seed", "save_every_s", "validation_episodes"):
            _demand(getattr(self, name) >= 0, f"{name} must not be negative")
        _demand(self.warm_up_steps >= 1, "warm_up_steps must be at least 1")
        _demand(0 <= self.average < 1, "average must be at least 0 and less than 1")

    def rate(self, step: int, seconds: float) -> float:
        """The learning rate at a step: linear warm-up, then half a cosine over what ends the run first."""
        done = min(1.0, max(seconds / (60 * self.minutes), step / self.steps if self.steps else 0.0))
        return (
            self.learning_rate
            * min(1.0, (step + 1) / self.warm_up_steps)
            * (0.5 + 0.5 * math.cos(math.pi * done) + 0.01)
        )


@dataclass(frozen=True)
class EpisodeOptions:
    """How episodes are drawn and batched.

    real_share: of anatomies, of patients in `data`; painted_share: of anatomies, painted on label maps in
    `data` that have no images; placed_share: of anatomies, of patients in `data` to whom another patient is
    registered, see `placements`; batch: episodes in a step, on each GPU; each: episodes from one
    anatomy; shuffle: batches kept waiting, from which one is drawn; side: of a synthetic anatomy in voxels;
    workers: processes that make episodes, for each GPU (-1: as many as the network needs).
    """

    real_share: float = 0.3
    painted_share: float = 0.15
    placed_share: float = 0.0
    batch: int = 2
    each: int = 6
    shuffle: int = 12
    side: int = 88
    workers: int = -1

    def __post_init__(self) -> None:
        for name in ("real_share", "painted_share", "placed_share"):
            _demand(0 <= getattr(self, name) <= 1, f"{name} must be from 0 to 1")
        _demand(self.batch >= 1 and self.each >= 1, "batch and each must be at least 1")
        _demand(self.shuffle >= 0, "shuffle must not be negative")
        _demand(self.side >= 32, "side must be at least 32")
        _demand(self.workers >= -1, "workers must be at least 0, or -1 for as many as are needed")


_COUNTS = ("embedding", "foreground_prototypes", "background_prototypes")
"""Settings of the network that must be at least 1."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything about a run but where it is kept and what it runs on.

    network: None takes the architecture of `start`, or the usual one. data: folders of patients and of label
    maps; prepared: where what is made of the patients is kept, None: beside the data.
    """

    network: Architecture | None = None
    schedule: Schedule = Schedule()
    episodes: EpisodeOptions = EpisodeOptions()
    start: Path | None = None
    data: tuple[Path, ...] = ()
    prepared: Path | None = None

    def overridden(self, **options: Any) -> TrainingConfig:
        """The same settings with those options that are not None, by their names in any section."""
        given = {name: value for name, value in options.items() if value is not None}
        parts = {}
        for part in ("schedule", "episodes"):
            section = getattr(self, part)
            named = {one.name for one in fields(section)} & set(given)
            parts[part] = replace(section, **{name: given.pop(name) for name in named})
        return replace(self, **parts, **given)


def read_config(path: Path) -> TrainingConfig:
    """The settings of a TOML file.

    Raises InputError for a file that cannot be read, an unknown setting, a wrong type or an impossible value.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The settings {path} cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The settings {path} are not TOML: {error}.") from error
    sections = {"network": Architecture, "schedule": Schedule, "episodes": EpisodeOptions}
    unknown = sorted(set(settings) - {*sections, "start", "data", "prepared"})
    if unknown:
        raise InputError(
            f"{path} has no setting '{unknown[0]}': there are start, data, prepared, and the sections "
            f"{', '.join(f'[{name}]' for name in sections)}."
        )
    given: dict[str, Any] = {}
    for name, value in settings.items():
        where = f"{path}, {f'[{name}]' if name in sections else name}"
        if name in sections:
            given[name] = _section(where, sections[name], value)
        elif name == "data" and isinstance(value, list) and all(isinstance(one, str) for one in value):
            given[name] = tuple(path.parent / Path(one).expanduser() for one in value)
        elif isinstance(value, str):
            place = path.parent / Path(value).expanduser()
            given[name] = (place,) if name == "data" else place
        else:
            kind = "a path, or a list of paths, in quotes" if name == "data" else "a path in quotes"
            raise InputError(f"{where} must be {kind}, not {value!r}.")
    return TrainingConfig(**given)


def _section(where: str, kind: type, section: object) -> Any:
    if not isinstance(section, dict):
        raise InputError(f"{where} must be a section with settings, not {section!r}.")
    types = get_type_hints(kind)
    names = [one.name for one in fields(kind) if one.init]
    for name, value in section.items():
        if name not in names:
            raise InputError(f"{where} has no setting '{name}': there are {', '.join(names)}.")
        section[name] = _typed(f"{where} {name}", types[name], value)
    try:
        return kind(**section)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _typed(where: str, kind: object, value: object) -> object:
    """The value as the type of its setting: float (whole numbers too), int, or several whole numbers."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    whole = number and isinstance(value, int)
    if kind is float and number:
        return float(value)  # type: ignore[arg-type]
    if kind is int and whole:
        _demand(not where.endswith(_COUNTS) or value >= 1, f"{where} must be at least 1")  # type: ignore[operator]
        return value
    if kind == tuple[int, ...]:
        if isinstance(value, list) and len(value) > 1 and all(type(one) is int and one > 0 for one in value):
            return tuple(value)
        raise InputError(f"{where} must be a list of two or more whole numbers above 0, not {value!r}.")
    raise InputError(f"{where} must be a {'number' if kind is float else 'whole number'}, not {value!r}.")
