"""Whether what was drawn and an image are in one space, as far as their DICOM headers say."""

from __future__ import annotations

from ..errors import InputError


def check_frame_of_reference(drawn: str, image: str, role: str = "support") -> None:
    """Raise InputError where both are known and differ: positions in the one say nothing in the other.

    drawn, image: FrameOfReferenceUID of each, "" where it is not known. role: what was drawn, in messages.
    """
    if drawn and image and drawn != image:
        raise InputError(
            f"The {role} was drawn in another frame of reference (FrameOfReferenceUID) than the image's, so "
            "its positions say nothing here; draw on this image, or resample it onto this one and save it as "
            ".seg.nrrd."
        )
