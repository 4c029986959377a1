"""The header of a safetensors file, checked before anything it says is believed."""

from __future__ import annotations

import json
import re
from math import prod
from typing import Any

_MAX_HEADER_BYTES = 4 * 2**20
"""Bytes of a header that is read at all; a longer one is refused."""
_MAX_TENSORS = 20_000
"""Arrays in a file at most."""
_BYTES = {"U8": 1, "F32": 4}
"""The types of number that a task holds, and bytes of each."""
_NAME = re.compile(r"[a-z]+(\.[a-z0-9]+)+")
"""What arrays are called: `atlas.0.close`."""


def check_header(content: bytes) -> tuple[str, dict[str, str]]:
    """What is wrong with a file's header, and the texts it carries.

    The first is "" for a sound header, else the end of a sentence about the file, and there are no texts
    then. Names, types and shapes of arrays must be those a task can have, and fill the file exactly.
    """
    if len(content) < 8:
        return "it ends too early", {}
    length = int.from_bytes(content[:8], "little")
    if length > _MAX_HEADER_BYTES:
        return "it does not start as a task does", {}
    if 8 + length > len(content):
        return "it ends too early", {}
    try:
        header = json.loads(content[8 : 8 + length].decode("utf-8"), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError):
        return "its header cannot be read", {}
    if not isinstance(header, dict):
        return "its header cannot be read", {}
    about = header.pop("__metadata__", {})
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        return "its header cannot be read", {}
    if len(header) > _MAX_TENSORS:
        return "it holds too many arrays", {}
    room = len(content) - 8 - length
    ends = 0
    for name, entry in header.items():
        size = _size(entry)
        if not _NAME.fullmatch(name) or size is None:
            return "its header describes what no task holds", {}
        ends = max(ends, size)
    if ends != room:
        return "it ends too early" if ends > room else "it goes on after its end", {}
    return "", about


def _size(entry: Any) -> int | None:
    """Where an array ends in the data, None when its description is not sound."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return None
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _BYTES:
        return None
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2 or len(shape) > 3:
        return None
    if not all(type(value) is int and 0 <= value < 2**40 for value in (*shape, *offsets)):
        return None
    if offsets[1] - offsets[0] != prod(shape) * _BYTES[entry["dtype"]]:
        return None
    return int(offsets[1])


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name comes twice")
    return result
