"""What is registered with Slicer's Sample Data module; its own code stays away, a recorder stands in."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from MedMetaSegLib.scene.sample_data import CATEGORY, SAMPLES, registerSampleData

ROOT = Path(__file__).parents[3]


def recorder(registered: list[dict]) -> types.ModuleType:
    module = types.ModuleType("SampleData")
    record = staticmethod(lambda **source: registered.append(source))
    module.SampleDataLogic = type("SampleDataLogic", (), {"registerCustomSampleDataSource": record})
    return module


def test_samples_have_an_address_that_is_their_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[dict] = []
    monkeypatch.setitem(sys.modules, "SampleData", recorder(registered))
    thumbnail = ROOT / "MedMetaSeg/Resources/Icons/MedMetaSeg.png"
    registerSampleData(thumbnail)
    assert [one["sampleName"] for one in registered] == [name for name, _, _ in SAMPLES]
    for one in registered:
        digest = one["checksums"].removeprefix("SHA256:")
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert one["uris"].startswith("https://github.com/Slicer/")
        assert one["uris"].endswith(digest)
        assert one["category"] == CATEGORY
        assert one["thumbnailFileName"] == str(thumbnail)
        assert one["fileNames"].endswith(".nrrd")
        assert one["nodeNames"]
    assert thumbnail.is_file()


def test_they_are_registered_when_slicer_has_started() -> None:
    code = (
        "from Harness import start\n"
        "import sys, test_sample_data as here\n"
        "registered = []\n"
        "sys.modules['SampleData'] = here.recorder(registered)\n"
        "application = start()\n"
        f"application.loadModule({str(ROOT / 'MedMetaSeg/MedMetaSeg.py')!r})\n"
        "print(len(registered))\n"
        "application.startupCompleted.emit()\n"
        "print(len(registered))\n"
    )
    search = [ROOT / "MedMetaSeg", ROOT / "Testing", Path(__file__).parent]
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(one) for one in search]!r}\n" + code],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert shown.stdout.split()[-2:] == ["0", str(len(SAMPLES))]
