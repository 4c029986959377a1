"""One case, one method, several K: timed, weighed and scored, in a process that runs only that method."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.cases import Case, read_case
from ..errors import InputError
from ..imageio.volume import Volume
from ..support.structure import region
from ..support.support import Support
from .baselines import Prediction
from .methods import Method, method_named, warm_up
from .protocols import same_volume_support, score_unannotated

PROCESS = Path("/proc/self")
"""Where Linux says what a process uses."""


@dataclass(frozen=True)
class Row:
    """One structure of one run.

    seconds, peak_memory_mb: of the whole run, all its structures together; the memory is None where it could
    not be measured. dice, nsd_2mm: nan where neither the method nor the truth has the structure on the slices
    scored.
    """

    dataset: str
    case: str
    patient: str
    modality: str
    structure: str
    k: int
    protocol: str
    method: str
    dice: float
    nsd_2mm: float
    seconds: float
    peak_memory_mb: float | None
    device: str
    weights_id: str
    version: str


@contextmanager
def own_process() -> Iterator[Callable[..., Any]]:
    """A Python process of one's own, as do(function, *arguments): it runs there and raises what it raised."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def interaction_rows(case: Case, name: str, ks: Sequence[int], device: str) -> list[Row]:
    """Protocol A on one case: a run per K, a row per structure; none for a K no structure qualifies for."""
    method = method_named(name, device)
    volume, labels = read_case(case)
    rows: list[Row] = []
    for count in ks:
        support = support_or_none(labels, volume, case, count)
        if support is not None:
            rows += score_interaction(case, method, volume, labels, support, count)
    return rows


def support_or_none(labels: np.ndarray, volume: Volume, case: Case, count: int) -> Support | None:
    """Protocol A's support, None when no structure of the case qualifies for this K."""
    try:
        return same_volume_support(labels, volume.geometry, case.names, count)
    except InputError:
        return None


def score_interaction(
    case: Case, method: Method, volume: Volume, labels: np.ndarray, support: Support, count: int
) -> list[Row]:
    """The rows of one run. A structure the method does not give back is scored as nothing found."""
    interaction = method.make_interaction(method.device)
    warm_up(interaction)
    predictions, seconds, peak_mb = timed(lambda: interaction(volume, support))
    by_label = {one.structure.label: one for one in predictions}
    rows = []
    for annotated in support.structures:
        structure = annotated.structure
        result = scored_mask(by_label.get(structure.label), labels.shape)
        truth = labels == structure.label
        scores = score_unannotated(
            case, structure.name, result, truth, volume.geometry.spacing_mm, annotated.slices
        )
        rows.append(
            Row(
                dataset=case.dataset,
                case=case.case,
                patient=case.patient,
                modality=case.modality,
                structure=structure.name,
                k=count,
                protocol="A",
                method=method.name,
                dice=round(scores.dice, 4),
                nsd_2mm=round(scores.nsd, 4),
                seconds=round(seconds, 2),
                peak_memory_mb=None if peak_mb is None else round(peak_mb),
                device=method.device,
                weights_id=method.weights_id,
                version=method.version,
            )
        )
    return rows


def scored_mask(prediction: Prediction | None, shape: tuple[int, ...]) -> np.ndarray:
    """The full-grid bool mask (k, j, i) of a prediction; empty for None."""
    mask = np.zeros(shape, dtype=bool)
    if prediction is not None:
        mask[region(prediction.offset, prediction.mask.shape)] = prediction.mask
    return mask


def timed(
    interaction: Callable[[], Iterator[Prediction]],
) -> tuple[list[Prediction], float, float | None]:
    """What a run predicts, its wall-clock seconds, and the process's peak memory in MB until its end.

    The memory is None where it cannot be measured.
    """
    forget_peak()
    start = time.perf_counter()
    predictions = list(interaction())
    return predictions, time.perf_counter() - start, peak_memory_mb()


def forget_peak() -> None:
    """Start the peak anew. Linux only; on other systems the peak stays that of the process so far."""
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")


def peak_memory_mb() -> float | None:
    """Peak resident memory in MB: since `forget_peak` on Linux, of the whole process on other systems.

    None where the system does not say it to Python (Windows).
    """
    status = PROCESS / "status"
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows has no such module.
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
