"""Confidence fitted on rows of many patients, and checked on collections that the fit never saw.

    python -m MedMetaSegLib.evaluation.confidence_fit ROWS --out confidence.json

reads what `confidence_rows` wrote. Every figure is of patients whose whole collection was left out of the fit
(and of the quantiles and bounds), each collection in turn; what is shipped is fitted on all that may be
trained on. Hearts are never fitted on, for their licence; they are one more collection left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from ..confidence.calibration import FAR, LOGIT_RANGE, DiceModel, LogisticModel, PresenceModel, Term

Row = Mapping[str, Any]

NEVER_FITTED = frozenset({"acdc"})
"""Collections that may only be evaluated on."""
SAME_VOLUME = {
    "expected_dice": 1,
    "entropy": -1,
    "contrast": 1,
    "shape_agreement": 1,
    "propagated_agreement": 1,
    "likelihood_agreement": 1,
    "appearance_agreement": 1,
    "geodesic_agreement": 1,
    "residual": -1,
    "slices": 1,
    "gap": -1,
    "beyond": -1,
    "similarity": 1,
    "interpolation": 1,
}
"""Features of an answer in the same volume that its Dice is told from, and which way they may speak: for a
higher Dice or for a lower one. What some collections would have the other way round is chance.
"""
NEXT_PATIENT = {
    "expected_dice": 1,
    "entropy": -1,
    "contrast": 1,
    "network_agreement": 1,
    "place_agreement": 1,
    "local_ncc": 1,
    "mean_ncc": 1,
    "pose_ncc": 1,
    "global_ncc": 1,
    "disagreement": -1,
    "intensity_overlap": 1,
    "volume_ratio_after_warp": 1,
}
"""Features of an answer on the next patient that its Dice is told from, likewise. What depends on the size of
voxels more than on the answer (blur, surface, bending) is left out, and so are prototypes, whose logits are
not alike from task to task.
"""
PRESENCE = {
    "expected_dice": 1,
    "entropy": -1,
    "place_agreement": 1,
    "prototype_agreement": 1,
    "prototype_logit": 1,
    "local_ncc": 1,
    "mean_ncc": 1,
    "pose_ncc": 1,
    "global_ncc": 1,
    "disagreement": -1,
    "volume_ratio_after_warp": 1,
    "fov": 1,
    "swelling": -1,
    "log_scale": -1,
}
"""Features that tell whether a structure is there, likewise."""
PENALTIES = {"same_volume": 0.02, "next_patient": 0.1, "presence": 0.003}
"""By how much weights are shrunk."""
_COVERAGE = 0.93
"""Share of the true Dice of collections at hand that an interval holds: of another collection, which is less
like these than they are like each other, it is to hold nine in ten.
"""
_MISSED = 0.02
"""Share of structures that are there which may be left out."""
_LEAST_ABSENT, _MOST_ABSENT, _MOST_SURE = 0.05, 0.1, 0.9
"""Least and most probability below which a structure is left out, and most below which it is doubtful."""
_SURELY_GONE = 0.97
"""Share of structures that are not there which are to lie below the bound of what is surely there."""
_FLOOR, _SLOPE = 0.05, 1.0
"""Unit of a residual: floor + slope * (1 - predicted Dice)."""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows as arrays.

    signs: of the features, see SAME_VOLUME; values: (N, F), nan where missing; target: (N,), Dice or
    presence; groups: (N,), the collection, of a task that of its support; queries: (N,), the collection of
    the image that is segmented; weights: (N,).
    """

    signs: Mapping[str, int]
    values: np.ndarray
    target: np.ndarray
    groups: np.ndarray
    queries: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Row], signs: Mapping[str, int], target: str) -> Table:
        """The table of some rows; each collection weighs as the square root of its rows.

        signs: of the features, which way they may speak; target: the name of what is to be told.
        """
        queries = np.array([collection(str(row["dataset"])) for row in rows])
        groups = np.array([collection(str(row.get("support", row["dataset"])).split("/")[0]) for row in rows])
        counts = {one: int((groups == one).sum()) for one in groups}
        weights = np.array([counts[one] ** -0.5 for one in groups])
        values = np.array([[float(row.get(name, np.nan)) for name in signs] for row in rows])
        wanted = np.array([float(row[target]) for row in rows])
        return cls(signs, values.reshape(len(rows), len(signs)), wanted, groups, queries, weights)

    @classmethod
    def joined(cls, one: Table, other: Table) -> Table:
        """The rows of two tables of the same features, one after the other."""
        parts = zip(one._arrays, other._arrays, strict=True)
        return cls(one.signs, *(np.concatenate(two) for two in parts))

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.values, self.target, self.groups, self.queries, self.weights

    def where(self, chosen: np.ndarray) -> Table:
        """Some of its rows."""
        return Table(self.signs, *(part[chosen] for part in self._arrays))

    def features(self, number: int) -> dict[str, float]:
        """Those of one row."""
        return dict(zip(self.signs, self.values[number].tolist(), strict=True))

    def without(self, group: str) -> Table:
        """The rows that may be fitted on where a collection is left out."""
        return self.where((self.groups != group) & (self.queries != group)).fittable()

    def fittable(self) -> Table:
        """The rows that may be fitted on."""
        never = list(NEVER_FITTED)
        return self.where(~np.isin(self.groups, never) & ~np.isin(self.queries, never))


def collection(dataset: str) -> str:
    """What is left out together: data sets that have patients in common are one collection."""
    return "sarcoma" if dataset in ("sts_ct", "sts_mr") else dataset


def fitted(table: Table, penalty: float) -> LogisticModel:
    """The logistic model that fits a table best, weights shrunk by `penalty`.

    Of an agreement, which is a Dice, the logit is taken, as of what is told.
    """
    shares = table.weights / table.weights.sum()
    logit = [name.endswith("_agreement") for name in table.signs]
    values = np.where(logit, _logit(table.values), table.values)
    centres, scales = [], []
    for column in values.T:
        known = np.isfinite(column)
        if not known.any():
            centres.append(0.0)
            scales.append(1.0)
            continue
        weights = shares[known] / shares[known].sum()
        centre = float(weights @ column[known])
        centres.append(centre)
        scales.append(max(float(np.sqrt(weights @ (column[known] - centre) ** 2)), 1e-3))
    standard = np.nan_to_num(np.clip((values - centres) / scales, -FAR, FAR), nan=0.0)
    inputs = np.column_stack([standard, np.ones(len(standard))])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score = inputs @ weights
        value = shares @ (np.logaddexp(0, score) - table.target * score)
        gradient = inputs.T @ (shares * (1 / (1 + np.exp(-score)) - table.target))
        shrunk = np.append(penalty * weights[:-1], 0)
        return value + penalty * float(weights[:-1] @ weights[:-1]) / 2, gradient + shrunk

    bounds = [(0, None) if sign > 0 else (None, 0) for sign in table.signs.values()]
    start = np.zeros(inputs.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)]).x
    numbers = np.round(np.stack([centres, scales, found[:-1]], 1), 5).tolist()
    terms = [
        Term(name, centre, scale, weight, taken)
        for name, (centre, scale, weight), taken in zip(table.signs, numbers, logit, strict=True)
    ]
    return LogisticModel(tuple(terms), round(float(found[-1]), 5))


def _logit(shares: np.ndarray) -> np.ndarray:
    shares = np.clip(shares, *LOGIT_RANGE)
    return np.log(shares / (1 - shares))


def predictions(model: LogisticModel, table: Table) -> np.ndarray:
    """(N,) what a model says of the rows of a table."""
    return np.array([model.of(table.features(number)) for number in range(len(table.target))])


def held_out(table: Table, penalty: float) -> np.ndarray:
    """(N,) predictions of each collection by a model fitted without it."""
    result = np.full(len(table.target), np.nan)
    for group in np.unique(table.groups):
        inside = table.groups == group
        result[inside] = predictions(fitted(table.without(group), penalty), table.where(inside))
    return result


def dice_model(table: Table, penalty: float) -> DiceModel:
    """Mean and interval for the Dice of a table's rows; the interval is of collections left out in turn."""
    table = table.fittable()
    predicted = held_out(table, penalty)
    residual = (table.target - predicted) / (_FLOOR + _SLOPE * (1 - predicted))
    shares = ((1 - _COVERAGE) / 2, (1 + _COVERAGE) / 2)
    low, high = (round(_quantile(residual, table.weights, share), 4) for share in shares)
    return DiceModel(fitted(table, penalty), _FLOOR, _SLOPE, low, high)


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    order = np.argsort(values)
    sums = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(sums, share)), len(values) - 1)])


def presence_model(table: Table, outside: float, empty: float, missed: float) -> PresenceModel:
    """The probability of presence, and its bounds, from collections left out in turn.

    table: of structures with an answer. outside, empty: see `PresenceModel`. missed: share of the structures
    that are there which have no answer, and are left out whatever the bound is.
    """
    table, penalty = table.fittable(), PENALTIES["presence"]
    predicted = held_out(table, penalty)
    there = table.target > 0
    absent = _quantile(predicted[there], table.weights[there], max(_MISSED - missed, 0.0))
    sure = _quantile(predicted[~there], table.weights[~there], _SURELY_GONE)
    absent = min(max(absent, _LEAST_ABSENT), _MOST_ABSENT)
    sure = min(max(absent, sure), _MOST_SURE)
    return PresenceModel(fitted(table, penalty), outside, empty, round(absent, 4), round(sure, 4))


def auc(predicted: np.ndarray, there: np.ndarray) -> float:
    """Area under the receiver operating characteristic."""
    ranks = rankdata(predicted)
    count, others = int(there.sum()), int((~there).sum())
    return float((ranks[there].sum() - count * (count + 1) / 2) / max(count * others, 1))


def calibration_error(predicted: np.ndarray, there: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error in bins of equal width."""
    number = np.minimum((predicted * bins).astype(int), bins - 1)
    return float(
        sum(
            (number == one).mean() * abs(predicted[number == one].mean() - there[number == one].mean())
            for one in np.unique(number)
        )
    )
