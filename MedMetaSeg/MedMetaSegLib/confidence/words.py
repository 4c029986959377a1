"""Figures of confidence, as people read them in tables."""

from __future__ import annotations


def dice_text(dice: float | None, low: float | None, high: float | None) -> str:
    """An expected Dice with its interval: "0.91 (0.85-0.95)"; "" where it cannot be told."""
    if dice is None or low is None or high is None:
        return ""
    return f"{dice:.2f} ({low:.2f}-{high:.2f})"


def share_text(probability: float) -> str:
    """A probability of presence: "0.97"; below and above what two digits can say "< 0.01" and "> 0.99"."""
    if probability < 0.01:
        return "< 0.01"
    return "> 0.99" if probability > 0.99 else f"{probability:.2f}"
