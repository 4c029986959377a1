"""The file of examples: JSON that people can read, with a version and a checksum of all it says."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..imageio.writing import write_text
from ..measurements.measurements import MeasureOptions
from .examples import LEAST_CASES, ExampleCase, Examples, Question
from .validation import Validation, ValidationOptions

FORMAT = "medmetaseg examples"
VERSION = 1
_LARGEST = 256 * 2**20
"""Bytes of a file that is read at all."""


def write_examples(path: Path, examples: Examples, medmetaseg: str) -> None:
    """Write examples, whole or not at all; medmetaseg: this version. Raises WriteError."""
    write_text(path, examples_text(examples, medmetaseg))


def examples_text(examples: Examples, medmetaseg: str) -> str:
    """What the file holds: a line for each thing it says, a line for each case."""
    about = {
        "format": FORMAT,
        "version": VERSION,
        "medmetaseg": medmetaseg,
        "question": asdict(examples.question),
        "groups": examples.groups,
        "validation": examples.validation.as_dict(),
        "cases": [asdict(one) for one in examples.cases],
    }
    sha256 = _checksum(json.loads(_line(about)))
    lines = [f"  {_line(key)}: {_line(value)}" for key, value in about.items() if key != "cases"]
    cases = ",\n".join(f"    {_line(asdict(one))}" for one in examples.cases)
    lines += [f'  "cases": [\n{cases}\n  ]', f'  "sha256": {_line(sha256)}']
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_examples(path: Path) -> Examples:
    """Read examples and check all of them.

    Raises InputError, in one sentence, for a file that is missing, damaged, edited, newer than this version,
    or no examples.
    """
    content = _content(path)
    version = content.get("version")
    if version != VERSION:
        raise InputError(
            f"{path} has version {str(version)[:20]} of the format, {VERSION} can be read: update MedMetaSeg."
        )
    if content.pop("sha256", "") != _checksum(content):
        raise _damaged(path, "it does not match its checksum, so it was edited")
    try:
        return _examples(content)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, "its contents do not belong together") from error


def _content(path: Path) -> dict[str, Any]:
    """What the file says, its checksum found right and taken out."""
    try:
        size = path.stat().st_size
        text = path.read_bytes() if size <= _LARGEST else b""
    except FileNotFoundError as error:
        raise InputError(f"There is no file of examples {path}; check the path.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    if size > _LARGEST:
        raise _damaged(path, "it is far too large")
    try:
        content = json.loads(text.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} holds no examples, or is damaged: it cannot be read as JSON.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} holds no examples; make them with `medmetaseg compare learn`.")
    return content


def _examples(content: Mapping[str, Any]) -> Examples:
    """Raises KeyError, TypeError or ValueError where the contents do not belong together."""
    about = content["question"]
    question = Question(
        str(about["modality"]),
        _texts(about["structures"]),
        _texts(about["measurements"]),
        _options(about["options"]),
        str(about["weights_sha256"]),
    )
    groups = _texts(content["groups"])
    cases = tuple(_case(one) for one in content["cases"])
    validation = content["validation"]
    found = Validation(
        **{
            **validation,
            "counts": tuple(validation["counts"]),
            "recalls": _numbers(validation["recalls"]),
            "interval": _numbers(validation["interval"]),
            "options": ValidationOptions(**validation["options"]),
        }
    )
    examples = Examples(question, groups, cases, found)
    _check(examples)
    return examples


def _check(examples: Examples) -> None:
    """Raise ValueError where parts of the examples do not fit each other."""
    question, cases = examples.question, examples.cases
    counts = [sum(one.group == number for one in cases) for number in range(len(examples.groups))]
    widths = {len(one) for case in cases for one in case.embeddings}
    fits = (
        len(examples.groups) >= 2
        and min(counts) >= LEAST_CASES
        and sum(counts) == len(cases)
        and list(examples.validation.counts) == counts
        and len(set(examples.groups)) == len(examples.groups)
        and all(len(one.measurements) == len(question.measurements) for one in cases)
        and all(len(one.embeddings) == len(question.embeddings) for one in cases)
        and len(widths) == bool(question.embeddings)
    )
    if not fits:
        raise ValueError("the examples do not fit what is asked of them")


def _case(entry: Mapping[str, Any]) -> ExampleCase:
    return ExampleCase(
        int(entry["group"]),
        str(entry["image_sha256"]),
        _numbers(entry["measurements"]),
        tuple(_numbers(one) for one in entry["embeddings"]),
    )


def _options(entry: Mapping[str, Any]) -> MeasureOptions:
    return MeasureOptions(_texts(entry["lesions"]), entry["connectivity"], entry["smallest_mm3"])


def _texts(entries: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in entries)


def _numbers(entries: Any) -> Any:
    numbers = tuple(float(one) for one in entries)
    if not all(math.isfinite(one) for one in numbers):
        raise ValueError("a number is not finite")
    return numbers


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of everything but the checksum, however the file is laid out."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a finite number")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name comes twice")
    return result


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"The examples {path} are damaged: {why}; copy them again, or learn them again.")
