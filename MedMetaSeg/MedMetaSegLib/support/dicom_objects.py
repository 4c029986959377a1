"""Which DICOM object holds what somebody drew: a file, or the only one in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..imageio.dicom_header import may_be_dicom, read_kind
from ..imageio.dicom_series import dicom_files


@dataclass(frozen=True)
class DrawnObject:
    """A DICOM file of what was drawn. is_contours: an RTSTRUCT, else a DICOM SEG."""

    path: Path
    is_contours: bool


def find_drawn_object(path: Path) -> DrawnObject | None:
    """The DICOM SEG or RTSTRUCT that a path leads to: the file itself, or the only one in a folder.

    None without one. Raises InputError for a folder with several.
    """
    if path.is_file():
        return _drawn(path) if may_be_dicom(path) else None
    if not path.is_dir():
        return None
    found = [one for file in dicom_files(path) if (one := _drawn(Path(file))) is not None]
    if len(found) > 1:
        names = ", ".join(one.path.name for one in found)
        kinds = {"structure sets" if one.is_contours else "segmentations" for one in found}
        what = " and ".join(sorted(kinds))
        raise InputError(f"{path} holds {len(found)} DICOM {what} ({names}); give one of the files.")
    return found[0] if found else None


def _drawn(path: Path) -> DrawnObject | None:
    kind = read_kind(path)
    return DrawnObject(path, kind.is_contours) if kind.drawn else None
