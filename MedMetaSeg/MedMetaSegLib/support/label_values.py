"""The values of a label map: whole numbers from 0 to 65535, or so near to them that they are meant."""

from __future__ import annotations

import numpy as np

from ..errors import InputError

_NEARLY_WHOLE = 0.05 + 1e-4
"""Furthest from a whole number that a label may lie: scaled headers and float files store 0.9882 for 1.

A little more than 0.05, for 299.95 in single precision.
"""
_ONE_VALUE = 1e-3
"""By which values that became one label may differ: the rounding of one number, not two of them."""


class SupportProblem(InputError):
    """A problem with what a file holds; the file's name is put before it."""


def whole_labels(labels: np.ndarray, role: str = "support") -> np.ndarray:
    """Labels as uint8 or uint16, those nearly whole rounded; checked and converted slice by slice.

    role: what they are called in messages. Raises SupportProblem, an InputError, for negative values,
    fractions, NaN and values above 65535.
    """
    if labels.dtype in (np.uint8, np.uint16):
        return labels
    if labels.dtype.kind == "f":
        _check_nearly_whole(labels, role)
    smallest, largest = np.rint(float(labels.min())), np.rint(float(labels.max()))
    if smallest < 0:
        raise SupportProblem(f"The {role} has negative values (down to {smallest:g}); give a label map.")
    if largest > 65535:
        raise SupportProblem(f"The {role} has values up to {largest:g}; give labels of at most 65535.")
    kind = np.uint8 if largest <= 255 else np.uint16
    if labels.dtype.kind != "f":
        return labels.astype(kind)
    whole = np.empty(labels.shape, kind)
    for number, piece in enumerate(labels):
        whole[number] = np.rint(piece)
    return whole


def _check_nearly_whole(labels: np.ndarray, role: str) -> None:
    """Raise SupportProblem unless each label is one number, nearly whole."""
    spans: dict[float, tuple[float, float]] = {}
    for piece in labels:
        for value in np.unique(piece).tolist():
            if not np.isfinite(value):
                raise SupportProblem(f"The {role} has voxels of {value}; store 0 where nothing is painted.")
            label = float(np.rint(value))
            if abs(value - label) > _NEARLY_WHOLE:
                raise SupportProblem(
                    f"The {role} has values that are not whole numbers ({value:.4g}); give a label map."
                )
            low, high = spans.get(label, (value, value))
            spans[label] = min(low, value), max(high, value)
    for label, (low, high) in spans.items():
        if high - low > _ONE_VALUE:
            raise SupportProblem(
                f"The {role} has the values {low:.4g} and {high:.4g}, which would both be label {label:g}; "
                "give a label map."
            )
