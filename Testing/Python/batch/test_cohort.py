"""Distributions of a batch: which cases stand out by the rule, and the bars of a histogram."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from measured import make_empty, make_lesion, make_measurements, make_structure
from MedMetaSegLib.batch.cohort import BINS, Distribution, distributions
from MedMetaSegLib.batch.states import DONE, FAILED, BatchRow


def distribution(values: Sequence[float]) -> Distribution:
    return Distribution("liver", "ml", {f"p{number}": value for number, value in enumerate(values)})


def test_a_case_beyond_three_and_a_half_modified_z_stands_out():
    """Median 12, deviations 2, 1, 1, 0, 0, 1, 1, 2, 8: MAD 1, so that 20 has 0.6745 x 8 = 5.4."""
    values = [10, 11, 11, 12, 12, 13, 13, 14, 20]
    assert distribution(values).outliers() == {"p8": pytest.approx(0.6745 * 8)}
    low = [*values[:8], 4]
    assert distribution(low).outliers() == {"p8": pytest.approx(-0.6745 * 8)}


@pytest.mark.parametrize(("last", "stands_out"), [(17, False), (18, True)])
def test_the_bound_is_where_it_is_said_to_be(last: float, stands_out: bool):
    """Five deviations are a z of 3.37, six of 4.05."""
    assert bool(distribution([10, 11, 11, 12, 12, 13, 13, 14, last]).outliers()) is stands_out


def test_of_few_cases_and_of_equal_ones_none_stands_out():
    assert distribution([10, 11, 11, 12, 13, 13, 99]).outliers() == {}
    assert distribution([0, 0, 0, 0, 0, 0, 0, 7, 9]).outliers() == {}


def test_every_case_is_in_one_bar():
    counts = distribution([0, 1, 5, 11.9, 12]).counts()
    assert len(counts) == BINS
    assert (sum(counts), counts[0], counts[1], counts[5], counts[-1]) == (5, 1, 1, 1, 2)
    assert distribution([3, 3]).counts() == [2]


def row(name: str, *structures: object, status: str = DONE) -> BatchRow:
    measured = make_measurements(*structures, lesions=("tumour",)) if structures else None
    return BatchRow(name, name, name, status, measurements=measured)


def test_each_figure_has_the_values_of_the_images_in_which_the_structure_was_found():
    rows = [
        row("a", make_structure("liver"), make_structure("tumour")),
        row("broken", status=FAILED),
        row("b", make_structure("liver", volume_cm3=3.0), make_empty("tumour")),
        row("c", make_structure("liver"), make_structure("tumour", lesions=(make_lesion(),))),
    ]
    liver, tumour = distributions(rows)
    assert [one.figure for one in liver] == ["ml", "mean", "Feret mm"]
    assert [one.figure for one in tumour] == ["ml", "mean", "Feret mm", "lesions", "burden ml"]
    assert liver[0].values == {"a": 0.75, "b": 3.0, "c": 0.75}
    assert tumour[3].values == {"a": 2.0, "c": 1.0}
    assert tumour[4].values == {"a": 0.75, "c": 0.5}


def test_without_measurements_there_are_no_distributions():
    assert distributions([row("a"), row("b", status=FAILED)]) == []
