"""What the process returns to a shell."""

from __future__ import annotations

EXIT_BAD_INPUT = 2
"""Bad input or arguments, nothing written."""
EXIT_SOME_FAILED = 3
"""Some of many images failed, the rest are done."""
EXIT_CANCELLED = 130
"""Cancelled, nothing written but the images that were finished."""
