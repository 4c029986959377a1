"""Runs the steps, for the module's test and for the Python console: a line for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import slicer
import slicer.util
from slicer.i18n import tr as _

from .steps import SCENARIOS, Scenario
from .trial import MODULE, NotCheckedError, Trial, require


@dataclass(frozen=True)
class Outcome:
    """How one step went. error: what made it fail, None otherwise."""

    number: int
    text: str
    error: Exception | None = None

    def line(self) -> str:
        """The number of the step in docs/try-in-slicer.md, and how it went."""
        return f"{self.number:2d}  {self.text}"


def run() -> bool:
    """Check all steps from the Python console and print a line for each; True when none failed.

    Says why in one sentence, and changes nothing, while the scene holds data or a package is missing.
    """
    refusal = whyRefused() or whySkipped()
    if refusal:
        print(refusal)
        return False
    failed = False
    for scenario in SCENARIOS:
        for outcome in outcomes(scenario):
            print(outcome.line(), flush=True)
            failed = failed or outcome.error is not None
    print(_("The other steps are for your eyes: see docs/try-in-slicer.md."))
    return not failed


def check(name: str) -> None:
    """Check the steps of the scenario with this name and print a line for each; raises what went wrong."""
    scenario = next(one for one in SCENARIOS if one.name == name)
    for outcome in outcomes(scenario):
        print(outcome.line(), flush=True)
        if outcome.error is not None:
            raise outcome.error


def whySkipped() -> str:
    """Why nothing can be segmented here, in a sentence; "" when everything that is needed is installed."""
    missing = slicer.util.getModuleWidget(MODULE).panel.installation.missing()
    if not missing:
        return ""
    return _("Not checked here: {packages} is not installed.").format(packages=", ".join(missing))


def whyRefused() -> str:
    """Why the scene must not be touched, in a sentence; "" when it holds nothing that could be saved."""
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        if node.GetSaveWithScene() and not node.GetHideFromEditors():
            return _("The scene holds '{name}': save and close your scene first.").format(name=node.GetName())
    return ""


def outcomes(scenario: Scenario) -> Iterator[Outcome]:
    """How each step of a scenario went; after one that did not go right the others are not checked."""
    remaining = list(scenario.numbers)
    try:
        with Trial() as trial:
            for sentence in scenario.steps(trial):
                yield Outcome(remaining.pop(0), f"ok: {sentence}")
            require(not remaining, "this step was left out")
    except NotCheckedError as reason:
        yield from _notChecked(remaining, str(reason))
    except Exception as error:
        # Whatever it is, the other scenarios go on.
        yield Outcome(remaining.pop(0), f"FAILED: {error or type(error).__name__}", error)
        yield from _notChecked(remaining, _("the step before failed"))


def _notChecked(numbers: list[int], reason: str) -> Iterator[Outcome]:
    for number in numbers:
        yield Outcome(number, _("not checked here: {reason}").format(reason=reason))
