"""The benchmark end to end on phantom cases: rows, resuming, second run, tables and picture."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from MedMetaSegLib.datasets.cases import read_case, read_cases
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.evaluation import benchmark, interaction
from MedMetaSegLib.evaluation.baselines import BASELINES
from MedMetaSegLib.evaluation.interaction import Row, own_process, score_interaction
from MedMetaSegLib.evaluation.methods import (
    OURS,
    TITLES,
    Method,
    compared_methods,
    interaction_of,
    method_named,
    warm_up,
)
from MedMetaSegLib.evaluation.protocols import same_volume_support
from MedMetaSegLib.evaluation.report import report_text, write_report
from MedMetaSegLib.evaluation.speed import CORRECTED, SpeedRow, fresh_seconds, resampled, two_interactions
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import Volume, write_labels
from MedMetaSegLib.support.support import Support

pytest.importorskip("itk")

ROW = Row("acdc", "001", "p1", "MR", "LV", 3, "A", OURS, 0.91, 0.87, 1.5, 700, "cpu", "abc", "1")
SPEED = SpeedRow("one organ", "512 x 512 x 300", 1, 3, 8.0, 2.0, 2100, "cpu", "abc", 5.0, 0.4, 9.5)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a manifest and one small left-handed case that the benchmark takes."""
    folder = tmp_path / "data"
    folder.mkdir()
    k, j, i = np.indices((16, 24, 20)).astype(float)
    labels = (((k - 8) / 7) ** 2 + ((j - 11) / 8) ** 2 + ((i - 9) / 7) ** 2 < 1).astype(np.uint8)
    geometry = Geometry(labels.shape, np.diag([-1.0, 1.0, 3.0, 1.0]))
    noise = np.random.default_rng(0).integers(0, 20, labels.shape)
    write_labels(folder / "image.nii.gz", (labels * 100 + noise).astype(np.uint8), geometry)
    write_labels(folder / "label.nii.gz", labels, geometry)
    case = {
        "dataset": "acdc",
        "case": "001",
        "patient": "p1",
        "modality": "MR cine SAX",
        "image": "image.nii.gz",
        "label": "label.nii.gz",
        "labels": {"1": "LV"},
    }
    (folder / "manifest.json").write_text(json.dumps([case]))
    return folder


class PaintsNothingMore:
    """Stands in for a Segmenter: gives back the annotated slices, and only the structures it is told to."""

    def __init__(self, structures: int) -> None:
        self.structures = structures

    def segment(self, volume: Volume, support: Support) -> SimpleNamespace:
        return SimpleNamespace(structures=support.structures[: self.structures])


def stand_in(structures: int) -> Method:
    return Method(
        OURS, TITLES[OURS], "1", "abc", "cpu", lambda _: interaction_of(PaintsNothingMore(structures))
    )


def test_rows_are_written_for_every_k_that_qualifies(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("slicer")
    rows, speed = benchmark.run(data, tmp_path / "out", ks=(3, 5, 50), methods=["grow"])
    assert [(row.k, row.structure, row.method, row.protocol) for row in rows] == [
        (3, "LV", "grow", "A"),
        (5, "LV", "grow", "A"),
    ]
    assert speed == []
    assert all(0.8 < row.dice <= 1 and 0 < row.nsd_2mm <= 1 for row in rows)
    assert all(row.seconds < 5 and 30 < (row.peak_memory_mb or 0) < 2000 for row in rows)
    assert benchmark.read_rows(tmp_path / "out" / benchmark.ROWS_FILE, Row) == rows


def test_a_resumed_benchmark_measures_only_what_is_missing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def measured(_function: object, _case: object, method: str, ks: list[int], _device: str) -> list[Row]:
        asked.append(ks)
        version = method_named("fill", "cpu").version
        row = dataclasses.replace(ROW, method=method, weights_id="", version=version)
        return [dataclasses.replace(row, k=k) for k in ks]

    monkeypatch.setattr(benchmark, "own_process", lambda: nullcontext(measured))
    out = tmp_path / "out"
    benchmark.run(data, out, ks=(1, 3), methods=["fill"])
    rows, _ = benchmark.run(data, out, ks=(1, 3, 5), methods=["fill"], resume=True)
    assert asked == [[1, 3], [5]]
    assert sorted(row.k for row in rows) == [1, 3, 5]
    stale = [dataclasses.replace(row, version="0") if row.k == 3 else row for row in rows]
    benchmark.write_rows(out / benchmark.ROWS_FILE, stale, Row)
    benchmark.run(data, out, ks=(1, 3, 5), methods=["fill"], resume=True)
    assert asked[2:] == [[3]]
    benchmark.run(data, out, ks=(1, 3), methods=["fill"])
    assert asked[3:] == [[1, 3]]


@pytest.mark.parametrize("change", [{"weights_id": "other"}, {"version": "2"}, {"device": "cuda"}])
def test_a_row_of_other_weights_version_or_device_does_not_stand(change: dict[str, str]) -> None:
    assert benchmark.still_stands(ROW, [stand_in(1)])
    assert not benchmark.still_stands(dataclasses.replace(ROW, **change), [stand_in(1)])
    assert benchmark.still_stands(dataclasses.replace(ROW, method="fill", **change), [stand_in(1)])


def test_a_stand_in_segmenter_is_scored_over_the_other_slices(data: Path) -> None:
    case = read_cases(data)[0]
    volume, labels = read_case(case)
    support = same_volume_support(labels, volume.geometry, case.names, 3)
    (row,) = score_interaction(case, stand_in(1), volume, labels, support, 3)
    assert (row.dice, row.weights_id, row.k, row.patient) == (0.0, "abc", 3, "p1")


def test_a_structure_a_method_does_not_give_back_scores_zero(data: Path) -> None:
    case = read_cases(data)[0]
    volume, labels = read_case(case)
    support = same_volume_support(labels, volume.geometry, case.names, 3)
    (row,) = score_interaction(case, stand_in(0), volume, labels, support, 3)
    assert row.dice == row.nsd_2mm == 0


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda one: one.name)
def test_a_baseline_is_named_and_warms_up(baseline: object) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("slicer")
    method = method_named(baseline.name, "cpu")  # type: ignore[attr-defined]
    warm_up(method.make_interaction("cpu"))
    assert method.version.startswith(str(baseline.revision))  # type: ignore[attr-defined]


def test_memory_is_the_peak_since_it_was_last_forgotten() -> None:
    def interaction_of_size(megabytes: int) -> float:
        peak = interaction.timed(lambda: iter([np.ones(megabytes * 2**20, dtype=np.uint8)]))[2]  # type: ignore[arg-type,list-item]
        assert peak is not None
        return peak

    large, small = interaction_of_size(300), interaction_of_size(1)
    assert large - small > 200


def test_without_the_system_s_figures_memory_is_not_measured_and_tables_say_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, which has neither /proc nor Python's module resource."""
    monkeypatch.setattr(interaction, "PROCESS", tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "resource", None)
    case = read_cases(data)[0]
    volume, labels = read_case(case)
    support = same_volume_support(labels, volume.geometry, case.names, 3)
    rows = score_interaction(case, stand_in(1), volume, labels, support, 3)
    assert rows[0].peak_memory_mb is None
    benchmark.write_rows(tmp_path / "rows.csv", rows, Row)
    assert benchmark.read_rows(tmp_path / "rows.csv", Row) == rows
    speed = dataclasses.replace(SPEED, peak_memory_mb=None, grow_seconds=None, fresh_seconds=None)
    benchmark.write_rows(tmp_path / "speed.csv", [speed], SpeedRow)
    assert benchmark.read_rows(tmp_path / "speed.csv", SpeedRow) == [speed]
    page = report_text(rows, [speed])
    assert f"| {rows[0].seconds:.1f} s, memory not measured |" in page
    assert "| 0.25 | not measured |  |  | 0.4 |  |" in page


def test_the_measurements_are_imported_where_there_is_no_module_resource() -> None:
    code = (
        "import sys\n"
        "sys.modules['resource'] = None\n"
        "import MedMetaSegLib.evaluation.benchmark, MedMetaSegLib.evaluation.throughput\n"
        "assert MedMetaSegLib.evaluation.throughput._cpu_seconds() is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_errors_of_the_other_process_come_back_as_they_were(tmp_path: Path) -> None:
    with own_process() as do, pytest.raises(InputError, match=r"no manifest\.json"):
        do(read_cases, tmp_path)


def test_methods_data_sets_and_ks_that_do_not_exist_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no method magic"):
        compared_methods(["magic"], "cpu")
    with pytest.raises(InputError, match="at least 1"):
        benchmark.run(data, tmp_path, ks=(0, 3), methods=["fill"])
    with pytest.raises(InputError, match="none of the benchmark's cases"):
        benchmark.run(data, tmp_path, datasets=["ms"], methods=["fill"])


def test_a_csv_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not from this version"):
        benchmark.read_rows(tmp_path / "rows.csv", Row)


def test_a_score_that_is_not_defined_survives_the_file_and_leaves_the_mean_alone(tmp_path: Path) -> None:
    rows = [ROW, dataclasses.replace(ROW, case="002", dice=math.nan)]
    benchmark.write_rows(tmp_path / "rows.csv", rows, Row)
    back = benchmark.read_rows(tmp_path / "rows.csv", Row)
    assert math.isnan(back[1].dice)
    assert "| Heart MR | 3 | 2 | 2 | **0.910** |" in report_text(back, [])


def test_the_page_says_protocol_k_data_and_n_beside_every_figure(tmp_path: Path) -> None:
    rows = [
        dataclasses.replace(ROW, k=k, method=method, dice=value, structure=structure)
        for k, value in ((3, 0.7), (5, 0.8))
        for method in (OURS, "fill")
        for structure in ("LV", "RV")
    ]
    ct = dataclasses.replace(ROW, dataset="totalseg", case="ct", modality="CT", structure="liver")
    paths = write_report([*rows, ct], [SPEED], tmp_path)
    assert [path.name for path in paths] == ["benchmark.md", "benchmark.png"]
    assert paths[1].stat().st_size > 10_000
    page = paths[0].read_text(encoding="utf-8")
    assert "| Heart MR | 3 | 1 | 2 | **0.700** | **0.700** |" in page
    assert "| Dice, protocol A, K = 3 | MedMetaSeg | Fill between slices |" in page
    assert "| liver | **0.910** |  |" in page
    assert "| mean Dice, n = 1 | **0.910** |  |" in page
    assert "| one organ | 512 x 512 x 300 | 1 | 8.0 | 2.0 | 0.25 | 2100 | 5.0 | 1.6 | 0.4 | 9.5 |" in page


def test_resampling_keeps_the_field_of_view_and_the_place_of_a_structure() -> None:
    labels = np.zeros((10, 12, 14), dtype=np.int32)
    labels[3:7, 4:8, 5:9] = 1
    volume = Volume.from_array((labels * 100).astype(np.int16), np.diag([-2.0, 2.0, 3.0, 1.0]))
    fine, fine_labels = resampled(volume, labels, (30, 24, 28))
    assert fine.geometry.shape == fine_labels.shape == (30, 24, 28)
    assert fine.array.dtype == np.int16
    assert np.count_nonzero(fine_labels) == 12 * np.count_nonzero(labels)
    for geometry, mask in ((volume.geometry, labels), (fine.geometry, fine_labels)):
        centre = geometry.index_to_world(np.argwhere(mask).mean(axis=0)[None])[0]
        np.testing.assert_allclose(centre, [-13.0, 11.0, 13.5], atol=1e-6)


def test_the_command_is_timed_in_a_process_of_its_own(data: Path) -> None:
    assert fresh_seconds(read_cases(data)[0], ["LV"], "cpu") > 0


def test_two_runs_and_the_baselines_share_a_process(data: Path) -> None:
    pytest.importorskip("slicer")
    case = dataclasses.replace(read_cases(data)[0], names={1: CORRECTED})
    row = two_interactions("small", case, [CORRECTED], None, "cpu", "abc")
    assert (row.structures, row.k, row.size) == (1, 3, "20 x 24 x 16")
    assert row.over_grow == row.first_seconds / row.grow_seconds  # type: ignore[operator]
    assert row.fill_seconds is not None
    assert row.fresh_seconds is None
