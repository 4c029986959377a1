"""The rooms of the library: an arrow never goes up, and none goes round. The table is tools/rooms.py."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rooms
from rooms_picture import described, shown_arrows

ROOT = Path(__file__).parents[2]
FILES = rooms.modules()
IMPORTS = rooms.imports(FILES)
WITHOUT_TORCH = (
    "errors, progress, stages, models",
    "imageio/",
    "support/",
    "working_grid/",
    "results/",
    "task/",
    "datasets/",
)
TABLE = {room.name: room.may_import for room in rooms.ROOMS}


def test_a_room_names_only_rooms_on_lower_floors():
    order = list(TABLE)
    for name, may_import in TABLE.items():
        assert all(order.index(other) < order.index(name) for other in may_import), name


def test_every_module_has_a_room_and_every_room_has_modules():
    assert {rooms.room_of(module).name for module in FILES if module} == set(TABLE)


def test_few_modules_lie_outside_folders():
    outside = sorted(module for module in FILES if module and FILES[module].parent == rooms.LIBRARY)
    assert len(outside) <= 8, outside


@pytest.mark.parametrize("name", TABLE)
def test_a_room_imports_what_its_row_allows_and_nothing_else(name):
    allowed = {name, "errors, progress, stages, models"} | rooms.reachable(TABLE, name)
    wrong = [
        f"{one.module} -> {one.source} ({one.name})"
        for one in IMPORTS
        if one.source and rooms.room_of(one.module).name == name
        for there in [rooms.room_of(one.source).name]
        if there not in allowed and one.name not in rooms.NAMES.get((name, there), ())
    ]
    assert not wrong


def test_of_the_package_itself_the_library_takes_its_version_alone():
    assert {one.name for one in IMPORTS if not one.source} <= {"__version__"}


def test_no_modules_import_each_other_in_a_circle():
    arrows: dict[str, set[str]] = {}
    for one in IMPORTS:
        if one.source:
            arrows.setdefault(one.module, set()).add(one.source)
    assert not list(rooms.circles(arrows))


def test_imports_in_functions_and_for_types_alone_are_seen_and_a_circle_is_found(tmp_path):
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    write("__init__.py", "from .upper.one import One\n")
    write("upper/__init__.py", "")
    write("upper/one.py", "def f():\n    from ..lower import two\n")
    write("lower/__init__.py", "")
    write("lower/two.py", "if TYPE_CHECKING:\n    from ..upper.one import One\n")
    found = rooms.imports(rooms.modules(tmp_path))
    assert found == [
        rooms.Import("lower.two", "upper.one", "One"),
        rooms.Import("upper.one", "lower.two", "two"),
    ]
    arrows = {one.module: {one.source} for one in found}
    assert list(rooms.circles(arrows)) == [["lower.two", "upper.one"]]
    assert rooms.without_transitive({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {
        "a": ["b"],
        "b": ["c"],
        "c": [],
    }


@pytest.mark.parametrize("name", TABLE)
def test_torch_qt_and_slicer_are_imported_where_the_table_says(name):
    room = next(one for one in rooms.ROOMS if one.name == name)
    for module, path in FILES.items():
        if module and rooms.room_of(module) == room:
            wrong = rooms.libraries(path) & rooms.WATCHED - set(room.libraries)
            assert not wrong, module


def test_the_network_reads_no_images():
    for module, path in FILES.items():
        if module.partition(".")[0] == "network":
            assert not rooms.libraries(path) & rooms.IMAGE_FILES, module


def test_importing_the_rooms_without_torch_loads_no_torch():
    """By way of others neither."""
    names = [f"MedMetaSegLib.{one}" for one in FILES if one and rooms.room_of(one).name in WITHOUT_TORCH]
    code = f"import importlib, sys\nfor one in {names}: importlib.import_module(one)\n"
    code += "assert not {'torch', 'monai', 'slicer', 'qt'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(rooms.LIBRARY.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_the_page_on_architecture_shows_the_table():
    assert rooms.table() in (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def test_the_picture_shows_the_imports_there_are():
    """Drawn anew by `make pictures`."""
    text = (ROOT / "docs/pictures/rooms.svg").read_text(encoding="utf-8")
    assert described(shown_arrows()).replace(">", "&gt;") in text


def opening(node: ast.AST) -> str:
    """The first paragraph of a docstring, or nothing."""
    return (ast.get_docstring(node) or "").partition("\n\n")[0].strip()


def public(tree: ast.Module):
    """The module, its public classes and functions, and those methods that explain themselves at all."""
    yield "the module", tree
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node.name, node
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(method, ast.FunctionDef) and ast.get_docstring(method):
                    yield f"{node.name}.{method.name}", method


@pytest.mark.parametrize("module", FILES)
def test_public_names_are_explained_in_a_sentence(module):
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    wrong = [name for name, node in public(tree) if not opening(node).endswith((".", ":", "!"))]
    assert not wrong
