"""What nnU-Net's one channel is called, by which it chooses how intensities are normalised."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from ..imageio.volume import Volume
from ..working_grid.intensity import intensity_normalization

CT = "CT"
"""The name that has nnU-Net cut and scale by the intensities of all cases; others are scaled one by one."""
_NAMES = {"MR": "MRI"}
"""Of DICOM's modalities, where the field has another."""
_UNKNOWN = "image"


@dataclass(frozen=True)
class ImageKind:
    """What one case's image is. is_hounsfield: it is CT with calibrated values. modality: "" if not known."""

    case: str
    is_hounsfield: bool
    modality: str

    @classmethod
    def of(cls, case: str, volume: Volume) -> ImageKind:
        """The kind of a case's image, by its header and its values."""
        return cls(case, intensity_normalization(volume).modality == CT, volume.modality)

    @property
    def name(self) -> str:
        """What a channel of such images is called; "" where nothing is known."""
        if self.is_hounsfield:
            return CT
        # Named CT, values that are not calibrated would be normalised as if they were.
        return (
            "CT without Hounsfield units" if self.modality == CT else _NAMES.get(self.modality, self.modality)
        )


def channel_name(kinds: list[ImageKind]) -> str:
    """The name that fits all cases. Raises InputError where images are of several kinds."""
    first = kinds[0]
    other = next((one for one in kinds if one.is_hounsfield != first.is_hounsfield), None)
    if other is None:
        named = [one for one in kinds if one.name]
        first = named[0] if named else first
        other = next((one for one in named if one.name != first.name), None)
    if other is not None:
        raise InputError(
            f"Case {first.case} is {first.name or 'no CT'} and case {other.case} is {other.name or 'no CT'}; "
            "nnU-Net takes one kind of image: leave some out, or say what they are with --channel-name."
        )
    return first.name or _UNKNOWN
