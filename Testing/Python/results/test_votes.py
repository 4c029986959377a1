"""How each image voted, in numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from MedMetaSegLib.results.votes import Block, Vote, disagreement


def block(start: int, length: int) -> Block:
    """So many voxels in a row along k, from one on."""
    return Block((slice(start, start + length), slice(2, 3), slice(4, 5)), np.ones((length, 1, 1), bool))


def test_a_vote_is_compared_with_the_result_where_both_lie() -> None:
    told = Vote("T1", block(3, 4)).as_dict(block(5, 6), 0.5)
    assert told == {"name": "T1", "millilitres": 2.0, "dice_with_result": 0.4}


def test_what_an_image_does_not_show_counts_in_neither() -> None:
    def in_view(where: tuple[slice, ...]) -> np.ndarray:
        assert where == (slice(3, 11), slice(2, 3), slice(4, 5))
        return np.arange(3, 11)[:, None, None] < 8

    told = Vote("T1", block(3, 4), in_view).as_dict(block(5, 6), 0.5)
    assert told == {"name": "T1", "millilitres": 2.0, "dice_with_result": round(2 * 2 / (4 + 3), 4)}


def test_an_image_that_finds_nothing_and_one_without_a_say() -> None:
    nothing = Block((slice(0, 0),) * 3, np.zeros((0, 0, 0), bool))
    assert Vote("T1", nothing).as_dict(block(5, 6), 0.5)["dice_with_result"] == 0.0
    assert Vote("T1", nothing).as_dict(nothing, 0.5)["dice_with_result"] == 1.0
    assert Vote("T1", None).as_dict(block(5, 6), 0.5)["millilitres"] is None


def vote(name: str, dice: float | None) -> dict[str, object]:
    return {"name": name, "millilitres": 1.0, "dice_with_result": dice}


def test_images_that_disagree_are_named_and_others_not() -> None:
    (note,) = disagreement("liver", [vote("CT", 0.71), vote("T1", 0.42), vote("T2", None)])
    assert note.startswith("The images disagree on liver: T1 alone has a Dice of 0.42 with the result")
    assert disagreement("liver", [vote("CT", 0.9), vote("T1", 0.7), vote("T2", None)]) == []
    assert disagreement("liver", []) == []
