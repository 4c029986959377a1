"""`make demo`: a phantom patient, or the user's own files, through the module's logic on a real Slicer scene.

Leaves scene.mrb, segmentation.seg.nrrd, overview.png and report.json in a folder.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ..commands.terminal import progress_bar
from ..errors import InputError
from ..evaluation.metrics import score_other_slices
from ..imageio.volume import Volume, read_volume
from ..imageio.writing import replace_all, write_text
from ..results.millilitres import millilitres_text, rounded_millilitres
from ..support.placement import placed_support
from ..support.structure import Structure, StructureMask
from ..support.support import Support, check_overlap, check_something_left
from ..working_grid.intensity import intensity_normalization
from .phantom import LABEL, STRUCTURES, make_patient, painted
from .slicer_core import SlicerCoreMissingError, boot
from .views import RenderingUnavailableError

if TYPE_CHECKING:
    from ..scene.logic import SceneLogic

PAINTED = ("liver", "left kidney", "spleen", "liver lesion")
SLICES = 3

Masks = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """An image, what was painted on it, and a phantom's truth: by name, bool masks on the image's grid."""

    volume: Volume
    support: Support
    truth: Mapping[str, np.ndarray]

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The painted structures."""
        return tuple(one.structure for one in self.support.structures)


def main(
    image: Path | None = None,
    support: Path | None = None,
    out: Path = Path("out/demo"),
    device: str = "auto",
    seed: int = 0,
) -> None:
    """The command `medmetaseg demo`. Raises InputError, with nothing written, for what cannot be used."""
    console = Console()
    if (image is None) != (support is None):
        raise InputError("Give both an image and what was painted on it, or neither for the phantom.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give the name of a folder.")
    started = time.perf_counter()
    case = phantom_case(seed) if image is None or support is None else own_case(image, support)
    console.print(
        f"{case.volume.name}: {_grid(case.volume)}, {time.perf_counter() - started:.1f} s", highlight=False
    )
    try:
        boot()
    except SlicerCoreMissingError as error:
        raise InputError(f"{error}") from error
    from ..scene.logic import SceneLogic

    rows = demonstrate(case, out, SceneLogic(), device, console)
    console.print(_table(rows, bool(case.truth)))
    for name in ("scene.mrb", "segmentation.seg.nrrd", "overview.png", "report.json"):
        console.print(str(out / name), highlight=False, soft_wrap=True)


def phantom_case(seed: int = 0, **size: Any) -> Case:
    """A phantom patient with four structures painted on three slices each; `size` goes to `make_patient`."""
    patient = make_patient(seed, **size)
    geometry = patient.volume.geometry
    wanted = [structure for structure in STRUCTURES if structure.name in PAINTED]
    labels = painted(patient.truth, tuple(LABEL[name] for name in PAINTED), SLICES)
    masks = [StructureMask(structure, (0, 0, 0), labels == structure.label) for structure in wanted]
    truth = {structure.name: patient.truth == structure.label for structure in wanted}
    return Case(patient.volume, Support.from_masks(masks, geometry, plane="axial"), truth)


def own_case(image: Path, support: Path) -> Case:
    """The user's own files; there is no truth."""
    volume = read_volume(image)
    drawn = placed_support(Support.read(support), volume)
    check_overlap(drawn, volume.geometry)
    check_something_left(drawn, volume.geometry)
    # Only DICOM says the modality; the window of the views follows the engine's own rule.
    return Case(replace(volume, modality=intensity_normalization(volume).modality), drawn, {})


def demonstrate(
    case: Case, out: Path, logic: SceneLogic, device: str = "auto", console: Console | None = None
) -> list[dict[str, Any]]:
    """Segment the case in the booted scene and write the four files; returns a row per structure."""
    from . import nodes

    console = console or Console()
    core = boot()
    volumeNode = nodes.addVolume(core.scene, case.volume)
    paintedNode = nodes.addSegments(volumeNode, "Painted", case.support.structures, case.support.geometry)
    started = time.perf_counter()
    with progress_bar() as progress:
        resultNode = logic.segment(
            volumeNode, paintedNode, annotation=case.support.annotation, device=device, progress=progress
        )
    seconds = time.perf_counter() - started
    resultNode.SetName("Segmented")
    shown = [paintedNode, resultNode]
    predicted = nodes.segmentMasks(resultNode, volumeNode)
    annotated = nodes.segmentMasks(paintedNode, volumeNode)
    if case.truth:
        shown.append(_truthNode(case, volumeNode))
    report = dict(logic.lastReport or {})
    rows = _rows(case, predicted, report)
    report |= {"volume": case.volume.name, "seconds_in_all": round(seconds, 3), "demonstration": rows}
    panels, note = _panels(case, volumeNode, shown, predicted, annotated)
    if note:
        console.print(note, style="yellow", highlight=False)
        report["notes"] = [*report.get("notes", []), note]
    for node in shown:
        node.GetDisplayNode().SetVisibility(node is resultNode)
    out.mkdir(parents=True, exist_ok=True)
    replace_all(
        {
            out / "segmentation.seg.nrrd": lambda path: nodes.writeSegmentationNode(resultNode, path),
            out / "scene.mrb": lambda path: nodes.writeScene(core.scene, path),
            out / "overview.png": lambda path: _overview(path, case, panels, rows, seconds),
            out / "report.json": lambda path: _write_json(path, report),
        }
    )
    return rows


def _write_json(path: Path, report: dict[str, Any]) -> None:
    write_text(path, json.dumps(report, indent=2) + "\n")


def _truthNode(case: Case, volumeNode: Any) -> Any:
    from . import nodes

    whole = [StructureMask(one, (0, 0, 0), case.truth[one.name]) for one in case.structures]
    return nodes.addSegments(volumeNode, "Truth", whole, case.volume.geometry)


def _rows(case: Case, predicted: Masks, report: dict[str, Any]) -> list[dict[str, Any]]:
    by_name = {one["name"]: one for one in report.get("structures", [])}
    rows = []
    for one in case.support.structures:
        name, axis = one.structure.name, one.axis or 0
        mask = predicted[name]
        row: dict[str, Any] = {
            "name": name,
            "painted_slices": list(one.slices),
            "millilitres": rounded_millilitres(int(mask.sum()) * case.volume.geometry.voxel_ml),
            "seconds": by_name.get(name, {}).get("seconds"),
        }
        if name in case.truth:
            spacing = case.volume.geometry.spacing_mm
            score = score_other_slices(mask, case.truth[name], spacing, one.slices, axis)
            row["dice_other_slices"] = None if math.isnan(score.dice) else round(score.dice, 4)
        rows.append(row)
    return rows


def _panels(
    case: Case, volumeNode: Any, shown: list[Any], predicted: Masks, annotated: Masks
) -> tuple[list[list[Any]], str]:
    """The pictures by Slicer's views, or plain ones and a sentence that says so."""
    from . import picture

    place = picture.telling_place(case.volume.geometry, predicted, annotated)
    try:
        return picture.slicer_panels(boot(), volumeNode, shown, place), ""
    except RenderingUnavailableError as error:
        columns = [annotated, predicted, dict(case.truth)] if case.truth else [annotated, predicted]
        plain = picture.plain_panels(case.volume, columns, case.structures, place)
        return plain, f"The pictures are plain slices, not Slicer's views. {error}"


def _overview(
    path: Path, case: Case, panels: list[list[Any]], rows: list[dict[str, Any]], seconds: float
) -> None:
    from .picture import write_overview

    count = max((len(row["painted_slices"]) for row in rows), default=0)
    captions = [
        f"Painted ({count} slices each)" if case.support.annotation == "slices" else "Painted",
        "Segmented",
    ]
    captions += ["Truth"] if case.truth else []
    labels = {
        row["name"]: f"{row['name']}, Dice {row['dice_other_slices']:.2f}"
        for row in rows
        if row.get("dice_other_slices") is not None
    }
    took = _number(seconds, 0 if seconds >= 10 else 1)
    title = f"{case.volume.name}: {len(rows)} structures in {took} s"
    write_overview(path, panels, captions, case.structures, title, labels)


def _table(rows: list[dict[str, Any]], with_truth: bool) -> Table:
    headings = ["structure", "painted slices", "ml", "seconds"]
    table = Table(*headings, *(["Dice, other slices"] if with_truth else []))
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        slices = ", ".join(map(str, row["painted_slices"]))
        cells = [row["name"], slices, millilitres_text(row["millilitres"]), _number(row["seconds"], 2)]
        table.add_row(*cells, *([_number(row["dice_other_slices"], 3)] if with_truth else []))
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _grid(volume: Volume) -> str:
    voxels = " x ".join(str(size) for size in volume.geometry.shape[::-1])
    return f"{voxels} voxels of {' x '.join(f'{mm:.2g}' for mm in volume.geometry.spacing_mm[::-1])} mm"
