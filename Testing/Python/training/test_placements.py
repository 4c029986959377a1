"""Real patients registered to one another: whom, what is kept of it, and the episodes cut from it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedMetaSegLib.datasets.cases import Case
from MedMetaSegLib.datasets.patients import training_cases
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.next_patient import atlas_placement
from MedMetaSegLib.training import placements as module
from MedMetaSegLib.training import prepared
from MedMetaSegLib.training.drafts import PlaceDraft, batch_of
from MedMetaSegLib.training.placements import (
    Placement,
    Placements,
    pairs_of,
    placement_draft,
    placements_of,
    real_placements,
)
from MedMetaSegLib.training.stream import EpisodeStream
from MedMetaSegLib.training.trainer import train
from training_phantom import quick

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (20, 36, 36)


@pytest.fixture(scope="module", autouse=True)
def quick_registration() -> Iterator[None]:
    """One warp, by one thread; everything is made in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atlas_placement, "_WARPS", 1)
        patch.setattr(prepared, "available_cores", lambda: 1)
        yield
    torch.set_num_threads(threads)


def write_patient(folder: Path, name: str, seed: int) -> dict[str, object]:
    """A body with a gland (value 1), a rod that goes on (2) and a lesion of its own place (3)."""
    rng = np.random.default_rng(seed)
    k, j, i = np.indices(SHAPE) - np.array([10, 18, 18])[:, None, None, None]
    body = (k / 11) ** 2 + (j / 16) ** 2 + (i / 13) ** 2 < 1
    size = 1 + 0.12 * rng.uniform(-1, 1)
    gland = ((k - 1) / 6) ** 2 + ((j - 5) / 6) ** 2 + ((i + 4) / 5) ** 2 < size
    rod = (j + 7) ** 2 + (i - 4) ** 2 < 10
    lesion = (k - (-6, 0, 6)[seed]) ** 2 + (j + 1) ** 2 + (i - (7, 8, -8)[seed]) ** 2 < 7
    image = 400.0 * body + 500 * (gland & body) + 300 * (rod & body) + 150 * lesion
    image += rng.normal(0, 15, SHAPE)
    labels = np.where(lesion, 3, np.where(gland, 1, np.where(rod & body, 2, 0))).astype(np.uint8)
    for part, array in (("image", image.astype(np.float32)), ("label", labels)):
        written = sitk.GetImageFromArray(array)
        written.SetSpacing((1.5, 1.5, 3.0))
        written.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
        sitk.WriteImage(written, str(folder / f"{name}_{part}.nii.gz"))
    return {
        "dataset": "glands",
        "case": name,
        "patient": name,
        "modality": "MR T1",
        "image": f"{name}_image.nii.gz",
        "label": f"{name}_label.nii.gz",
        "labels": {"1": "gland", "2": "rod", "3": "lesion"},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of three patients."""
    folder = tmp_path_factory.mktemp("glands")
    entries = [write_patient(folder, f"p{seed}", seed) for seed in range(3)]
    (folder / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def placements(folder: Path) -> list[Placement]:
    """Those of the first patient as a support for the other two."""
    return placements_of(pairs_of(training_cases(folder))[0])


@pytest.fixture(scope="module")
def kept(folder: Path, placements: list[Placement], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the placements of the folder are kept; of the first patient as a support alone there are any."""
    prepared_in = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "placements_of", lambda pairs: placements * (pairs.support.case == "p0"))
        assert real_placements([folder], prepared_in) is not None
    return prepared_in


def case(name: str, patient: str, modality: str = "MR", names: tuple[str, ...] = ("gland",)) -> Case:
    file = Path(f"{name}.nii.gz")
    return Case("set", name, patient, modality, file, file, dict(enumerate(names, 1)))


def test_a_support_is_registered_to_other_patients_who_have_a_structure_of_it() -> None:
    cases = [
        case("a1", "a"),
        case("a2", "a"),
        case("b", "b"),
        case("ct", "c", "CT"),
        case("d", "d", names=("heart",)),
        dataclasses.replace(case("e", "e", names=("spinal cord",)), dataset="openkbp"),
        dataclasses.replace(case("f", "f", names=("spinal cord",)), dataset="openkbp"),
    ]
    found = {one.support.case: {query.case for query in one.queries} for one in pairs_of(cases)}
    assert found == {"a1": {"b"}, "a2": {"b"}, "b": {"a1", "a2"}}
    many = pairs_of([case(str(number), str(number)) for number in range(9)])
    assert [len(one.queries) for one in many] == [module.QUERIES] * 9
    drawn = [[query.case for query in one.queries] for one in many]
    assert sorted(drawn[0]) != sorted(drawn[1]) or sorted(drawn[1]) != sorted(drawn[2])


def test_without_names_structures_of_one_value_are_the_same() -> None:
    nameless = [dataclasses.replace(case(name, name[0]), names={}) for name in ("a_0000", "b_0000", "b_0001")]
    found = pairs_of([*nameless, case("c", "c")])
    assert [(one.support.case, [two.case for two in one.queries]) for one in found] == [
        ("a_0000", ["b_0000"]),
        ("b_0000", ["a_0000"]),
    ]


def test_who_cannot_be_registered_is_told_and_the_others_stay(
    folder: Path, placements: list[Placement], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pairs = pairs_of(training_cases(folder))[0]
    first, second = pairs.queries
    image = sitk.ReadImage(str(first.image))
    sitk.WriteImage(0 * image, str(tmp_path / "flat.nii.gz"))
    flat = dataclasses.replace(first, image=tmp_path / "flat.nii.gz")
    found = placements_of(dataclasses.replace(pairs, queries=(flat, second)))
    assert "flat.nii.gz is not registered to others" in capfd.readouterr().err
    assert len(found) == 2
    np.testing.assert_array_equal(found[0].expected, placements[2].expected)
    labels = sitk.ReadImage(str(pairs.support.labels))
    few = 0 * labels
    few[10, 10, 10] = 1
    sitk.WriteImage(few, str(tmp_path / "few.nii.gz"))
    assert (
        placements_of(dataclasses.replace(pairs, support=_with(pairs.support, tmp_path / "few.nii.gz"))) == []
    )
    assert pairs.support.image.name in capfd.readouterr().err


def _with(case: Case, labels: Path) -> Case:
    return dataclasses.replace(case, labels=labels)


def test_margins_around_a_query_and_other_slices_do_not_move_the_structure(
    folder: Path, placements: list[Placement], tmp_path: Path
) -> None:
    pairs = pairs_of(training_cases(folder))[0]
    query = pairs.queries[0]
    for file, value in ((query.image, -1000.0), (query.labels, 0)):
        padded = sitk.ConstantPad(sitk.ReadImage(str(file)), (3, 5, 7), (8, 4, 2), value)
        sitk.WriteImage(padded, str(tmp_path / file.name))
    moved = dataclasses.replace(query, image=tmp_path / query.image.name, labels=tmp_path / query.labels.name)
    found = placements_of(dataclasses.replace(pairs, queries=(moved,)))
    for one, other in zip(found, placements[:2], strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.expected, other.expected)
    # The same patients in sagittal slices: the drawing axis of the grids is another one of the images'.
    turned = []
    for number, one in enumerate((pairs.support, query)):
        files = [tmp_path / f"{part}_{number}.nii.gz" for part in ("image", "label")]
        for file, out in zip((one.image, one.labels), files, strict=True):
            image = sitk.ReadImage(str(file))
            other = sitk.GetImageFromArray(sitk.GetArrayFromImage(image).transpose(2, 1, 0))
            other.SetSpacing(image.GetSpacing()[::-1])
            sitk.WriteImage(other, str(out))
        turned.append(dataclasses.replace(one, image=files[0], labels=files[1]))
    found = placements_of(dataclasses.replace(pairs, support=turned[0], queries=(turned[1],)))
    assert found
    for one in found:
        assert one.image[one.mask].mean() > 1.4 * one.image[~one.mask].mean()
        assert one.aspect > 1.2


def test_structures_lie_about_where_they_are_expected_and_lesions_do_not(
    placements: list[Placement],
) -> None:
    # Two patients, gland and rod; the lesion of each is on another side.
    assert len(placements) == 4
    for one in placements:
        both = np.count_nonzero(one.mask & one.expected)
        assert both > 0.6 * np.count_nonzero(one.mask)
        assert (one.mask != one.expected).any(), "the place is the structure itself"
        assert one.image[one.mask].mean() > 1.4 * one.image[~one.mask].mean()
        assert one.support[one.support_mask].mean() > 1.4 * one.support[~one.support_mask].mean()
        assert one.mask.shape == one.expected.shape == one.others.shape == one.image.shape
        assert one.tolerance >= 1
        assert not (one.others & one.mask).mean() > 0.02


def test_the_structure_has_its_own_volume_on_the_working_grid(
    folder: Path, placements: list[Placement]
) -> None:
    query = pairs_of(training_cases(folder))[0].queries[0]
    labels, gland = sitk.GetArrayFromImage(sitk.ReadImage(str(query.labels))), placements[0]
    # In-plane voxels are the unit of length; a working voxel of a grid of the gland has `aspect` of them.
    native = np.count_nonzero(labels == 1) * 1.5 * 1.5 * 3.0
    extent = [np.ptp(np.flatnonzero(gland.mask.any(axis))) + 1 for axis in ((1, 2), (0, 2), (0, 1))]
    there = [np.ptp(np.flatnonzero((labels == 1).any(axis))) + 1 for axis in ((1, 2), (0, 2), (0, 1))]
    in_plane_mm = 1.5 * np.mean([there[1] / extent[1], there[2] / extent[2]])
    assert np.count_nonzero(gland.mask) * gland.aspect * in_plane_mm**3 == pytest.approx(native, rel=0.25)


def test_placements_are_made_once_and_anew_when_a_patient_changes(
    folder: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def noted(pairs):
        made.append(pairs.support.case)
        return []

    monkeypatch.setattr(module, "placements_of", noted)
    assert real_placements([folder], kept) is not None
    assert made == []
    copied = tmp_path / "copied"
    shutil.copytree(kept, copied)
    with (folder / "p1_image.nii.gz").open("ab") as image:
        image.write(b"\0")
    try:
        real_placements([folder], copied)
    finally:
        with (folder / "p1_image.nii.gz").open("rb+") as image:
            image.truncate(image.seek(-1, 2))
    assert made == ["p0", "p1", "p2"], "p1 is a query of both others"


def _kept_file(folder: Path, kept: Path) -> Path:
    first = training_cases(folder)[0]
    return prepared.file_of(
        [first.image, first.labels], folder, prepared.kept_in(folder, kept) / "placements"
    )


def test_label_maps_of_one_image_are_kept_apart(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of several readers: what is kept of one is not taken for the other's."""
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))[:2]
    for one in entries:
        for part in ("image", "label"):
            shutil.copy(folder / one[part], tmp_path)
    again = []
    for one in entries:
        labels = sitk.ReadImage(str(tmp_path / one["label"]))
        sitk.WriteImage(sitk.Cast(labels == 2, sitk.sitkUInt8), str(tmp_path / f"rod_{one['label']}"))
        again.append({**one, "label": f"rod_{one['label']}", "labels": {"1": "rod"}})
    (tmp_path / "manifest.json").write_text(json.dumps([*entries, *again]), encoding="utf-8")

    def made_of(pairs):
        nothing, seed = np.zeros((2, 2, 2), bool), len(pairs.support.labels.name)
        image = np.full((2, 2, 2), seed, np.float32)
        return [Placement(image, 1.0, nothing, nothing, 1.0, nothing, image, nothing)]

    monkeypatch.setattr(module, "placements_of", made_of)
    made = _levels(real_placements([tmp_path], tmp_path / "kept"))
    assert len(set(made)) == 2
    monkeypatch.setattr(module, "placements_of", lambda pairs: [])
    assert _levels(real_placements([tmp_path], tmp_path / "kept")) == made


def _levels(found: Placements | None) -> list[float]:
    assert found is not None
    return [one.image.max() for one in found._sets[0]]


def test_what_is_kept_is_what_was_made(
    folder: Path, kept: Path, tmp_path: Path, placements: list[Placement]
) -> None:
    file = _kept_file(folder, kept)
    pairs = pairs_of(training_cases(folder))[0]
    each = {
        (one.image, one.labels): prepared.case_digest(one, (module._FORMAT, module.LEAST_DICE))
        for one in training_cases(folder)
    }
    digest = module._digest(pairs, each)
    read = module._read(file, digest)
    assert read is not None
    assert len(read) == len(placements)
    for one, other in zip(read, placements, strict=True):
        for field in dataclasses.fields(Placement):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(file.read_bytes()[:200])
    assert module._read(damaged, digest) is None
    assert module._read(file, f"{digest}0") is None


def test_an_episode_shows_the_structure_and_the_other_patients(placements: list[Placement]) -> None:
    rng = np.random.default_rng(0)
    seen = 0
    for one in placements * 6:
        draft = placement_draft(rng, one, 32**3)
        assert draft is not None
        assert isinstance(draft.known, PlaceDraft)
        assert all(length % 16 == 0 for length in draft.image.shape)
        assert draft.image[draft.target].mean() > 1.2 * draft.image[~draft.target].mean()
        assert ((draft.known.distance > 0) & draft.target).any()
        if draft.support is None:
            continue
        seen += 1
        assert draft.support.image.shape == draft.support.mask.shape == draft.image.shape
        inside = draft.support.mask
        assert draft.support.image[inside].mean() > 1.2 * draft.support.image[~inside].mean()
        middle = np.argwhere(inside).mean(0) / (np.array(inside.shape) - 1)
        np.testing.assert_allclose(middle, 0.5, atol=0.2)
    assert 0.6 < seen / 24 < 1


def test_image_and_support_are_mirrored_alike(placements: list[Placement]) -> None:
    """The gland lies on the same side of the rod in both."""
    gland = placements[0]
    rng = np.random.default_rng(1)
    for _ in range(8):
        draft = placement_draft(rng, gland, 64**3)
        assert draft is not None
        if draft.support is None:
            continue
        body = [
            image > 0.5 * np.median(image[image > image.mean()])
            for image in (draft.image, draft.support.image)
        ]
        sides = []
        for inside, mask in zip(body, (draft.target, draft.support.mask), strict=True):
            sides.append(np.sign(np.argwhere(mask).mean(0) - np.argwhere(inside).mean(0))[1:])
        np.testing.assert_array_equal(*sides)


def test_a_stream_mixes_them_in(placements: list[Placement]) -> None:
    stream = EpisodeStream(
        3, placements=Placements({"glands": placements}), placed_share=1.0, shuffle=0, side=40
    )
    drafts = next(stream.alike())
    assert all(isinstance(one.known, PlaceDraft) and one.image.max() > 300 for one in drafts)
    image, prompt, target, _ = batch_of(drafts, torch.device("cpu"))
    assert len(image) == len(prompt) == len(target) == 2
    none = EpisodeStream(
        3, placements=Placements({"glands": placements}), placed_share=0.0, shuffle=0, side=40
    )
    assert all(one.image.max() < 300 for one in next(none.alike()))


def test_a_run_learns_from_them_and_says_of_whom(folder: Path, kept: Path, tmp_path: Path) -> None:
    config = quick(data=(folder,), prepared=kept, placed_share=1.0, real_share=0.0, steps=2)
    run = train(tmp_path / "run", config, device="cpu")
    assert run.step == 2
    assert "glands" in run.data_sets


def test_a_share_of_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps([write_patient(tmp_path, "p0", 0)]), encoding="utf-8")
    config = quick(data=(tmp_path,), placed_share=0.5)
    with pytest.raises(InputError, match="No two patients"):
        train(tmp_path / "run", config, device="cpu")
    with pytest.raises(InputError, match="no --placed-share"):
        train(tmp_path / "run", quick(placed_share=0.5), device="cpu")
