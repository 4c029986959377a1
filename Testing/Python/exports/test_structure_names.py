"""Labels that all cases share, and names that do not go together."""

from __future__ import annotations

import pytest

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.exports.structure_names import label_scheme


def test_structures_are_in_the_order_in_which_they_come_up() -> None:
    scheme = label_scheme([("p1", ["liver", "spleen"]), ("p2", ["aorta", "liver"])])
    assert scheme.as_dict(with_ignore=False) == {"background": 0, "liver": 1, "spleen": 2, "aorta": 3}
    assert scheme.as_dict(with_ignore=True)["ignore"] == scheme.ignore == 4


def test_labels_without_names_are_in_the_order_of_their_values() -> None:
    scheme = label_scheme([("p1", ["Label 7"]), ("p2", []), ("p3", ["Label 3", "Label 10"])])
    assert scheme.structures == ("Label 3", "Label 7", "Label 10")


def test_chosen_structures_are_in_the_order_of_choice() -> None:
    cases = [("p1", ["liver", "spleen"]), ("p2", ["aorta"])]
    assert label_scheme(cases, ["aorta", "liver", "aorta"]).structures == ("aorta", "liver")


@pytest.mark.parametrize(
    ("cases", "chosen", "says"),
    [
        ([("p1", ["liver"])], ["lever"], "No case has a structure called lever; there are liver."),
        ([("p1", ["liver"]), ("p2", ["Liver "])], [], "called 'liver' and 'Liver '"),
        ([("p1", ["Label 1"]), ("p2", ["liver"])], [], "Case p1 has a label map.*case p2 has liver"),
        ([("p1", ["Background", "liver"])], [], "called Background, which nnU-Net"),
        ([("p1", ["ignore"])], [], "called ignore, which nnU-Net"),
        ([("p1", []), ("p2", [])], [], "No case has a structure"),
    ],
)
def test_names_that_do_not_go_together_are_refused(
    cases: list[tuple[str, list[str]]], chosen: list[str], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        label_scheme(cases, chosen)


def test_a_reserved_name_that_is_not_chosen_does_not_matter() -> None:
    assert label_scheme([("p1", ["background", "liver"])], ["liver"]).structures == ("liver",)
