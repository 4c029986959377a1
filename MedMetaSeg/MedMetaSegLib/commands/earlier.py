"""What `medmetaseg measure --compare` adds: an earlier image of the patient, and what changed since.

Only what typer needs is imported with the module; numpy and torch come with the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..follow_up.changes import SAME_WORLD, FollowUp
from ..imageio.files import check_there
from ..imageio.names import shown

Compare = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--compare",
        metavar="BEFORE_IMAGE BEFORE_SEGMENTATION",
        help="An earlier image of the patient and its segmentation: what changed goes to TABLE_changes.csv.",
    ),
]
Transform = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="How the two lie, for --compare: a transform that ITK reads (.tfm, .h5, .txt, .mat, .xfm), of "
        "points of IMAGE to BEFORE_IMAGE, as for resampling the latter; the word none where they lie on one "
        "another as they are. Without the option they are registered.",
    ),
]


@dataclass(frozen=True)
class EarlierRequest:
    """What is asked for with --compare; transform: see `follow_up.follow.follow_up`."""

    image: Path
    segmentation: Path
    transform: str = ""

    @classmethod
    def of(cls, compare: tuple[Path, Path] | None, transform: str | None) -> EarlierRequest | None:
        """What the two options ask for. Raises InputError for a transform without a comparison."""
        if compare is None:
            if transform is not None:
                raise InputError("--transform goes with --compare only.")
            return None
        return cls(*compare, transform or "")

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The files that are read, by what a message calls them."""
        found = {"the earlier image": self.image, "the earlier segmentation": self.segmentation}
        if self.transform and self.transform != SAME_WORLD:
            found["the transform"] = Path(self.transform)
        return found

    def check_there(self) -> None:
        """Raise InputError for what is not there."""
        for what, path in self.inputs.items():
            check_there(path, what.removeprefix("the "))

    def about(self, result: FollowUp) -> Mapping[str, object]:
        """For JSON: what was compared, and what changed."""
        about = {"image": shown(self.image), "segmentation": shown(self.segmentation)}
        return {**about, "transform": shown(self.transform), **result.as_dict()}
