"""Slicer's .seg.nrrd: segments with names, colours and terminology, in layers where they overlap."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..imageio.files import check_file, replace_whole, suffix, truncated
from ..imageio.geometry import Geometry, Index3
from .structure import Structure, default_color, region, tight

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNREADABLE = (OSError, ValueError, KeyError, IndexError, zlib.error, StopIteration)

Mask = tuple[Structure, np.ndarray, Index3]


@dataclass(frozen=True, eq=False)
class SegmentationContent:
    """What a .seg.nrrd holds: per segment its structure, mask (bool, (k, j, i), cropped) and offset.

    background_ids: identities of the segments tagged as background.
    """

    geometry: Geometry
    masks: tuple[Mask, ...]
    background_ids: frozenset[str] = frozenset()

    def renamed(self, names: Mapping[int, str]) -> SegmentationContent:
        """The same with other structure names, by label value."""
        masks = [
            (replace(structure, name=names.get(structure.label, structure.name)), mask, offset)
            for structure, mask, offset in self.masks
        ]
        return replace(self, masks=tuple(masks))


def is_segmentation_file(path: Path) -> bool:
    """True for a NRRD file that describes segments, whatever its name; False if it cannot be parsed."""
    if suffix(path) not in (".seg.nrrd", ".nrrd") or not path.is_file():
        return False
    import nrrd

    try:
        header = nrrd.read_header(str(path))
    except (nrrd.NRRDError, *_UNREADABLE):
        return False
    return any(key.startswith("Segment0_") for key in header)


def read_segmentation(path: str | Path) -> SegmentationContent:
    """Read a .seg.nrrd; overlapping segments keep their own masks.

    A structure's label is the segment's label value if no two segments share one, else 1 to n in file order.
    Raises InputError when the file is missing, truncated or not a segmentation.
    """
    import slicerio

    path = Path(path)
    check_file(path)
    try:
        content = slicerio.read_segmentation(str(path))
    except _UNREADABLE as error:
        raise _damaged(path, str(error)) from error
    segments = content["segments"]
    # pynrrd gives (i, j, k), or (layer, i, j, k) with layers next to each other in memory.
    voxels = content["voxels"]
    layers = [voxels] if voxels.ndim == 3 else list(voxels)
    arrays = [layer.transpose(2, 1, 0) for layer in layers]
    try:
        geometry = Geometry(_shape3(arrays[0]), _LPS @ content["ijkToLPS"])
    except ValueError as error:
        raise InputError(f"{path} has no usable position in space; export it from Slicer again.") from error
    labels = _labels(segments, len(arrays))
    masks = tuple(
        (_structure(segment, label), *_mask(segment, number, arrays, path))
        for number, (segment, label) in enumerate(zip(segments, labels, strict=True))
    )
    tagged = frozenset(str(segment["id"]) for segment in segments if _is_tagged_background(segment))
    return SegmentationContent(geometry, masks, tagged)


def write_segmentation(
    path: str | Path,
    content: np.ndarray | Sequence[tuple[np.ndarray, Index3]],
    structures: Sequence[Structure],
    geometry: Geometry,
) -> None:
    """Write a .seg.nrrd that Slicer opens with names, colours and terminology; whole or not at all.

    content: a label map (k, j, i) with the structures' labels, or per structure a bool mask and its offset on
    the grid; masks that overlap go to layers. Raises InputError when the place cannot be written.
    """
    import slicerio

    path = Path(path)
    if suffix(path) != ".seg.nrrd":
        raise InputError(f"{path} has no suffix for a segmentation; use .seg.nrrd.")
    if isinstance(content, np.ndarray):
        blocks = [(content == structure.label, (0, 0, 0)) for structure in structures]
    else:
        blocks = list(content)
    blocks = [tight(mask, offset) for mask, offset in blocks]
    layers, layer_of = _layered(blocks, structures, geometry.shape)
    segments = [
        _segment_fields(structure, mask, offset, layer)
        for structure, (mask, offset), layer in zip(structures, blocks, layer_of, strict=True)
    ]
    voxels = layers[0].T if len(layers) == 1 else np.stack([layer.T for layer in layers])
    document = {
        "voxels": voxels,
        "ijkToLPS": _LPS @ geometry.affine,
        "encoding": "gzip",
        "containedRepresentationNames": ["Binary labelmap"],
        "segments": segments,
    }
    replace_whole(path, lambda temporary: slicerio.write_segmentation(str(temporary), document, 3))


def _labels(segments: Sequence[Mapping[str, Any]], layers: int) -> list[int]:
    values = [int(segment.get("labelValue", 1)) for segment in segments]
    if len(set(values)) == len(values) and min(values, default=1) > 0:
        return values
    return list(range(1, len(segments) + 1))


def _mask(
    segment: Mapping[str, Any], number: int, arrays: list[np.ndarray], path: Path
) -> tuple[np.ndarray, Index3]:
    # Files of Slicer 4.10 and earlier name no layer: one layer per segment, in order.
    layer = int(segment.get("layer", number if len(arrays) > 1 else 0))
    if not 0 <= layer < len(arrays):
        raise InputError(f"{path} names a layer that it does not hold; export it from Slicer again.")
    return tight(arrays[layer] == int(segment.get("labelValue", 1)), (0, 0, 0))


def _structure(segment: Mapping[str, Any], label: int) -> Structure:
    from slicerio.segmentation import terminology_entry_to_string

    terminology = segment.get("terminology")
    color = segment.get("color")
    return Structure(
        name=str(segment.get("name", segment["id"])),
        label=label,
        color=(color[0], color[1], color[2]) if color else default_color(label),
        terminology=terminology_entry_to_string(terminology) if terminology else "",
        segment_id=str(segment["id"]),
    )


def _is_tagged_background(segment: Mapping[str, Any]) -> bool:
    tags: Mapping[str, str] = segment.get("tags", {})
    return any(text.strip().casefold() == "background" for tag in tags.items() for text in tag)


def _layered(
    blocks: Sequence[tuple[np.ndarray, Index3]], structures: Sequence[Structure], shape: Index3
) -> tuple[list[np.ndarray], list[int]]:
    """Label maps that together hold every mask, and the layer each is in: the first where it hides none."""
    largest = max((structure.label for structure in structures), default=0)
    kind = np.uint8 if largest <= 255 else np.uint16
    layers, layer_of = [np.zeros(shape, dtype=kind)], []
    for (mask, offset), structure in zip(blocks, structures, strict=True):
        where = region(offset, mask.shape)
        free = next((n for n, layer in enumerate(layers) if not layer[where][mask].any()), len(layers))
        if free == len(layers):
            layers.append(np.zeros(shape, dtype=kind))
        layers[free][where][mask] = structure.label
        layer_of.append(free)
    return layers, layer_of


def _segment_fields(structure: Structure, mask: np.ndarray, offset: Index3, layer: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": structure.segment_id or f"Segment_{structure.label}",
        "name": structure.name,
        "color": list(structure.color),
        "labelValue": structure.label,
        "layer": layer,
        "extent": [
            bound for axis in (2, 1, 0) for bound in (offset[axis], offset[axis] + mask.shape[axis] - 1)
        ],
    }
    if structure.terminology:
        # As a plain tag, for slicerio to write the text as it is.
        fields["tags"] = {"TerminologyEntry": structure.terminology}
    return fields


def _damaged(path: Path, message: str) -> InputError:
    if "Size of the data" in message or "buffer size" in message:
        return truncated(path)
    return InputError(f"{path} is damaged or no segmentation; export it from Slicer again.")


def _shape3(array: np.ndarray) -> Index3:
    k, j, i = array.shape
    return k, j, i
