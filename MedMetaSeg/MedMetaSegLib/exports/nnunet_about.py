"""What is said of a training set for nnU-Net: dataset.json, a table of its cases, and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..imageio.cells import path_cell, text_cell
from ..imageio.writing import write_csv
from .cases import ExportCase
from .channel_name import ImageKind
from .training_labels import LabelScheme

MADE_BY = "medmetaseg"
"""How `converted_by` in dataset.json begins."""
_FOLDS = 5
"""Cases that nnU-Net needs to train with its five folds."""


@dataclass(frozen=True)
class WrittenCase:
    """What came of one case.

    name: of its files. digest: tells its image from others. counts: voxels of each label, background first,
    ignore last. known: share of voxels that are not ignored. notes: sentences about it.
    """

    case: ExportCase
    name: str
    kind: ImageKind
    digest: bytes
    counts: tuple[int, ...]
    known: float
    notes: tuple[str, ...]


def dataset_json(
    folder: str, written: Sequence[WrittenCase], labels: dict[str, int], channel: str
) -> dict[str, Any]:
    """The content of dataset.json; what follows `file_ending` is for people, nnU-Net does not use it."""
    return {
        "channel_names": {"0": channel},
        "labels": labels,
        "numTraining": len(written),
        "file_ending": ".nii.gz",
        "name": folder.partition("_")[2],
        "description": _description(written),
        "converted_by": f"{MADE_BY} {__version__}",
    }


def write_cases(path: Path, written: Sequence[WrittenCase], scheme: LabelScheme) -> None:
    """Write a row per case: what it was made of, the share that is known, and voxels of each structure."""
    columns = [text_cell(f"{name} voxels") for name in scheme.structures]
    rows = [
        {
            "case": one.name,
            "image": path_cell(one.case.image),
            "segmentation": path_cell(one.case.segmentation.name),
            "annotation": one.case.annotation,
            "origin": one.case.origin,
            "patient": text_cell(one.case.patient),
            "known_percent": f"{100 * one.known:.4g}",
            **dict(zip(columns, one.counts[1:-1], strict=True)),
            "notes": text_cell(" ".join(one.notes)),
        }
        for one in written
    ]
    fixed = ("case", "image", "segmentation", "annotation", "origin", "patient", "known_percent")
    write_csv(path, [*fixed, *columns, "notes"], rows)


def dataset_notes(written: Sequence[WrittenCase], scheme: LabelScheme) -> tuple[str, ...]:
    """Sentences about the whole that who trains with it has to know."""
    return (
        *_never_seen(written, scheme),
        *_little_known(written),
        *_made_by_network(written),
        *_several_of_one_patient(written),
        *_too_few(written),
    )


def _description(written: Sequence[WrittenCase]) -> str:
    kinds = Counter(f"{one.case.annotation} ({one.case.origin})" for one in written)
    return f"Cases by annotation: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}."


def _never_seen(written: Sequence[WrittenCase], scheme: LabelScheme) -> Iterator[str]:
    numbered = enumerate(scheme.structures, start=1)
    missing = [name for label, name in numbered if not any(one.counts[label] for one in written)]
    if missing:
        yield f"No case has a voxel of {', '.join(missing)}; leave it out: name the others with --structure."


def _little_known(written: Sequence[WrittenCase]) -> Iterator[str]:
    ignored = sum(one.counts[-1] for one in written)
    if ignored:
        percent = 100 * ignored / sum(sum(one.counts) for one in written)
        yield f"Of {percent:.3g} % of the voxels too little is known; they have the label ignore."


def _made_by_network(written: Sequence[WrittenCase]) -> Iterator[str]:
    count = sum(one.case.by_network for one in written)
    if count:
        cases = "1 case" if count == 1 else f"{count} cases"
        yield f"Labels of {cases} were made by a network; they are as good as somebody checked them."


def _several_of_one_patient(written: Sequence[WrittenCase]) -> Iterator[str]:
    of_patient: dict[str, list[str]] = {}
    for one in written:
        if one.case.patient:
            of_patient.setdefault(one.case.patient, []).append(one.name)
    several = [names for names in of_patient.values() if len(names) > 1]
    if several:
        listed = "; ".join(", ".join(names) for names in several)
        yield (
            f"Of one patient are {listed}: nnU-Net parts cases by chance, so keep these in one fold, in a "
            "splits_final.json of your own."
        )


def _too_few(written: Sequence[WrittenCase]) -> Iterator[str]:
    if len(written) < _FOLDS:
        yield f"nnU-Net's five folds need {_FOLDS} cases or more; train with the fold `all`."
