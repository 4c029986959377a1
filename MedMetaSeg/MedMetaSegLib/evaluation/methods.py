"""The methods a benchmark compares, each as a name, a version, and a way to get ready and run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..imageio.geometry import Geometry
from ..imageio.volume import Volume
from ..support.structure import Structure, StructureMask
from ..support.support import Support
from .baselines import BASELINES, Interaction, Prediction


class Segments(Protocol):
    """The part of a Segmenter that is used here."""

    def segment(self, volume: Volume, support: Support) -> Any:
        """A result whose structures have structure, offset and mask."""


@dataclass(frozen=True)
class Method:
    """A method in the benchmark.

    version: rows of another version are measured again. weights_id: of the shipped weights, "" for a
    baseline. make_interaction(device): does everything a user waits for before the first run (libraries,
    weights), and gives an interaction that remembers nothing of volumes seen before.
    """

    name: str
    title: str
    version: str
    weights_id: str
    device: str
    make_interaction: Callable[[str], Interaction]


OURS = "medmetaseg"
"""Name of this project's method, among the others."""
OURS_REVISION = 5
"""Raised when MedMetaSeg answers otherwise with the same weights: its rows are measured again."""
METHOD_NAMES = (OURS, *(baseline.name for baseline in BASELINES))
"""Names of all methods, in the order of the tables."""
TITLES = {OURS: "MedMetaSeg", **{baseline.name: baseline.title for baseline in BASELINES}}
"""What tables and pictures call a method, by its name."""


def compared_methods(names: Collection[str] | None, device: str) -> tuple[Method, ...]:
    """The methods named, all when None.

    device: "auto", "cpu" or "cuda", for MedMetaSeg; baselines use the CPU.
    Raises InputError for a name that is none, WeightsError when the shipped weights are missing.
    """
    unknown = sorted(set(names or ()) - set(METHOD_NAMES))
    if unknown:
        raise InputError(f"no method {', '.join(unknown)}; there are {', '.join(METHOD_NAMES)}")
    return tuple(method_named(name, device) for name in METHOD_NAMES if names is None or name in names)


def method_named(name: str, device: str) -> Method:
    """The method of a name; see `compared_methods`."""
    if name == OURS:
        return _ours(device)
    baseline = next(one for one in BASELINES if one.name == name)
    return Method(name, baseline.title, baseline.version, "", "cpu", lambda _device: baseline.run)


def interaction_of(segmenter: Segments) -> Interaction:
    """The interaction of a Segmenter: all structures of the support in one call, as a user would."""

    def interaction(volume: Volume, support: Support) -> Iterator[Prediction]:
        for one in segmenter.segment(volume, support).structures:
            yield Prediction(one.structure, one.offset, one.mask)

    return interaction


def warm_up(interaction: Interaction) -> None:
    """Run once on a small ball, so that what a library does on first use is in no figure."""
    places = np.indices((24, 24, 24)) - 12
    ball = (places**2).sum(axis=0) < 49
    noise = np.random.default_rng(0).normal(size=ball.shape)
    volume = Volume.from_array((ball + 0.1 * noise).astype(np.float32), Geometry((24, 24, 24), np.eye(4)))
    annotated = np.zeros_like(ball)
    annotated[[8, 16]] = ball[[8, 16]]
    masks = [StructureMask(Structure("ball", 1, (1.0, 0.0, 0.0)), (0, 0, 0), annotated)]
    for _ in interaction(volume, Support.from_masks(masks, volume.geometry, "slices", plane="axial")):
        pass


def _ours(device: str) -> Method:
    from .. import __version__
    from ..network.inference import chosen_device
    from ..network.weights import load_network

    weights_id = str(load_network()[1]["sha256"])[:12]
    version = f"{OURS_REVISION} (medmetaseg {__version__})"
    return Method(OURS, TITLES[OURS], version, weights_id, chosen_device(device)[0].type, _load_segmenter)


def _load_segmenter(device: str) -> Interaction:
    from ..segmenter import Segmenter

    return interaction_of(Segmenter.load(device=device))
