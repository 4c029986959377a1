"""Slicer's terminology entry of a segment, as text, and the DICOM codes in it."""

from __future__ import annotations

from dataclasses import dataclass

_SCHEME = 16
"""Characters that DICOM has for the name of a coding scheme."""


@dataclass(frozen=True)
class Code:
    """A code of a coding scheme, such as SCT 10200004 "Liver"."""

    scheme: str
    value: str
    meaning: str


TISSUE = Code("SCT", "85756007", "Tissue")
"""Category and type of a segment of which nothing is known, as in Slicer."""


@dataclass(frozen=True)
class Terminology:
    """What a segment is. region: where in the body it lies. None for what is not told."""

    category: Code = TISSUE
    type: Code = TISSUE
    type_modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    @classmethod
    def from_text(cls, text: str) -> Terminology:
        """The codes of an entry; of one without codes for both category and type, TISSUE and nothing else.

        text: context, category, type, its modifier, context of regions, region, its modifier, parted by "~";
        each code is scheme, value and meaning, parted by "^".
        """
        codes = [_code(part) for part in text.split("~")]
        codes += [None] * (7 - len(codes))
        category, kind, modifier = codes[1:4]
        if category is None or kind is None:
            return cls()
        return cls(category, kind, modifier, codes[5], codes[6])


def _code(text: str) -> Code | None:
    """None unless scheme, value and meaning are all there, and DICOM can hold the scheme."""
    parts = [part.strip() for part in text.replace("\\", "/").split("^")]
    return Code(*parts) if len(parts) == 3 and all(parts) and len(parts[0]) <= _SCHEME else None
