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

from task_mutations import damaged, is_refused_or_sound
from task_phantom import make_task

FILES = int(os.environ.get("TASK_FILES", "300"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    make_task().write(folder / "sound.medmetaseg")
    return folder


def test_no_damaged_file_does_any_harm(place: Path):
    content = (place / "sound.medmetaseg").read_bytes()
    assert is_refused_or_sound(place / "one.medmetaseg", content) == "read"
    counts: Counter[str] = Counter()

    @settings(max_examples=FILES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def each(data: st.DataObject) -> None:
        counts[is_refused_or_sound(place / "one.medmetaseg", data.draw(damaged(content)))] += 1

    each()
    assert sum(counts.values()) >= FILES
    # Some changes are harmless, as of a colour or of the provenance; most are not.
    assert counts["refused"] > 0.7 * FILES
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()) if os.name == "posix" else None
    print(dict(counts), f"{int(peak[1]) // 1024} MB at most" if peak else "")
