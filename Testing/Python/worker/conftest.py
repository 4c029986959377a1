"""A patient for the worker."""

from __future__ import annotations

import pytest

from MedMetaSegLib.demo.phantom import make_patient


@pytest.fixture(scope="module")
def patient():
    return make_patient(shape=(24, 70, 90), spacing_mm=(8.0, 4.0, 4.0))
