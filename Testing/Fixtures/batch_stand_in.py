"""A segmenter that gives back one block, for tests of everything around it; in this process or in others."""

from __future__ import annotations

import csv
import os
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.imageio.channel import Channel
from MedMetaSegLib.imageio.volume import Geometry, Volume, to_sitk
from MedMetaSegLib.network.shipped import shipped_sha256
from MedMetaSegLib.support.structure import StructureMask, region
from MedMetaSegLib.support.support import Support
from MedMetaSegLib.task.task_file import Task
from task_phantom import WEIGHTS, make_task

HERE = Path(__file__).parent
LOG, SECONDS = "STAND_IN_LOG", "STAND_IN_SECONDS"

SHAPE = (10, 24, 20)
GRID = Geometry(SHAPE, np.array([[0.0, -0.9, 0, 40], [-0.8, 0, 0, 30], [0, 0, 2.5, -90], [0, 0, 0, 1]]))


@dataclass(frozen=True)
class StandInSegmentation:
    geometry: Geometry
    structures: tuple[StructureMask, ...]
    labels: np.ndarray
    report: dict

    def uncertainty(self, which: StructureMask) -> np.ndarray:
        """Undecided in every voxel of a structure."""
        undecided = np.zeros(self.geometry.shape, np.uint8)
        undecided[region(which.offset, which.mask.shape)] = 255 * which.mask
        return undecided


class StandInSegmenter:
    """The first structure of a task is a block in the middle, the others are not found."""

    def __init__(self) -> None:
        self.provenance = {"sha256": WEIGHTS}
        self.applied: list[str] = []
        self.learned: list[list[tuple[Volume, Support]]] = []
        self.before: Callable[[str], None] = lambda name: None
        self.notes: list[str] = []
        self.unlike: list[str] = []
        self.asked: list[dict[str, object]] = []
        self.dice: dict[str, float] = {}
        self.channels: list[tuple[Channel, ...]] = []
        self.learned_channels: list[Sequence[Sequence[Channel]]] = []

    def load(self, device: str = "auto") -> StandInSegmenter:
        return self

    def segment(
        self, volume: Volume, support: Support, *, channels: tuple[Channel, ...] = (), **rest: object
    ) -> StandInSegmentation:
        self.channels.append(channels)
        labels = support.on(volume.geometry).labels()
        report = {"structures": [], "seconds": {"network": 0.1}, "skipped": [], "notes": []}
        return StandInSegmentation(volume.geometry, (), labels, report)

    def learn(
        self,
        pairs: list[tuple[Volume, Support]],
        *,
        channels: Sequence[Sequence[Channel]] = (),
        **rest: object,
    ) -> Task:
        self.learned_channels.append(channels)
        self.learned.append(pairs)
        return make_task()

    def apply(
        self,
        task: Task,
        volume: Volume,
        *,
        cancelled: object = None,
        confidence: bool = True,
        channels: tuple[Channel, ...] = (),
        **rest: object,
    ) -> StandInSegmentation:
        self.channels.append(channels)
        self.before(volume.name)
        self.asked.append({"confidence": confidence, "channels": channels, **rest})
        self.applied.append(volume.name)
        labels = np.zeros(volume.geometry.shape, np.uint16)
        labels[3:6, 4:9, 5:12] = task.structures[0].label
        block = StructureMask(task.structures[0], (3, 4, 5), np.ones((3, 5, 7), bool))
        rows = [
            {"name": one.name, "found": not n, "reason": "not there" if n else "", "millilitres": 0.2}
            for n, one in enumerate(task.structures)
        ]
        if confidence:
            rows[0] |= expected(0.97, self.dice.get(volume.name, 0.91))
            for row in rows[1:]:
                row |= expected(0.02)
        report = {"structures": rows, "notes": [*self.notes, *self.unlike], "unlike": self.unlike}
        nothing = [StructureMask(one, (0, 0, 0), np.zeros((0, 0, 0), bool)) for one in task.structures[1:]]
        return StandInSegmentation(volume.geometry, (block, *nothing), labels, report)


def expected(present: float, dice: float | None = None) -> dict[str, object]:
    """What a report says of confidence in a structure; it was not found where no Dice is given."""
    place = {"plane": "axial", "index": 4, "reason": "it is the widest gap", "ras_mm": [1.0, 2.0, 3.0]}
    return {
        "present": present,
        "predicted_dice": dice,
        "predicted_dice_low": None if dice is None else round(dice - 0.1, 3),
        "predicted_dice_high": None if dice is None else round(dice + 0.05, 3),
        "doubtful": False,
        "next_slice": None if dice is None else place,
    }


def results(folder: Path) -> list[str]:
    """What is in a folder of results beside the journal's folder."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".medmetaseg")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def put_in_place(stand_in: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this object to whoever asks for the segmenter in this test."""
    module = types.ModuleType("MedMetaSegLib.segmenter")
    module.Segmenter = stand_in
    monkeypatch.setitem(sys.modules, "MedMetaSegLib.segmenter", module)


class StandInElsewhere(StandInSegmenter):
    """The same in another process: slow if asked to be, and every image it works on is in a log."""

    def __init__(self) -> None:
        super().__init__()
        self.provenance = {"sha256": shipped_sha256()}
        self.before = self._note

    def load(self, device: str = "auto", weights: Path | None = None) -> StandInElsewhere:
        return self

    def _note(self, name: str) -> None:
        with open(os.environ[LOG], "a", encoding="utf-8") as log:
            log.write(f"{name} {os.getpid()}\n")
        time.sleep(float(os.environ[SECONDS]))


def stand_in_elsewhere() -> None:
    """Take the place of the segmenter in this process; called when an interpreter starts."""

    class Late(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            if name != "Segmenter":
                raise AttributeError(name)
            return StandInElsewhere()

    sys.modules["MedMetaSegLib.segmenter"] = Late("MedMetaSegLib.segmenter")


@dataclass(frozen=True)
class Elsewhere:
    """A folder with a task and images, and the environment of processes in which the stand-in works."""

    folder: Path
    environment: dict[str, str]

    @property
    def applied(self) -> list[tuple[str, int]]:
        """Images that the stand-in began with, and in which process."""
        log = Path(self.environment[LOG])
        lines = log.read_text(encoding="utf-8").split() if log.exists() else []
        return [(name, int(pid)) for name, pid in zip(lines[::2], lines[1::2], strict=True)]

    def images(self, number: int) -> list[Path]:
        """So many image files, made of noise that differs."""
        (self.folder / "in").mkdir(exist_ok=True)
        paths = [self.folder / "in" / f"p{n:03d}.nii.gz" for n in range(number)]
        for n, path in enumerate(paths):
            write_noise(path, n)
        return paths


def make_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """See `Elsewhere`; the environment is this process's too, for those it starts itself."""
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(
        "import batch_stand_in\nbatch_stand_in.stand_in_elsewhere()\n", encoding="utf-8"
    )
    package = HERE.parents[1] / "MedMetaSeg"
    environment = {
        "PYTHONPATH": os.pathsep.join(map(str, (tmp_path / "start", HERE, package))),
        LOG: str(tmp_path / "applied.log"),
        SECONDS: "0.2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    replace(make_task(), weights_sha256=shipped_sha256()).write(tmp_path / "two.medmetaseg")
    return Elsewhere(tmp_path, {**os.environ, **environment})


def write_noise(path: Path, seed: int = 1) -> None:
    """An image of noise on GRID."""
    array = np.random.default_rng(seed).normal(40, 20, SHAPE).astype(np.float32)
    sitk.WriteImage(to_sitk(array, GRID), str(path))
