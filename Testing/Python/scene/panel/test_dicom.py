"""The Batch tab over patients of the DICOM database: real files and worker, a stand-in segmenter in it."""

from __future__ import annotations

import re
import types

import pytest

from batch_stand_in import rows_of
from dicom_phantom import IDENTIFIERS, OTHER_IDENTIFIERS, write_report_object, write_series
from panel_bench import running, shown, until

FOLDER, DATABASE = 0, 1


class StandInDatabase:
    """What slicer.dicomDatabase answers: like ctkDICOMDatabase, tuples of texts, and isOpen is a property.

    patients: name of each, by key; series: the files of each series of each patient, by key.
    """

    def __init__(self, patients, series):
        self.isOpen, self._names, self._series = True, patients, series

    def patients(self):
        return tuple(self._names)

    def nameForPatient(self, key):
        return self._names[key]

    def studiesForPatient(self, key):
        return (f"study of {key}",)

    def seriesForStudy(self, study):
        key = study.split()[-1]
        return tuple(f"{key}.{n}" for n in range(len(self._series[key])))

    def filesForSeries(self, series, hits=-1):
        key, n = series.split(".")
        return tuple(map(str, self._series[key][int(n)]))


@pytest.fixture
def database(panel, tmp_path, monkeypatch):
    """Two patients: Jane with a volume, a report and one that is elsewhere; Richard with two volumes."""
    import slicer

    place = tmp_path / "Doe_Jane"
    write_series(place / "j", number=3, slices=6)
    write_series(place / "r", number=3, slices=7, identifiers=OTHER_IDENTIFIERS)
    write_series(place / "r", number=4, slices=8, identifiers=OTHER_IDENTIFIERS)
    write_report_object(place / "report.dcm")
    series = {
        "1": [sorted((place / "j").iterdir()), [place / "report.dcm"], []],
        "2": [sorted((place / "r").glob(f"s{n}_*")) for n in (3, 4)],
    }
    names = {"1": IDENTIFIERS["PatientName"], "2": OTHER_IDENTIFIERS["PatientName"]}
    one = StandInDatabase(names, series)
    monkeypatch.setattr(slicer, "dicomDatabase", one, raising=False)
    yield one
    panel.ui.batchSourceCombo.setCurrentIndex(FOLDER)
    closeWorker(panel)


@pytest.fixture
def tab(database, panel, folder, elsewhere):
    """The Batch tab with a task and a folder for the results; the patients are to be chosen."""
    (folder / "two.medmetaseg").write_bytes((elsewhere.folder / "two.medmetaseg").read_bytes())
    closeWorker(panel)
    panel.ui.tabs.setCurrentIndex(2)
    panel.ui.batchOutputEdit.setText(str(elsewhere.folder / "out"))
    panel.ui.batchSourceCombo.setCurrentIndex(DATABASE)
    return panel


def closeWorker(panel):
    """One that runs may not be the stand-in's."""
    if panel.run is not None:
        panel.run.close()


def tick(panel, *rows):
    import qt

    table = panel.ui.batchPatientTable
    for row in range(table.rowCount):
        table.item(row, 0).setCheckState(qt.Qt.Checked if row in rows else qt.Qt.Unchecked)


def cells(table):
    return [tuple(table.item(row, column).text() for column in (0, 1)) for row in range(table.rowCount)]


def done(panel):
    panel.ui.batchButton.click()
    assert running(panel), shown(panel)
    until(lambda: not running(panel))
    return shown(panel)


def images_of(out):
    """Rows of what was done, without those of what was left out."""
    return [row for row in rows_of(out / "report.csv") if row["status"] != "left out"]


def test_the_series_of_ticked_patients_are_done_and_nothing_says_whose_they_are(tab, tmp_path):
    ui, out = tab.ui, tmp_path / "out"
    assert cells(ui.batchPatientTable) == [("DOE^JANE", "3"), ("ROE^RICHARD", "2")]
    assert not ui.batchButton.enabled
    tick(tab, 1)
    assert done(tab)["result"].startswith("2 of 2 images are done in ")
    first = {row["image"] for row in images_of(out)}
    tick(tab, 0, 1)
    assert done(tab)["result"].startswith("3 of 3 images are done in ")

    names = [row["image"] for row in images_of(out)]
    assert all(re.fullmatch(r"series_[0-9a-f]{10}", name) for name in names)
    assert first < set(names)
    assert sorted(path.name for path in out.glob("*.seg.nrrd")) == sorted(
        f"{name}.seg.nrrd" for name in names
    )
    states = cells(ui.batchTable)
    assert ("DICOM SR", "left out: no image") in states
    assert ("DICOM object", "left out: its files are not on this computer") in states
    assert sum(state.startswith("was there") for _, state in states) == 2

    # What the worker said and logged is looked at too, and the parameters that go into the scene.
    files = [
        *out.rglob("*"),
        *(tmp_path / "private").rglob("*.txt"),
        *(tmp_path / "private").rglob("*.jsonl"),
    ]
    files = [path for path in files if path.is_file()]
    assert {path.name for path in files} >= {
        "report.csv",
        "report.html",
        "journal.jsonl",
        "log.txt",
        "events.jsonl",
    }
    node = tab.parameters.parameterNode
    kept = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    assert kept["batchSource"] == "DATABASE"
    told = b"\n".join([*(path.read_bytes() for path in files), str(kept).encode(), str(states).encode()])
    told += b"\n".join(path.name.encode() for path in files)
    told = re.sub(rb"[A-Za-z0-9+/=]{100,}", b"", told)
    texts = [*IDENTIFIERS.values(), *OTHER_IDENTIFIERS.values(), "Doe", "Jane", "ROE^", "Richard", "s3_0.dcm"]
    assert [text for text in texts if text.lower().encode() in told.lower()] == []

    ui.batchTable.selectRow(next(n for n, (name, _) in enumerate(states) if name == names[0]))
    ui.openResultButton.click()
    assert "error" not in shown(tab), shown(tab)


def test_patients_without_an_image_are_one_sentence(tab, database, tmp_path):
    database._series["1"] = database._series["1"][1:]
    tab.batchTab.show()
    tick(tab, 0)
    assert done(tab)["error"] == "There is no image in what was given (DICOM SR: no image)."
    assert not (tmp_path / "out").exists()


def test_ticks_stay_and_a_database_that_closes_meanwhile_is_one_sentence(tab, database):
    tick(tab, 1)
    tab.batchTab.show()
    assert [one.name for one in tab.batchTab._patients.ticked()] == ["ROE^RICHARD"]
    database._names["2"] = "NOBODY^TICKED"
    tab.batchTab.show()
    assert tab.batchTab._patients.ticked() == []
    tick(tab, 0)
    database.isOpen = False
    tab.ui.batchButton.click()
    assert shown(tab)["error"].startswith("The DICOM database is not open; ")
    assert not running(tab)


@pytest.mark.parametrize(
    ("database_there", "says"),
    [
        (None, "The DICOM database is not open; open the DICOM module once, then come back."),
        (types.SimpleNamespace(isOpen=False), "The DICOM database is not open; open the DICOM module once"),
        (StandInDatabase({}, {}), "The DICOM database is empty; import images in the DICOM module first."),
    ],
)
def test_without_patients_the_tab_says_what_to_do(tab, monkeypatch, database_there, says):
    import slicer

    monkeypatch.setattr(slicer, "dicomDatabase", database_there)
    tab.batchTab.show()
    assert tab.ui.batchHintLabel.text.startswith(says)
    assert tab.ui.batchPatientTable.rowCount == 0
    assert not tab.ui.batchButton.enabled


def test_one_source_is_shown_at_a_time_and_fits_into_420_pixels(tab):
    import qt

    from Harness.layout import clipped, fit

    ui, window = tab.ui, tab.parent
    window.show()
    for source in (DATABASE, FOLDER):
        ui.batchSourceCombo.setCurrentIndex(source)
        for _ in range(3):
            qt.QApplication.processEvents()
            fit(window, 420)
        assert window.width == 420
        assert clipped(window) == []
        assert ui.batchPatientTable.isHidden() == (source == FOLDER)
        for widget in (ui.batchInputLabel, ui.batchInputEdit, ui.batchInputButton, ui.batchPatternEdit):
            assert widget.isHidden() == (source == DATABASE)
    window.hide()


@pytest.mark.parametrize("ticked", [False, True])
def test_the_tick_for_uneven_slices_is_in_the_request_and_the_scene(tab, monkeypatch, ticked):
    from MedMetaSegLib.scene.panel import batch_job

    requests = []

    class Noted(batch_job.BatchJob):
        def __init__(self, request, *rest):
            requests.append(request)
            super().__init__(request, *rest)

    monkeypatch.setattr(batch_job, "BatchJob", Noted)
    tab.ui.batchResampleCheck.setChecked(ticked)
    assert tab.parameters.batchResampleUneven is ticked
    tick(tab, 1)
    done(tab)
    assert [request.resample_uneven for request in requests] == [ticked]


def test_results_may_be_dicom_segmentations(tab, tmp_path):
    pytest.importorskip("highdicom", reason="highdicom writes DICOM segmentations")
    ui, out = tab.ui, tmp_path / "out"
    formats = [ui.batchFormatCombo.itemText(n) for n in range(ui.batchFormatCombo.count)]
    ui.batchFormatCombo.setCurrentIndex(formats.index("DICOM segmentation of DICOM images (.dcm)"))
    tick(tab, 0)
    assert done(tab)["result"].startswith("1 of 1 images are done in ")
    (path,) = out.glob("*.dcm")
    ui.batchTable.selectRow(0)
    ui.openResultButton.click()
    assert shown(tab)["error"].startswith(f"Import {path} into Slicer's DICOM database")
