"""Tasks made of tasks: several merged into one, a structure renamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from .atlas import Atlas
from .task_file import Task, check_structure_name


def merged_tasks(tasks: Sequence[Task]) -> Task:
    """One task with the supports of all.

    It is the same as if it had been learned from all of them in this order, but labels, colours
    and prototypes are those of the first. Raises InputError when the tasks have other structures, modalities
    or weights, or when two hold the same support.
    """
    first, names = tasks[0], [one.name for one in tasks[0].structures]
    channels = [(one.name, one.modality) for one in first.channels]
    atlases: list[Atlas] = []
    for task in tasks:
        others = [one.name for one in task.structures]
        odd = sorted(set(others) ^ set(names))
        if odd:
            raise InputError(f"The structure {odd[0]} is in one task and not in another; rename it first.")
        if task.modality != first.modality:
            raise InputError("One task is of CT and another is not; merge tasks of one kind.")
        if [(one.name, one.modality) for one in task.channels] != channels:
            raise InputError("The tasks have other channels; learn them anew with the same ones.")
        if task.weights_sha256 != first.weights_sha256:
            raise InputError("The tasks were learned with different weights; learn them anew with one.")
        order = [others.index(name) for name in names]
        for atlas in task.atlases:
            if any(np.array_equal(atlas.close.intensity, one.close.intensity) for one in atlases):
                raise InputError("Two of the tasks hold the same support; a support counts once.")
            atlases.append(replace(atlas, places=tuple(atlas.places[n] for n in order)))
    annotations = [one for task in tasks for one in task.provenance.get("annotations", [])]
    return replace(
        first,
        atlases=tuple(atlases),
        overlapping=any(task.overlapping for task in tasks),
        provenance={**first.provenance, "annotations": annotations},
    )


def with_renamed_structure(task: Task, old: str, new: str) -> Task:
    """The task with another name for a structure. Raises InputError for one that is not there or taken."""
    names = [one.name for one in task.structures]
    if old not in names:
        raise InputError(f"The task has no structure called {old}; it has {', '.join(names)}.")
    if new in names:
        raise InputError(f"The task has a structure called {new} already.")
    check_structure_name(new)
    structures = tuple(replace(one, name=new) if one.name == old else one for one in task.structures)
    return replace(task, structures=structures)
