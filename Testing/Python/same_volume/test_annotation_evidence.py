"""What was drawn, as evidence on a working grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.network import prompt_channels as prompts
from MedMetaSegLib.network.image_evidence import ImageEvidence
from MedMetaSegLib.same_volume.annotation_evidence import annotated_slices, beyond_penalty, prompt_on
from MedMetaSegLib.support.structure import Structure, StructureMask
from MedMetaSegLib.support.support import Support
from MedMetaSegLib.working_grid.grid import Bounds, WorkingGrid, working_grid

SHAPE = (48, 48, 48)


def ball(radius: float = 12) -> np.ndarray:
    return ((np.indices(SHAPE) - 24) ** 2).sum(0) < radius**2


def setting(annotation: str, slices: list[int], axis: int = 0, spacing: float = 1.0):
    mask = np.zeros(SHAPE, bool)
    index: list = [slice(None)] * 3
    index[axis] = slices
    mask[tuple(index)] = ball()[tuple(index)]
    geometry = Geometry(SHAPE, np.diag([spacing, spacing, spacing, 1.0]))
    masks = [StructureMask(Structure("ball", 1, (1, 0, 0)), (0, 0, 0), mask)]
    plane = ("axial", "coronal", "sagittal")[axis] if annotation == "slices" else None
    support = Support.from_masks(masks, geometry, annotation, plane)  # type: ignore[arg-type]
    annotated = support.structures[0]
    return annotated, working_grid(annotated, geometry, Bounds.of(geometry, geometry))


def truth_on(grid: WorkingGrid) -> np.ndarray:
    points = np.indices(grid.shape).reshape(3, -1).T
    world = grid.geometry.index_to_world(points)[:, ::-1]
    return (((world - 24) ** 2).sum(1) < 144).reshape(grid.shape)


def test_annotated_slices_lie_where_they_were_annotated_whatever_the_axis() -> None:
    for axis in range(3):
        annotated, grid = setting("slices", [18, 24, 31], axis)
        truth = truth_on(grid)
        for known, index in zip(annotated_slices(grid, annotated), (18, 24, 31), strict=True):
            assert abs(grid.to_reference(np.array(known.position), 0) - index) < 1e-9
            plane = round(known.position)
            if abs(plane - known.position) < 1e-6:
                assert (truth[plane] == (known.signed_distance > 0)).mean() > 0.97


def test_a_prompt_marks_the_annotated_slices_only() -> None:
    annotated, grid = setting("slices", [18, 24, 31])
    image = ImageEvidence(torch.zeros(2, *grid.shape), grid.aspect)
    prompt = prompt_on(grid, image, annotated).numpy()
    assert prompt.shape == (prompts.PROMPT_CHANNELS, *grid.shape)
    known = (prompt[prompts.FOREGROUND] + prompt[prompts.BACKGROUND]).any((1, 2))
    assert known.sum() == 3
    assert prompt[prompts.FOREGROUND].any((1, 2)).sum() == 3
    distance = prompt[prompts.DISTANCE][:, 0, 0]
    assert (distance[known] < 0.1).all()
    assert distance.max() > 0.3


def test_scribbles_mark_only_what_was_touched() -> None:
    annotated, grid = setting("scribbles", [24])
    other, _ = setting("scribbles", [30])
    image = np.random.default_rng(0).standard_normal((2, *grid.shape)).astype(np.float32)
    evidence = ImageEvidence(torch.from_numpy(image), grid.aspect)
    prompt = prompt_on(grid, evidence, annotated, [other]).numpy()
    assert prompt[prompts.FOREGROUND].sum() == annotated.voxels
    assert prompt[prompts.BACKGROUND].sum() == other.voxels
    assert np.isfinite(prompt).all()


def test_scribbles_with_nothing_else_near_take_the_border_for_background() -> None:
    annotated, grid = setting("scribbles", [24])
    prompt = prompt_on(grid, ImageEvidence(torch.zeros(2, *grid.shape), grid.aspect), annotated)
    assert prompt[prompts.BACKGROUND][0].all()
    assert prompt[prompts.BACKGROUND][:, :, -1].all()
    assert not prompt[prompts.BACKGROUND][1:-1, 1:-1, 1:-1].any()


def test_going_on_beyond_the_annotated_slices_costs_more_the_farther_and_nothing_between_them() -> None:
    annotated, grid = setting("slices", [18, 24, 30])
    penalty = beyond_penalty(grid, annotated)[:, 0, 0]
    first, last = (int(np.rint(grid.to_working(np.array(n), 0))) for n in (18, 30))
    assert not penalty[first : last + 1].any()
    assert (np.diff(penalty[last + 2 :]) > 0).all()
    assert (np.diff(penalty[: first - 1]) < 0).all()


def test_a_stray_voxel_says_nothing_about_how_far_a_structure_goes() -> None:
    annotated, grid = setting("slices", [18, 24, 30])
    low = np.array(annotated.offset) - (6, 0, 0)
    mask = np.pad(annotated.mask, [(6, 0), (0, 0), (0, 0)])
    mask[0, 0, 0] = True
    stray = replace(annotated, offset=tuple(int(one) for one in low), mask=mask)
    assert stray.loose.sum() == 1
    np.testing.assert_array_equal(beyond_penalty(grid, stray), beyond_penalty(grid, annotated))


def test_one_drawn_slice_says_nothing_about_how_far_its_structure_goes() -> None:
    annotated, grid = setting("slices", [24])
    assert not beyond_penalty(grid, annotated).any()


def test_a_structure_thinner_than_the_working_voxels_is_still_evidence() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[[10, 20, 30], 5:45, 24] = True
    geometry = Geometry(SHAPE, np.eye(4))
    support = Support.from_masks(
        [StructureMask(Structure("sheet", 1, (1, 0, 0)), (0, 0, 0), mask)], geometry, "slices", "axial"
    )
    annotated = support.structures[0]
    grid = working_grid(annotated, geometry, Bounds.of(geometry, geometry))
    coarse = replace(grid, start=(0.0, 0.3, 0.3), step=(2.0, 3.0, 3.0), shape=(24, 16, 16))
    for known in annotated_slices(coarse, annotated):
        assert (known.signed_distance > 0).any()
