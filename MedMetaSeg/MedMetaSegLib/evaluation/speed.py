"""How long a user waits: the first run, the second after one structure was corrected, a large volume."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import SimpleITK as sitk

from ..datasets.cases import ACCEPTANCE_STRUCTURES, Case, read_case
from ..imageio.geometry import Geometry
from ..imageio.volume import Volume, from_sitk, to_sitk
from ..support.seg_nrrd import write_segmentation
from ..support.support import Support
from .baselines import BASELINES
from .interaction import forget_peak, own_process, peak_memory_mb, timed
from .methods import Method, interaction_of, warm_up
from .protocols import same_volume_support, with_one_more_slice

SLICES = 3
"""Annotated slices of each structure."""
RUNS = 3
"""Of each method: seconds are their median, since one run is a twentieth longer or shorter than the next."""
CORRECTED = "liver"
"""The structure that is annotated on one slice more before the second run."""
_COMMAND = "from MedMetaSegLib.cli import main; main()"
"""What a process of its own runs: the command line."""
LARGE_SHAPE = (300, 512, 512)
"""Voxels (k, j, i) of the large volume."""


@dataclass(frozen=True)
class SpeedRow:
    """Two runs of one Segmenter. The second follows after one structure was annotated on one slice more.

    Seconds are medians of `RUNS`, each with a Segmenter that knows nothing of the others. size: the volume's
    i x j x k. peak_memory_mb: of the process, all runs, libraries and volume included; None where it could
    not be measured. grow_seconds, fill_seconds: of Grow from seeds and Fill between slices on the first
    support, warm, in the same process; None where their package is not installed.
    fresh_seconds: of `medmetaseg segment` from the start of a process to its end; None where not measured.
    """

    scenario: str
    size: str
    structures: int
    k: int
    first_seconds: float
    second_seconds: float
    peak_memory_mb: float | None
    device: str
    weights_id: str
    grow_seconds: float | None = None
    fill_seconds: float | None = None
    fresh_seconds: float | None = None

    @property
    def ratio(self) -> float:
        """Seconds of the second run as a fraction of those of the first."""
        return self.second_seconds / self.first_seconds

    @property
    def over_grow(self) -> float | None:
        """Seconds of the first run as a multiple of those of Grow from seeds."""
        return self.first_seconds / self.grow_seconds if self.grow_seconds else None


def speed_rows(cases: Sequence[Case], ours: Method) -> list[SpeedRow]:
    """The scenarios, on the totalseg CT; none when it is not among the cases."""
    ct = next((case for case in cases if (case.dataset, case.case) == ("totalseg", "ct")), None)
    if ct is None:
        return []
    one, many = (CORRECTED,), ACCEPTANCE_STRUCTURES
    scenarios = (
        ("TotalSegmentator CT, one organ", one, None),
        ("TotalSegmentator CT, 18 structures", many, None),
        ("The same CT resampled, one organ", one, LARGE_SHAPE),
    )
    rows = []
    for name, structures, shape in scenarios:
        with own_process() as do:
            rows.append(do(two_interactions, name, ct, structures, shape, ours.device, ours.weights_id))
    rows[0] = replace(rows[0], fresh_seconds=fresh_seconds(ct, one, ours.device))
    return rows


def fresh_seconds(case: Case, structures: Sequence[str], device: str) -> float:
    """Seconds of `medmetaseg segment` on a case, from the start of its process to its end."""
    _, support, _ = annotated_twice(case, structures, None)
    with tempfile.TemporaryDirectory(prefix="medmetaseg-") as folder:
        painted, out = Path(folder) / "support.seg.nrrd", Path(folder) / "result.nii.gz"
        write_segmentation(painted, support.structures, support.geometry)
        arguments = ["segment", str(case.image), str(painted), "-o", str(out), "--plane", "axial"]
        command = [sys.executable, "-c", _COMMAND, *arguments, "--device", device]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return round(time.perf_counter() - begun, 2)


def annotated_twice(
    case: Case, structures: Sequence[str], shape: tuple[int, int, int] | None
) -> tuple[Volume, Support, Support]:
    """A case with some structures annotated, and with one of them annotated on one slice more.

    shape: resample the case to it first.
    """
    volume, labels = read_case(case)
    if shape is not None:
        volume, labels = resampled(volume, labels, shape)
    names = {label: name for label, name in case.names.items() if name in structures}
    support = same_volume_support(labels, volume.geometry, names, SLICES)
    return volume, support, with_one_more_slice(support, labels, CORRECTED)


def two_interactions(
    scenario: str,
    case: Case,
    structures: Sequence[str],
    shape: tuple[int, int, int] | None,
    device: str,
    weights_id: str,
    weights: Path | None = None,
) -> SpeedRow:
    """Run, annotate one structure on one slice more, run again. shape: resample the case to it first."""
    from ..segmenter import Segmenter

    volume, support, corrected = annotated_twice(case, structures, shape)
    warm_up(interaction_of(Segmenter.load(device=device, weights=weights)))
    forget_peak()
    taken = []
    for _ in range(RUNS):
        segmenter = Segmenter.load(device=device, weights=weights)
        for given in (support, corrected):
            start = time.perf_counter()
            segmenter.segment(volume, given)
            taken.append(time.perf_counter() - start)
    peak_mb = peak_memory_mb()
    return SpeedRow(
        scenario=scenario,
        size=" x ".join(str(n) for n in reversed(volume.geometry.shape)),
        structures=len(support.structures),
        k=SLICES,
        first_seconds=round(median(taken[::2]), 2),
        second_seconds=round(median(taken[1::2]), 2),
        peak_memory_mb=None if peak_mb is None else round(peak_mb),
        device=device,
        weights_id=weights_id,
        grow_seconds=_baseline_seconds("grow", volume, support),
        fill_seconds=_baseline_seconds("fill", volume, support),
    )


def _baseline_seconds(name: str, volume: Volume, support: Support) -> float | None:
    """Seconds of a baseline, warm; None where its package is not installed."""
    baseline = next(one for one in BASELINES if one.name == name)
    if not baseline.is_installed:
        return None
    warm_up(baseline.run)
    return round(median(timed(lambda: baseline.run(volume, support))[1] for _ in range(RUNS)), 4)


def resampled(volume: Volume, labels: np.ndarray, shape: tuple[int, int, int]) -> tuple[Volume, np.ndarray]:
    """The same field of view on another shape (k, j, i): the image linear, labels nearest; same dtypes."""
    geometry = volume.geometry
    step = np.array(geometry.shape) / np.array(shape)
    affine = geometry.affine.copy()
    affine[:3, :3] = affine[:3, :3] * step[::-1]
    corner = geometry.index_to_world((step / 2 - 0.5)[None])[0]
    affine[:3, 3] = corner
    target = Geometry(shape, affine)
    reference = to_sitk(np.zeros(shape, dtype=np.uint8), target)
    results = []
    for array, interpolator in ((volume.array, sitk.sitkLinear), (labels, sitk.sitkNearestNeighbor)):
        source = to_sitk(array, geometry)
        results.append(from_sitk(sitk.Resample(source, reference, sitk.Transform(), interpolator, 0.0))[0])
    return Volume(results[0], target, volume.name), results[1]
