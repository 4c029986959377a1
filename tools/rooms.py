"""The rooms of MedMetaSegLib: what each is for, and what it may import.

Testing/Python/test_floors.py holds the code to the table; tools/rooms_picture.py draws what is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1] / "MedMetaSeg" / "MedMetaSegLib"


@dataclass(frozen=True)
class Room:
    """A folder of MedMetaSegLib, or modules that lie in none.

    `may_import` names rooms; what those may import is allowed as well. `libraries` are those of
    WATCHED that it may import itself.
    """

    name: str
    purpose: str
    may_import: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The folders (`scene/panel/`) or modules (`errors`) it consists of."""
        return tuple(self.name.split(", "))


# The ground floor first: a room may only name rooms above it in this list.
ROOMS = (
    Room(
        "errors, progress, stages, models",
        "errors for the user; progress and Cancel; times of stages; where models are shipped",
    ),
    Room("imageio/", "images, their geometry and their files", ("errors, progress, stages, models",)),
    Room(
        "network/",
        "the network, its channels and its weights",
        ("errors, progress, stages, models",),
        ("torch", "monai"),
    ),
    Room("support/", "what was annotated, and its files", ("imageio/",)),
    Room("working_grid/", "grids and intensities the network sees", ("support/",)),
    Room("results/", "masks and label maps, merged", ("support/",)),
    Room("measurements/", "sizes, intensities, lesions", ("results/",)),
    Room(
        "confidence/",
        "how far an answer can be trusted",
        ("working_grid/",),
        ("torch",),
    ),
    Room("registration/", "where one image lies in another", ("working_grid/",), ("torch",)),
    Room(
        "same_volume/",
        "from annotated slices to the structure",
        ("network/", "working_grid/", "results/", "confidence/"),
        ("torch",),
    ),
    Room("task/", "a saved few-shot task", ("working_grid/",)),
    Room(
        "next_patient/",
        "a task learned, and applied",
        ("task/", "registration/", "network/", "results/", "confidence/"),
        ("torch",),
    ),
    Room("segmenter", "the one object users hold", ("same_volume/", "next_patient/"), ("torch",)),
    Room(
        "follow_up/",
        "two images of one patient, lesions matched",
        ("measurements/", "registration/"),
        ("torch",),
    ),
    Room(
        "case_comparison/",
        "a case beside examples of groups",
        ("measurements/", "working_grid/", "network/"),
        ("torch",),
    ),
    Room("batch/", "one task, many images", ("segmenter", "measurements/")),
    Room("exports/", "training sets for other tools", ("batch/",)),
    Room(
        "commands/",
        "segment, learn, apply, task, measure, compare, export",
        ("exports/", "follow_up/", "case_comparison/"),
    ),
    Room("worker/", "a process of its own for Slicer", ("batch/", "follow_up/"), ("torch",)),
    Room("datasets/", "labelled images of others", ("imageio/",)),
    Room(
        "evaluation/",
        "metrics, baselines, benchmark",
        ("batch/", "follow_up/", "case_comparison/", "datasets/"),
        ("slicer", "vtk"),
    ),
    Room(
        "training/",
        "episodes and meta-training",
        ("next_patient/", "datasets/"),
        ("torch", "monai"),
    ),
    Room("scene/", "MRML: nodes in, segments out", ("worker/",), ("slicer", "vtk")),
    Room("scene/panel/", "the module's panel", ("scene/",), ("slicer", "vtk", "qt", "ctk")),
    Room(
        "demo/", "a phantom patient, all the way", ("commands/", "evaluation/", "scene/"), ("slicer", "vtk")
    ),
    Room("cli", "the command medmetaseg", ("demo/", "training/")),
)

# Single names that a room may take from one that its row does not name.
NAMES = {
    ("working_grid/", "network/"): frozenset({"STRIDE"}),
    ("registration/", "network/"): frozenset({"box_mean", "Caller", "pieces_at_once", "side_by_side"}),
}

# Libraries that only the rooms which list them may import; evaluation/ runs Slicer's own Grow from seeds.
WATCHED = frozenset({"torch", "monai", "slicer", "vtk", "qt", "ctk"})

# What reads and writes images: none of it for network/, whose only file is its weights.
IMAGE_FILES = frozenset({"SimpleITK", "nrrd", "slicerio", "pydicom", "nibabel", "highdicom"})


@dataclass(frozen=True)
class Import:
    """One name that a module of the library takes from another, `""` being MedMetaSegLib/__init__."""

    module: str
    source: str
    name: str


def modules(library: Path = LIBRARY) -> dict[str, Path]:
    """Path of each module by its dotted name inside the library; a package stands for its __init__."""
    found = {}
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(files: Mapping[str, Path]) -> list[Import]:
    """Every import between modules of the library, in functions and under TYPE_CHECKING too.

    What MedMetaSegLib/__init__ hands on lazily is for readers outside, and no import of its own.
    """
    found = []
    for module, path in files.items():
        if not module:
            continue
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for source, name in _imported(ast.parse(path.read_text(encoding="utf-8")), package):
            submodule = f"{source}.{name}".lstrip(".")
            found.append(Import(module, submodule if submodule in files else source, name))
            if found[-1].source not in files:
                raise ImportError(f"{path}: there is no {source or 'MedMetaSegLib'} with {name}")
    return found


def libraries(path: Path) -> set[str]:
    """Top-level names of everything else that a file imports, wherever in it; Qt's bindings are all `qt`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            found.add("torch" if name == "safetensors.torch" else name.partition(".")[0])
    return {"qt" if name in ("PythonQt", "PySide6") else name for name in found}


def room_of(module: str) -> Room:
    """The room a module is in: its innermost folder, or the module itself; LookupError without one."""
    path = module.replace(".", "/")
    found = {
        place: room
        for room in ROOMS
        for place in room.places
        if path == place or (place.endswith("/") and f"{path}/".startswith(place))
    }
    if not found:
        raise LookupError(f"MedMetaSegLib/{path} is in no room of tools/rooms.py")
    return found[max(found, key=len)]


def reachable(arrows: Mapping[str, Collection[str]], start: str) -> set[str]:
    """Everything that `start` leads to, in one step or more."""
    found: set[str] = set()
    pending = list(arrows.get(start, ()))
    while pending:
        one = pending.pop()
        if one not in found:
            found.add(one)
            pending.extend(arrows.get(one, ()))
    return found


def room_arrows(found: Collection[Import]) -> dict[str, set[str]]:
    """Which rooms each room really imports; single names that NAMES allows are left out."""
    arrows: dict[str, set[str]] = {room.name: set() for room in ROOMS}
    for one in found:
        if not one.source:
            continue
        here, there = room_of(one.module).name, room_of(one.source).name
        if here != there and one.name not in NAMES.get((here, there), ()):
            arrows[here].add(there)
    return arrows


def without_transitive(arrows: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """The arrows that no other way between the same two rooms stands for."""
    return {
        here: sorted(
            there
            for there in targets
            if not any(there in reachable(arrows, other) for other in targets if other != there)
        )
        for here, targets in arrows.items()
    }


def circles(arrows: Mapping[str, Collection[str]]) -> Iterator[list[str]]:
    """Groups of modules each of which leads to all others of its group (strongly connected components)."""
    leads = {one: reachable(arrows, one) for one in arrows}
    seen: set[str] = set()
    for one in sorted(arrows):
        if one not in seen and one in leads[one]:
            group = sorted(other for other in leads[one] if one in leads.get(other, ()))
            seen.update(group)
            yield group


def table() -> str:
    """The rooms as a table in Markdown, for docs/architecture.md."""
    rows = ["| room | what it is | may import |", "| --- | --- | --- |"]
    for room in ROOMS:
        named = [*(f"`{one}`" for one in room.may_import), *room.libraries]
        code = ", ".join(f"`{place}`" for place in room.places)
        rows.append(f"| {code} | {room.purpose} | {', '.join(named) or 'nothing'} |")
    return "\n".join(rows) + "\n"


def _imported(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    """(module, name) of every import from the library, the module's name without `MedMetaSegLib.`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == LIBRARY.name:
                    yield alias.name.partition(".")[2], ""
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".") if node.module else []
            if node.level:
                above = package.split(".") if package else []
                parts = above[: len(above) - (node.level - 1)] + parts
            elif parts[:1] == [LIBRARY.name]:
                parts = parts[1:]
            else:
                continue
            for alias in node.names:
                yield ".".join(parts), alias.name
