"""Slicer's .seg.nrrd: segments with names, colours and terminology, in layers where they overlap.

Its LPS becomes the RAS used throughout here. Texts in the header are UTF-8, with newlines and backslashes
escaped, as Teem does in Slicer; pynrrd knows ASCII alone, so that texts are read and written here.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import InputError
from ..imageio.files import check_file, nrrd_header, suffix, truncated
from ..imageio.geometry import LPS_RAS, Geometry, Index3, index3
from ..imageio.nifti import NiftiForms
from ..imageio.writing import write_bytes
from .structure import Structure, StructureMask, default_color, tight

_PACKAGES = {"nrrd": "pynrrd"}
"""Packages by their module, where that has another name."""
_FRACTIONAL = "Fractional labelmap"
_TEXT_FIELD = re.compile(r"^Segment(\d+)_(Name|ID|Tags):=(.*)$", re.MULTILINE)
_TERMINOLOGY = re.compile(r"(?:^|\|)\s*TerminologyEntry:([^|]*)")
_UNREADABLE = (OSError, ValueError, KeyError, IndexError, zlib.error, StopIteration)


@dataclass(frozen=True, eq=False)
class SegmentationContent:
    """What a file of segments or labels holds: a mask, cropped, for each.

    background_ids: identities of the segments tagged as background. forms: what the header of a NIfTI file
    says of its place. overlapping: False where no voxel can belong to two, None where it is not known.
    is_label_map: structures are known by their values alone, and one without voxels is not in it.
    notes: sentences about the reading that who uses it has to know. frame_of_reference: the identifier that
    DICOM gives the space it lies in, "" where none is known.
    """

    geometry: Geometry
    masks: tuple[StructureMask, ...]
    background_ids: frozenset[str] = frozenset()
    forms: NiftiForms | None = None
    overlapping: bool | None = None
    is_label_map: bool = False
    notes: tuple[str, ...] = ()
    frame_of_reference: str = ""

    def renamed(self, names: Mapping[int, str]) -> SegmentationContent:
        """The same with other structure names, by label value."""
        structures = [
            replace(one.structure, name=names.get(one.structure.label, one.structure.name))
            for one in self.masks
        ]
        pairs = zip(self.masks, structures, strict=True)
        return replace(self, masks=tuple(replace(one, structure=structure) for one, structure in pairs))


def is_segmentation_file(path: Path) -> bool:
    """True for a NRRD file that describes segments, whatever its name; False if it cannot be parsed."""
    if suffix(path) not in (".seg.nrrd", ".nrrd") or not os.path.isfile(path):
        return False
    nrrd = _package("nrrd")
    try:
        with path.open("rb") as file:
            header = nrrd.read_header(file)
    except (nrrd.NRRDError, *_UNREADABLE):
        return False
    return any(key.startswith("Segment0_") for key in header)


def read_segmentation(path: str | Path) -> SegmentationContent:
    """Read a .seg.nrrd; overlapping segments keep their own masks.

    A structure's label is the segment's label value if no two segments share one, else 1 to n in file order.
    A segment whose name is blank is called by its identity. Raises InputError when the file is missing,
    truncated, fractional or not a segmentation.
    """
    slicerio = _package("slicerio")
    path = Path(path)
    check_file(path)
    try:
        content = slicerio.read_segmentation(str(path))
    except _UNREADABLE as error:
        raise _damaged(path, str(error)) from error
    if _is_fractional(content):
        raise InputError(
            f"{path} holds a fractional segmentation; convert it to a binary labelmap in Slicer's module "
            "Segmentations and save it again."
        )
    segments = _with_texts(content["segments"], path)
    # pynrrd gives (i, j, k), or (layer, i, j, k) with layers next to each other in memory.
    voxels = content["voxels"]
    layers = [voxels] if voxels.ndim == 3 else list(voxels)
    arrays = [layer.transpose(2, 1, 0) for layer in layers]
    try:
        geometry = Geometry(index3(arrays[0].shape), LPS_RAS @ content["ijkToLPS"])
    except ValueError as error:
        raise InputError(f"{path} has no usable position in space; export it from Slicer again.") from error
    labels = _labels(segments, len(arrays))
    masks = tuple(
        StructureMask(_structure(segment, label), *_placed_mask(segment, number, arrays, path))
        for number, (segment, label) in enumerate(zip(segments, labels, strict=True))
    )
    tagged = frozenset(str(segment["id"]) for segment in segments if _is_tagged_background(segment))
    return SegmentationContent(geometry, masks, tagged)


def write_segmentation(
    path: str | Path,
    masks: Sequence[StructureMask],
    geometry: Geometry,
) -> None:
    """Write a .seg.nrrd that Slicer opens with names, colours and terminology; whole or not at all.

    masks: on the grid `geometry`; those that overlap go to layers. Raises InputError when the place cannot be
    written.
    """
    slicerio = _package("slicerio")
    path = Path(path)
    if suffix(path) != ".seg.nrrd":
        raise InputError(f"{path} has no suffix for a segmentation; use .seg.nrrd.")
    cropped = [StructureMask(one.structure, *tight(one.mask, one.offset)) for one in masks]
    layers, layer_of = _layered(cropped, geometry.shape)
    document = {
        "voxels": layers[0].T if len(layers) == 1 else np.stack([layer.T for layer in layers]),
        "ijkToLPS": LPS_RAS @ geometry.affine,
        "encoding": "gzip",
        "containedRepresentationNames": ["Binary labelmap"],
        "segments": [_segment_fields(one, layer) for one, layer in zip(cropped, layer_of, strict=True)],
    }

    file = io.BytesIO()
    slicerio.write_segmentation(file, document, 3)
    header, _, voxels = file.getvalue().partition(b"\n\n")
    texts = _header_with_texts(header, [one.structure for one in cropped])
    write_bytes(path, b"\n\n".join((texts, voxels)))


def check_packages() -> None:
    """Raise InputError where a package that writing a .seg.nrrd needs is not installed."""
    for module in ("slicerio", "nrrd"):
        _package(module)


def _package(module: str) -> ModuleType:
    """The module, imported when it is needed; InputError where it, or what it needs itself, is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise InputError(
            f"Segmentation files need the Python package '{_PACKAGES.get(missing, missing)}': install it, "
            "then try again."
        ) from error


def _labels(segments: Sequence[Mapping[str, Any]], layers: int) -> list[int]:
    values = [int(segment.get("labelValue", 1)) for segment in segments]
    if len(set(values)) == len(values) and min(values, default=1) > 0:
        return values
    return list(range(1, len(segments) + 1))


def _placed_mask(
    segment: Mapping[str, Any], number: int, arrays: list[np.ndarray], path: Path
) -> tuple[Index3, np.ndarray]:
    # Files of Slicer 4.10 and earlier name no layer: one layer per segment, in order.
    layer = int(segment.get("layer", number if len(arrays) > 1 else 0))
    if not 0 <= layer < len(arrays):
        raise InputError(f"{path} names a layer that it does not hold; export it from Slicer again.")
    value = int(segment.get("labelValue", 1))
    if value == 0:
        raise InputError(
            f"{path} gives the segment '{segment['name']}' the value 0, which is where nothing is painted; "
            "export it from Slicer again."
        )
    return tight(arrays[layer] == value, (0, 0, 0))


def _structure(segment: Mapping[str, Any], label: int) -> Structure:
    color = segment.get("color")
    return Structure(
        name=segment["name"],
        label=label,
        color=(color[0], color[1], color[2]) if color else default_color(label),
        terminology=segment["terminology"],
        segment_id=segment["id"],
    )


def _with_texts(segments: Sequence[Mapping[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The segments with id, name and terminology ("" if none) as the header has them."""
    with path.open("rb") as file:
        header = nrrd_header(file).decode("utf-8", "replace")
    texts: dict[int, dict[str, str]] = {}
    for number, field, text in _TEXT_FIELD.findall(header):
        texts.setdefault(int(number), {})[field] = _unescaped(text)
    # slicerio gives segments in the order of their numbers, whatever fields they have.
    numbers = sorted({int(number) for number in re.findall(r"^Segment(\d+)_.", header, re.MULTILINE)})
    result = []
    for number, segment in zip(numbers, segments, strict=True):
        own = texts.get(number, {})
        identity = own.get("ID", str(segment["id"]))
        terminology = _TERMINOLOGY.search(own.get("Tags", ""))
        name = own.get("Name", "")
        result.append(
            {
                **segment,
                "id": identity,
                "name": name if name.strip() else identity,
                "terminology": terminology[1].strip() if terminology else "",
            }
        )
    return result


def _header_with_texts(header: bytes, structures: Sequence[Structure]) -> bytes:
    """A header of segments in this order with their texts put in."""
    texts: dict[bytes, str] = {}
    identities: set[str] = set()
    for number, one in enumerate(structures):
        identities.add(identity := _free(one.segment_id or f"Segment_{one.label}", identities))
        tags = f"TerminologyEntry:{one.terminology}" if one.terminology else ""
        fields = {"ID": identity, "Name": one.name, "Tags": f"{tags}|"}
        texts |= {f"Segment{number}_{field}".encode(): text for field, text in fields.items()}
    lines = []
    for line in header.split(b"\n"):
        key = line.partition(b":=")[0]
        lines.append(key + b":=" + _escaped(texts[key]).encode("utf-8") if key in texts else line)
    return b"\n".join(lines)


def _free(identity: str, taken: Collection[str]) -> str:
    """An identity that no other segment has: of two that are the same, Slicer keeps one."""
    free, number = identity, 2
    while free in taken:
        free, number = f"{identity}_{number}", number + 1
    return free


def _escaped(text: str) -> str:
    """A text on one line, as Teem writes it."""
    one_kind = text.replace("\r\n", "\n").replace("\r", "\n")
    return one_kind.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\\n])", lambda found: "\n" if found[1] == "n" else "\\", text)


def _is_fractional(content: Mapping[str, Any]) -> bool:
    """Whether voxels are shares of 0 to 1 of a segment, scaled, instead of label values."""
    # Slicer says "source" instead of "master" since 5.8.
    stored = content.get("Segmentation_SourceRepresentation", content.get("masterRepresentation"))
    return stored == _FRACTIONAL or (
        stored is None and content.get("containedRepresentationNames") == [_FRACTIONAL]
    )


def _is_tagged_background(segment: Mapping[str, Any]) -> bool:
    tags: Mapping[str, str] = segment.get("tags", {})
    return any(text.strip().casefold() == "background" for tag in tags.items() for text in tag)


def _layered(masks: Sequence[StructureMask], shape: Index3) -> tuple[list[np.ndarray], list[int]]:
    """Label maps that together hold every mask, and the layer each is in: the first where it hides none."""
    largest = max((one.structure.label for one in masks), default=0)
    kind = np.uint8 if largest <= 255 else np.uint16
    layers, layer_of = [np.zeros(shape, dtype=kind)], []
    for one in masks:
        free = next(
            (n for n, layer in enumerate(layers) if not layer[one.region][one.mask].any()), len(layers)
        )
        if free == len(layers):
            layers.append(np.zeros(shape, dtype=kind))
        layers[free][one.region][one.mask] = one.structure.label
        layer_of.append(free)
    return layers, layer_of


def _segment_fields(one: StructureMask, layer: int) -> dict[str, Any]:
    """The fields of a segment for slicerio, with empty texts; `_header_with_texts` puts them in."""
    structure, extent = one.structure, one.region[::-1]
    return {
        "id": "",
        "name": "",
        "color": list(structure.color),
        "labelValue": structure.label,
        "layer": layer,
        "extent": [bound for along in extent for bound in (along.start, along.stop - 1)],
    }


def _damaged(path: Path, message: str) -> InputError:
    if "Size of the data" in message or "buffer size" in message:
        return truncated(path)
    return InputError(f"{path} is damaged or no segmentation; export it from Slicer again.")
