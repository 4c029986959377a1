"""Reading a task file that is damaged or hostile: a sentence, never a crash, a hang or much memory.

TASK_FILES=10000 in the environment draws so many instead of a few hundred.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from task_mutations import damaged, refusal_of
from task_phantom import make_task

FILES = int(os.environ.get("TASK_FILES", "300"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    make_task().write(folder / "sound.medmetaseg")
    return folder


def test_no_damaged_file_does_any_harm(place: Path):
    content = (place / "sound.medmetaseg").read_bytes()
    assert refusal_of(place / "one.medmetaseg", content) == ""
    counts: Counter[str] = Counter()
    before = resident("VmRSS")

    @settings(max_examples=FILES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def each(data: st.DataObject) -> None:
        refused = refusal_of(place / "one.medmetaseg", data.draw(damaged(content)))
        counts["refused" if refused else "read"] += 1

    each()
    assert sum(counts.values()) >= FILES
    # Some changes are harmless, as of a colour or of the provenance; most are not.
    assert counts["refused"] > 0.7 * FILES
    print(dict(counts), f"{resident('VmHWM') - before} MB at most beside the {before} MB before")


def resident(field: str) -> int:
    """Memory of this process in MB as Linux tells it, now (VmRSS) or at most so far (VmHWM); else 0."""
    status = Path("/proc/self/status")
    told = re.search(rf"{field}:\s+(\d+)", status.read_text(encoding="utf-8")) if status.is_file() else None
    return int(told[1]) // 1024 if told else 0
