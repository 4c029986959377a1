"""A training set for nnU-Net v2: a folder DatasetXXX_Name of images, labels and dataset.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..batch.paths import check_result_folder, result_names
from ..batch.request import NAMES
from ..errors import InputError, WriteError
from ..imageio.volume import write_image, write_labels
from ..imageio.writing import replace_folder, write_text
from ..progress import Progress
from .cases import ExportCase, on_image, read_annotation
from .channel_name import ImageKind, channel_name
from .nnunet_about import MADE_BY, WrittenCase, dataset_json, dataset_notes, write_cases
from .structure_names import label_scheme
from .training_labels import LabelScheme, TrainingLabels, training_labels

IMAGES, LABELS, ABOUT, TABLE = "imagesTr", "labelsTr", "dataset.json", "cases.csv"
"""What is in the folder; nnU-Net does not look at the table, which says what each case was made of."""
_FOLDER = re.compile(r"Dataset(\d{3})_[A-Za-z0-9][A-Za-z0-9_.-]*")
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]+")
"""What is not in the names of nnU-Net's cases."""


@dataclass(frozen=True)
class DatasetRequest:
    """A training set to be made: its cases and its folder.

    structures: which, in the order of their labels; () for all. channel_name: "" for what the images are.
    overwrite: a training set that was exported there before is replaced.
    """

    cases: tuple[ExportCase, ...]
    out: Path
    structures: tuple[str, ...] = ()
    channel_name: str = ""
    overwrite: bool = False


@dataclass(frozen=True)
class WrittenDataset:
    """A training set that was written.

    labels: by name, as dataset.json has them. notes: sentences about the whole.
    """

    out: Path
    cases: tuple[WrittenCase, ...]
    labels: dict[str, int]
    channel: str
    notes: tuple[str, ...]


def check_out(out: Path, overwrite: bool) -> None:
    """Raise InputError where no training set may be written, without writing anything."""
    match = _FOLDER.fullmatch(out.name)
    if match is None:
        raise InputError(
            f"{out} is no name for nnU-Net; give DatasetXXX_Name with three digits, in ASCII letters, such "
            "as Dataset501_Liver."
        )
    check_result_folder(out)
    for other in sorted(out.parent.glob(f"Dataset{match[1]}_*")):
        if other.name != out.name:
            raise InputError(f"{other} has the number {match[1]}, too; give the dataset another.")
    if out.is_dir():
        _check_replaceable(out, overwrite)


def write_dataset(request: DatasetRequest, progress: Progress) -> WrittenDataset:
    """Write a training set, whole or not at all. Raises InputError with nothing written."""
    check_out(request.out, request.overwrite)
    _check_inputs_kept(request)
    names = case_names(request.cases)
    progress(0.0, "Reading annotations")
    scheme = _scheme(request)
    with replace_folder(request.out) as folder:
        (folder / IMAGES).mkdir()
        (folder / LABELS).mkdir()
        written: list[WrittenCase] = []
        for number, (case, name) in enumerate(zip(request.cases, names, strict=True)):
            progress(number / len(names), f"case {number + 1} of {len(names)}")
            written.append(_write_case(folder, case, name, scheme))
            _check_new(written)
            channel = request.channel_name or channel_name([one.kind for one in written])
        _check_background(written)
        labels = scheme.as_dict(with_ignore=any(one.counts[-1] for one in written))
        about = dataset_json(request.out.name, written, labels, channel)
        write_text(folder / ABOUT, json.dumps(about, indent=4) + "\n")
        write_cases(folder / TABLE, written, scheme)
    return WrittenDataset(request.out, tuple(written), labels, channel, dataset_notes(written, scheme))


def case_names(cases: tuple[ExportCase, ...]) -> list[str]:
    """A name for the files of each case, all different: ASCII letters, digits, "_", "." and "-"."""
    plain = [_UNUSUAL.sub("_", one.name).strip("._-") or "case" for one in cases]
    return result_names([(name, ()) for name in plain], NAMES)


def _scheme(request: DatasetRequest) -> LabelScheme:
    """The labels of all cases; every annotation is read once for it, and once more where it is written."""
    named = []
    for case in request.cases:
        found = [one.structure.name for one in read_annotation(case).structures]
        named.append((case.name, [*case.declared, *(name for name in found if name not in case.declared)]))
    return label_scheme(named, request.structures)


def _write_case(folder: Path, case: ExportCase, name: str, scheme: LabelScheme) -> WrittenCase:
    """Write the image and the labels of one case. Raises InputError, which names the case."""
    try:
        volume = case.volume()
        support = on_image(read_annotation(case, volume), volume)
        made = training_labels(support, scheme)
        write_image(folder / IMAGES / f"{name}_0000.nii.gz", replace(volume, name=case.image))
        write_labels(folder / LABELS / f"{name}.nii.gz", made.labels, volume.geometry)
    except WriteError:
        raise
    except InputError as error:
        raise InputError(f"Case {name}: {error}") from error
    left_out = (f"{what} is left out: {why}." for what, why in support.skipped)
    said = (*case.notes, *volume.notes, *support.notes, *left_out, *made.notes, *_absent(case, made, scheme))
    return WrittenCase(
        case,
        name,
        ImageKind.of(name, volume),
        volume.digest(),
        made.counts,
        made.known,
        tuple(dict.fromkeys(said)),
    )


def _absent(case: ExportCase, made: TrainingLabels, scheme: LabelScheme) -> Iterator[str]:
    """A sentence about structures of which the case has no voxel, and what that was taken for."""
    missing = [name for label, name in enumerate(scheme.structures, 1) if not made.counts[label]]
    if missing:
        taken = "there is none" if case.annotation == "complete" else "not annotated, so it may be anywhere"
        yield f"No voxel of {', '.join(missing)}: {taken}."


def _check_replaceable(out: Path, overwrite: bool) -> None:
    """Raise InputError unless a folder may be replaced and holds nothing but an exported training set."""
    if not overwrite:
        raise InputError(f"{out} is there already; replace it with --overwrite, or choose another name.")
    others = sorted(one.name for one in out.iterdir() if one.name not in (IMAGES, LABELS, ABOUT, TABLE))
    if others:
        raise InputError(f"{out} holds {others[0]}, which --overwrite would remove; move it, or {out}.")
    try:
        about = json.loads((out / ABOUT).read_text(encoding="utf-8"))
        is_ours = str(about["converted_by"]).startswith(MADE_BY)
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = not any(out.iterdir())
    if not is_ours:
        raise InputError(f"{out} was not exported by this command; move it, or choose another name.")


def _check_inputs_kept(request: DatasetRequest) -> None:
    """Raise InputError where a file that is read lies in the folder that is replaced."""
    out = request.out.resolve()
    for case in request.cases:
        for path in (case.path, case.segmentation):
            if path.resolve().is_relative_to(out):
                raise InputError(
                    f"{path} lies in {request.out}, which would be replaced; choose another name."
                )


def _check_new(written: list[WrittenCase]) -> None:
    """Raise InputError where the last case has the image of one before it."""
    *before, last = written
    other = next((one for one in before if one.digest == last.digest), None)
    if other is not None:
        raise InputError(f"Cases {other.name} and {last.name} have the same image; give each image once.")


def _check_background(written: list[WrittenCase]) -> None:
    if not any(one.counts[0] for one in written):
        raise InputError(
            "No voxel is known to be background, and nnU-Net would learn to find structures everywhere: "
            "annotate all structures on the same slices, export them one by one with --structure, or add a "
            "segment called background to scribbles."
        )
