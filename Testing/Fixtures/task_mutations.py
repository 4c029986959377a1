"""Task files that were damaged, by chance or on purpose, drawn by hypothesis; and what reading must do."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from MedMetaSegLib.errors import TaskError
from MedMetaSegLib.task.task_file import Task

MOST_BYTES = 64 * 2**20
MOST_SECONDS = 20.0
_HUGE = [0, 1, -1, 2**31, 2**63, 2**64, 10**30, 0.5, 1e308]
_NAMES = ["../../etc/passwd", "/dev/zero", "", "atlas.0.close", "a.\0", "__metadata__", "prototypes.999.mean"]
_JUNK = st.recursive(
    st.none() | st.booleans() | st.sampled_from(_HUGE) | st.sampled_from(_NAMES) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["U8", "F32", "F64", "BF16", "I64", "", "F8_E5M2"]),
        "shape": st.lists(st.sampled_from(_HUGE[:7]), max_size=4),
        "data_offsets": st.lists(st.sampled_from(_HUGE[:7]), max_size=3),
    }
)


def header_of(content: bytes) -> dict[str, Any]:
    """The header of a safetensors file."""
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header


def with_header(content: bytes, header: Any) -> bytes:
    """The same data under another header."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + int.from_bytes(content[:8], "little") :]


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A task file that is cut, flipped, lengthened or whose header or description says something else."""
    kind = draw(st.sampled_from(["cut", "flip", "more", "length", "header", "about", "resealed", "noise"]))
    if kind == "cut":
        return content[: draw(st.integers(0, len(content) - 1))]
    if kind == "flip":
        changed = bytearray(content)
        for place in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            changed[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    if kind == "more":
        return content + draw(st.binary(min_size=1, max_size=64))
    if kind == "length":
        return (
            draw(st.sampled_from([0, 1, 2**20, 2**40, 2**63, 2**64 - 1])).to_bytes(8, "little") + content[8:]
        )
    if kind == "noise":
        return draw(st.binary(max_size=200))
    header = header_of(content)
    if kind == "header":
        name = draw(st.sampled_from(sorted(header)) | st.sampled_from(_NAMES))
        header[name] = draw(_ENTRY | _JUNK)
        return with_header(content, header)
    sealed = json.loads(header["__metadata__"]["medmetaseg task"])
    if kind == "about":
        sealed[draw(st.sampled_from(sorted(sealed)))] = draw(_JUNK)
    else:
        about = json.loads(sealed["about"])
        _change(draw, about)
        sealed["about"] = json.dumps(about)
        sealed["sha256"] = resealed_sha256(content, sealed["about"])
    header["__metadata__"] = {"medmetaseg task": json.dumps(sealed)}
    return with_header(content, header)


def _change(draw: st.DrawFn, about: Any) -> None:
    """Put something else in one place of a description, however deep."""
    while True:
        keys = sorted(about) if isinstance(about, dict) else list(range(len(about)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if not isinstance(about[key], (dict, list)) or draw(st.booleans()):
            about[key] = draw(_JUNK)
            return
        about = about[key]


def resealed_sha256(content: bytes, about: str) -> str:
    """The checksum a forger would write for another description of the same arrays."""
    from safetensors.numpy import load

    from MedMetaSegLib.task.task_file import FORMAT, _fingerprint

    return _fingerprint(str(FORMAT), about, load(content))


def refusal_of(path: Path, content: bytes) -> str:
    """The refusal, "" when it is read; AssertionError for much memory or time, or many lines."""
    path.write_bytes(content)
    begun = time.process_time()
    tracemalloc.start()
    try:
        Task.read(path).describe()
        said = ""
    except TaskError as error:
        said = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert "\n" not in said
    assert len(said) < 400
    assert peak < MOST_BYTES, peak
    assert time.process_time() - begun < MOST_SECONDS
    return said
