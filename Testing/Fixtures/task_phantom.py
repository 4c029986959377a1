"""A small task of made-up numbers, for tests."""

from __future__ import annotations

import numpy as np

from MedMetaSegLib.support.structure import Structure
from MedMetaSegLib.task.atlas import Atlas, Place
from MedMetaSegLib.task.task_file import LearnedPrototypes, Task
from MedMetaSegLib.working_grid.reduced_image import ReducedImage

WEIGHTS = "ab" * 32


def image(rng: np.random.Generator, *shape: int) -> ReducedImage:
    intensity = rng.integers(0, 256, shape).astype(np.uint8)
    return ReducedImage(intensity, np.array([3.0, 1.5, 1.25]), np.array([0.0, 7.5, -2.0]))


def prototypes(rng: np.random.Generator) -> LearnedPrototypes:
    return LearnedPrototypes(
        *(rng.normal(size=shape).astype(np.float32) for shape in ((3, 8), (5, 8), (1, 8), (9,)))
    )


def make_task() -> Task:
    """Two structures, the second of which the first of two patients lacks."""
    rng = np.random.default_rng(3)
    places = [Place((1, 2, 3), rng.integers(0, 256, (4, 3, 2)).astype(np.uint8)) for _ in range(3)]
    atlases = (
        Atlas(image(rng, 6, 8, 9), image(rng, 10, 12, 11), (places[0], None), np.eye(3)[::-1]),
        Atlas(image(rng, 5, 8, 9), image(rng, 9, 12, 11), (places[1], places[2])),
    )
    structures = (
        Structure("Niere rechts", 2, (0.5, 0.25, 1.0), "Segmentation category~SCT^123037004^Anatomy"),
        Structure("left kidney", 300, (0.0, 1.0, 0.0)),
    )
    return Task(
        structures,
        False,
        "CT",
        atlases,
        (prototypes(rng), prototypes(rng)),
        WEIGHTS,
        {"medmetaseg": "0.1.0", "annotations": ["complete", "slices"]},
    )
