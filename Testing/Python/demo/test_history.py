"""The history of the shipped weights: their row is there, and they still reach its figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from MedMetaSegLib.demo import history
from MedMetaSegLib.demo.history import (
    HistoryRow,
    benchmark_dice,
    read_history,
    row_of,
    with_row,
    write_history,
)
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.evaluation.benchmark import read_rows, write_rows
from MedMetaSegLib.evaluation.interaction import Row
from MedMetaSegLib.evaluation.methods import OURS

DOCS = Path(__file__).parents[3] / "docs"
OTHER_MACHINE = 0.005
"""Dice by which figures may differ on a machine with other arithmetic libraries."""

ROW = Row("totalseg", "ct", "p1", "CT", "liver", 3, "A", OURS, 0.9, 0.8, 1.5, 700, "cpu", "abc", "1")
OLD = HistoryRow("2026-01-01", "0.1.0", "abc", (), 0.8)
NEW = HistoryRow("2026-02-01", "0.2.0", "def", (0.9, 0.8, 0.7, 0.6), None)


def test_the_shipped_weights_reach_on_the_phantom_what_their_row_says() -> None:
    row = row_of(read_history(DOCS / history.FILE), history.weights_id())
    assert history.phantom_dice() == pytest.approx(row.phantom, abs=OTHER_MACHINE)


def test_the_history_says_what_the_benchmark_says() -> None:
    rows = read_history(DOCS / history.FILE)
    benchmark = read_rows(DOCS / "benchmark.csv", Row)
    measured = {row.weights: benchmark_dice(benchmark, row.weights) for row in rows}
    (of_these,) = [row for row in rows if measured[row.weights] is not None]
    assert of_these.totalseg_ct == measured[of_these.weights]


def test_weights_without_a_row_are_told_apart_in_a_sentence() -> None:
    with pytest.raises(InputError, match=r"no phantom's Dice of the weights xyz: run `make history`"):
        row_of([OLD, NEW], "xyz")
    with pytest.raises(InputError, match="of the weights abc"):
        row_of([OLD], "abc")
    assert row_of([OLD, NEW], "def") is NEW


def test_a_history_survives_its_file(tmp_path: Path) -> None:
    assert read_history(tmp_path / "none.csv") == []
    write_history(tmp_path / "history.csv", [OLD, NEW])
    assert read_history(tmp_path / "history.csv") == [OLD, NEW]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is not a history of weights"):
        read_history(tmp_path / "other.csv")


def test_a_row_takes_the_place_of_the_same_weights_and_keeps_the_benchmark() -> None:
    assert with_row([OLD], NEW) == [OLD, NEW]
    again = dataclasses.replace(NEW, weights="abc")
    assert with_row([OLD, NEW], again) == [dataclasses.replace(again, totalseg_ct=0.8), NEW]


def test_the_command_writes_the_row_of_the_shipped_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "weights_id", lambda: "abc")
    monkeypatch.setattr(history, "phantom_dice", lambda: NEW.phantom)
    other = dataclasses.replace(ROW, structure="spleen", dice=0.7)
    rows = [ROW, other, dataclasses.replace(ROW, k=5, dice=0.0), dataclasses.replace(ROW, dice=float("nan"))]
    write_rows(tmp_path / "benchmark.csv", rows, Row)
    write_history(tmp_path / history.FILE, [NEW])
    history.main(tmp_path)
    kept, added = read_history(tmp_path / history.FILE)
    assert kept == NEW
    assert (added.weights, added.phantom, added.totalseg_ct) == ("abc", NEW.phantom, 0.8)
