"""Where the shipped weights are, and which they are, without torch."""

from __future__ import annotations

from ..errors import WeightsError
from ..models import MODELS

SHIPPED = MODELS / "medmetaseg.safetensors"
"""The weights file that is loaded when no other is given."""


def shipped_sha256() -> str:
    """The checksum that the shipped weights give themselves. Raises WeightsError when they cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(SHIPPED, framework="np") as file:
            return str((file.metadata() or {})["sha256"])
    except (SafetensorError, OSError, KeyError) as error:
        raise WeightsError(
            f"The network's weights {SHIPPED} cannot be read. Reinstall MedMetaSeg."
        ) from error
