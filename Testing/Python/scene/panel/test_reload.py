"""Reload in developer mode: the panel made anew lives, the old one is gone, and the package was read anew."""

from __future__ import annotations

import sys

import pytest

from panel_bench import Bench, running, settle, stand_in_worker, until


@pytest.fixture(autouse=True)
def package():
    """Other tests go on with the package as they imported it."""
    before = {name: module for name, module in sys.modules.items() if name.startswith("MedMetaSegLib")}
    yield
    for name in [one for one in sys.modules if one.startswith("MedMetaSegLib")]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def reloaded(fresh_module):
    """The module, entered and reloaded, and the panel it had before."""
    fresh_module.enter()
    before = fresh_module.widget.panel
    fresh_module.reload()
    return fresh_module, before


def test_after_a_reload_the_panel_works_without_being_entered(reloaded, patient, monkeypatch):
    module, _ = reloaded
    panel = module.widget.panel
    assert panel.parameters is not None
    bench = Bench(panel, patient).paint("liver").choose()
    client = stand_in_worker(bench, monkeypatch)
    bench.press()
    until(lambda: not running(panel))
    assert len(client.sent) == 1
    assert panel.parameters.output is not None
    module.exit()
    assert panel.parameters is None


def test_the_panel_before_a_reload_has_let_go(reloaded, patient):
    module, before = reloaded
    assert before.parameters is None
    assert not before.Observations
    assert not before.segmentTab.Observations
    bench = Bench(module.widget.panel, patient).paint("liver").choose()
    settle(bench.panel)
    assert before.ui.segmentTable.rowCount == 0


def test_a_reload_reads_the_package_anew_and_nothing_else(reloaded):
    import numpy as np

    module, before = reloaded
    assert type(module.widget.panel).__name__ == type(before).__name__
    assert type(module.widget.panel) is not type(before)
    assert sys.modules["numpy"] is np


def test_a_reload_ends_the_worker(fresh_module):
    fresh_module.enter()
    closed = []

    class StandInRun:
        """Stands in for WorkerRun."""

        isBusy = False

        def close(self):
            closed.append(True)

    fresh_module.widget.panel.run = StandInRun()
    fresh_module.reload()
    assert closed
    assert fresh_module.widget.panel.run is None


def test_a_reload_while_another_module_is_shown_enters_nothing(fresh_module):
    fresh_module.enter()
    fresh_module.exit()
    fresh_module.reload()
    assert fresh_module.widget.panel.parameters is None
