"""The scene's tests fail when something reports an error that they do not expect."""

from __future__ import annotations

import pytest

from error_log import ErrorLog


@pytest.fixture(autouse=True)
def error_log(core):
    """Errors of VTK, Python and logging during the test; it says `error_log.expect(pattern)` of its own."""
    with ErrorLog() as log:
        yield log
    assert log.unexpected() == []
