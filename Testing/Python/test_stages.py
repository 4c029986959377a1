"""Stages: their times add up, nest, and nothing is recorded when nobody asks."""

from __future__ import annotations

import pytest

from MedMetaSegLib import stages
from MedMetaSegLib.stages import recorded_stages, stage


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(stages, "time", clock)
    return clock


def test_a_stage_has_the_time_that_the_stages_inside_it_leave(clock):
    with recorded_stages() as times:
        for _ in range(2):
            with stage("network"):
                clock.now += 1.0
                with stage("encoder"):
                    clock.now += 4.0
                clock.now += 0.5
    assert times.seconds == {"network": 3.0, "encoder": 8.0}
    assert times.calls == {"network": 2, "encoder": 2}


def test_time_between_stages_is_nobodys(clock):
    with recorded_stages() as times:
        with stage("read"):
            clock.now += 1.0
        clock.now += 5.0
        with stage("write"):
            clock.now += 2.0
    assert times.seconds == {"read": 1.0, "write": 2.0}


def test_a_stage_that_fails_ends_all_the_same(clock):
    def broken():
        with stage("part"):
            clock.now += 1.0
            raise ValueError("broken")

    with recorded_stages() as times, stage("whole"):
        with pytest.raises(ValueError, match="broken"):
            broken()
        clock.now += 2.0
    assert times.seconds == {"whole": 2.0, "part": 1.0}


def test_the_device_is_waited_for_before_the_clock_is_read(clock):
    def waits():
        clock.now += 3.0

    with recorded_stages(waits) as times, stage("kernel"):
        pass
    assert times.seconds == {"kernel": 3.0}


def test_nothing_is_recorded_after_the_end(clock):
    with recorded_stages() as times:
        pass
    with stage("later"):
        clock.now += 1.0
    assert times.seconds == {}
