"""What becomes of an answer: accepted into what is painted, that taken back, or the answer before again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from ...errors import InputError
from .host import Host
from .segment_editor import EmbeddedEditor

if TYPE_CHECKING:
    from ..accept import Acceptance
    from ..results import ResultSegments


class Answers:
    """Results in the scene, for the Segment tab. Each method says in the panel how it went."""

    def __init__(self, host: Host, editor: EmbeddedEditor) -> None:
        self._host, self._editor = host, editor
        # Made when they are needed: they bring scipy, which the opening of the panel does not wait for.
        self._results: ResultSegments | None = None
        self._acceptance: Acceptance | None = None

    @property
    def results(self) -> ResultSegments:
        """Where a job writes its answer."""
        from ..results import ResultSegments

        if self._results is None:
            self._results = ResultSegments()
        return self._results

    # ------------------------------------------------------------ what can be done

    def areThere(self, paintedIds: Sequence[str]) -> bool:
        """True when the output holds a result of one of these painted segments."""
        output = self._host.parameters.output
        if output is None or not paintedIds:
            return False
        from ..accept import resultsFor

        return bool(resultsFor(output, paintedIds))

    @property
    def canUndo(self) -> bool:
        """True when the last Accept can be taken back."""
        return self._acceptance is not None and self._acceptance.canUndo

    @property
    def canGoBack(self) -> bool:
        """True when the output holds an answer of this session."""
        parameters = self._host.parameters
        return (
            parameters is not None and self._results is not None and self._results.canUndo(parameters.output)
        )

    # ------------------------------------------------------------ what is done

    def accept(self, soughtIds: Sequence[str]) -> None:
        """Copy the results of these painted segments over what was painted, as one step to undo."""
        from ..accept import Acceptance, resultsFor

        if self._acceptance is None:
            self._acceptance = Acceptance(self._editor.inUse)
        parameters = self._host.parameters
        pairs = resultsFor(parameters.output, soughtIds)
        try:
            unchanged = self._acceptance.accept(
                parameters.output, parameters.segmentation, parameters.volume, pairs
            )
        except InputError as error:
            self._host.say(error=str(error))
            return
        lines = [_("Accepted: {count} segments are yours now.").format(count=len(pairs) - len(unchanged))]
        if unchanged:
            left = _("Not changed: {names}: {masking}.")
            masking = self._acceptance.maskingInWords
            lines.append(left.format(names=", ".join(unchanged), masking=masking))
        self._host.say(result="\n".join(lines))

    def undo(self) -> None:
        """Take the last Accept back."""
        assert self._acceptance is not None
        try:
            self._acceptance.undo()
        except InputError as error:
            self._host.say(error=str(error))
        else:
            self._host.say(result=_("Undone: your segments are as they were before Accept."))

    def goBack(self) -> None:
        """Go back to the answer before the last press."""
        parameters = self._host.parameters
        output = parameters.output
        # Nobody may take another node for the output while this one leaves the scene.
        parameters.output = None
        left = self.results.undo(output)
        parameters.output = left.node
        text = _("Back: the answer before the last press.")
        if left.node is None:
            text = _("Back: there is no result, as before the first press.")
        if left.kept:
            text += " " + _("You edited {names}, which stays.").format(names=", ".join(left.kept))
        self._host.say(result=text)

    # ------------------------------------------------------------ what is forgotten

    def forgetAccept(self) -> None:
        """Another segmentation is painted now."""
        if self._acceptance is not None:
            self._acceptance.forget()

    def forget(self) -> None:
        """The scene closes."""
        self.forgetAccept()
        if self._results is not None:
            self._results.forget()
