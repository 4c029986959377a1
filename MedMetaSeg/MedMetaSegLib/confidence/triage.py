"""What to do with a result: take it, look at it, or paint on the image, by what is expected of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import InputError

ACCEPT, REVIEW, PAINT = "accept", "review", "paint"
"""A result to take with a look at it, to check slice by slice, or to begin anew with a few painted slices."""
WORST_FIRST = (PAINT, REVIEW, ACCEPT)
ACCEPT_ABOVE = 0.8
"""Expected Dice of every structure from which an image is accepted, unless the user says otherwise."""
PAINT_BELOW = 0.6
"""Expected Dice of any structure below which an image is to be painted on, unless the user says otherwise."""
_EVEN = 0.5
"""Probability from which a structure is rather there than not."""


class Expected(Protocol):
    """What is expected of one structure; None where no confidence was asked for, or nothing was found."""

    @property
    def found(self) -> bool: ...
    @property
    def present(self) -> float | None: ...
    @property
    def predicted_dice(self) -> float | None: ...
    @property
    def doubtful(self) -> bool: ...


@dataclass(frozen=True)
class TriageBounds:
    """Expected Dice, 0 to 1, above which a result is accepted, and below which it is to be painted."""

    accept: float = ACCEPT_ABOVE
    paint: float = PAINT_BELOW

    def check(self) -> None:
        """Raise InputError for bounds that are no Dice, or that cross."""
        for what, bound in (("accept above", self.accept), ("paint below", self.paint)):
            if not 0 <= bound <= 1:
                raise InputError(f"The bound to {what} is {bound:g}; give a Dice from 0 to 1.")
        if self.paint > self.accept:
            raise InputError(
                f"Images below {self.paint:g} are to be painted and those above {self.accept:g} accepted; "
                "give a bound to paint that is not above the one to accept."
            )


def triage(structures: Sequence[Expected], unlike: Sequence[str], bounds: TriageBounds) -> str:
    """ACCEPT, REVIEW or PAINT for one image; "" where no confidence was asked for, or it failed.

    PAINT where the Dice expected of a structure lies below its bound. ACCEPT where every structure is surely
    absent, or surely there and found with a Dice above its bound, and the image is not unlike those of the
    task. unlike: sentences that say in what way it is.
    """
    if not structures or any(one.present is None for one in structures):
        return ""
    dice = lowest_dice(structures)
    if dice is not None and dice < bounds.paint:
        return PAINT
    sure = not unlike and all(_is_sure(one) for one in structures)
    return ACCEPT if sure and (dice is None or dice >= bounds.accept) else REVIEW


def lowest_dice(structures: Sequence[Expected]) -> float | None:
    """The lowest Dice expected of the structures that were found; None where there is none."""
    return min(
        (one.predicted_dice for one in structures if one.found and one.predicted_dice is not None),
        default=None,
    )


def _is_sure(one: Expected) -> bool:
    """Whether a structure is there, or not, as the result has it: neither doubtful nor forced nor lost."""
    return not one.doubtful and one.present is not None and one.found == (one.present >= _EVEN)
