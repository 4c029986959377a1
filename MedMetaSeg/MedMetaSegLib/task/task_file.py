"""A task: what was learned from supports, saved in a file NAME.medmetaseg for other patients.

A task here is always such a saved few-shot task. The file is a safetensors file, which holds numbers and
text and nothing that runs. It keeps reduced images of the supports (see `atlas`), so it is to be treated as
patient data, though without names, dates or paths.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, TaskError
from ..imageio.channel import check_channel_names
from ..imageio.geometry import rounded
from ..imageio.writing import write_bytes
from ..support.structure import Structure
from ..working_grid.reduced_image import ReducedImage
from .atlas import Atlas, Place
from .header import check_header

FORMAT, CHANNELS_FORMAT = 1, 2
"""Versions of the file format: of tasks of one image, and of those with channels; others are refused."""
MAX_NAME = 400
"""Characters of a structure's name at most."""
_TEXT = "medmetaseg task"
"""Name of the one text in the file, which holds everything that is not an array."""
_MAX_BYTES = 2**30
"""Bytes of a file that is read at all; a larger one is refused."""
_PROTOTYPE_PARTS = {"foreground": "foreground", "background": "background", "mean": "mean", "border": "ridge"}
"""Names of the arrays of prototypes in the file, and of the fields that hold them."""


@dataclass(frozen=True, eq=False)
class LearnedPrototypes:
    """Prototypes of one structure, all float32; see `network.prototypes`.

    foreground (P, E), background (Q, E), mean (1, E), ridge (E + 1,).
    """

    foreground: np.ndarray
    background: np.ndarray
    mean: np.ndarray
    ridge: np.ndarray


@dataclass(frozen=True, eq=False)
class TaskChannel:
    """What a task learned of one more image of each patient, see `imageio.channel.Channel`.

    name: as the channel of another patient has to be called. modality: "CT" or "MR". prototypes: one per
    structure.
    """

    name: str
    modality: str
    prototypes: tuple[LearnedPrototypes, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """A saved few-shot task: structures to find in other patients, and what supports taught of them.

    overlapping: structures may share voxels. modality: "CT" or "MR", see `IntensityNormalization`. atlases:
    one per support.
    prototypes: one per structure. weights_sha256: of the network that made the prototypes. provenance: how
    the task was made; nothing in it says of whom. channels: further images that every patient needs.

        task = Task.read("kidneys.medmetaseg")
        Segmenter.load().apply(task, Volume.read("next.nii.gz"))
    """

    structures: tuple[Structure, ...]
    overlapping: bool
    modality: str
    atlases: tuple[Atlas, ...]
    prototypes: tuple[LearnedPrototypes, ...]
    weights_sha256: str
    provenance: dict[str, Any] = field(default_factory=dict)
    channels: tuple[TaskChannel, ...] = ()

    @property
    def format(self) -> int:
        """Version of the file format that holds it; one of a single image can be read by every version."""
        return CHANNELS_FORMAT if self.channels else FORMAT

    @classmethod
    def read(cls, path: str | Path) -> Task:
        """Read a task file and check all of it; no network is needed.

        Raises TaskError, in one sentence, for a file that is missing, damaged, no task, or newer than this.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = Path(path)
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise _damaged(path, "it is far too large")
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise TaskError(f"There is no task file {path}; check the path.") from error
        except OSError as error:
            raise TaskError(f"{path} cannot be read ({error.strerror}).") from error
        if content[8:9] not in (b"{", b""):
            raise _no_task(path)
        problem, texts = check_header(content)
        if problem:
            raise _damaged(path, problem)
        if _TEXT not in texts:
            raise _no_task(path)
        try:
            sealed = json.loads(texts[_TEXT])
            version, about, sha256 = (str(sealed[key]) for key in ("format", "about", "sha256"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _damaged(path, "its description cannot be read") from error
        if version not in (str(FORMAT), str(CHANNELS_FORMAT)):
            raise TaskError(
                f"{path} has format {version[:20]!r} and this version reads {FORMAT} and {CHANNELS_FORMAT}: "
                "update MedMetaSeg."
            )
        try:
            tensors = load(content)
        except SafetensorError as error:
            raise _damaged(path, "its contents do not fit its header") from error
        if sha256 != _fingerprint(version, about, tensors):
            raise _damaged(path, "it does not match its checksum")
        try:
            task = _task(json.loads(about), tensors)
            _require(version == str(task.format))
            return task
        except (
            InputError,
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            RecursionError,
        ) as error:
            raise _damaged(path, "its contents do not belong together") from error

    def write(self, path: str | Path) -> None:
        """Write the task file, whole or not at all.

        Raises WriteError when the place cannot be written, InputError for a name that no task can hold.
        """
        for structure in self.structures:
            check_structure_name(structure.name)
        write_bytes(Path(path), self._bytes())

    def check_weights(self, sha256: str) -> None:
        """Raise TaskError when the task was learned with another network."""
        if self.weights_sha256 != sha256:
            raise TaskError(
                f"The task was learned with other weights ({self.weights_sha256[:12]}, these are "
                f"{sha256[:12]}): learn it again with this version."
            )

    def describe(self) -> dict[str, Any]:
        """What the file says of itself, for people: structures, modality, spacings, provenance."""
        return {
            "format": self.format,
            "structures": [
                {
                    "name": one.name,
                    "label": one.label,
                    "color": one.color,
                    "terminology": one.terminology,
                    "supports": sum(atlas.places[n] is not None for atlas in self.atlases),
                    "prototypes": [len(self.prototypes[n].foreground), len(self.prototypes[n].background)],
                }
                for n, one in enumerate(self.structures)
            ],
            "overlapping": self.overlapping,
            "intensity": self.modality,
            "channels": [{"name": one.name, "intensity": one.modality} for one in self.channels],
            "atlases": [
                {
                    "voxels": list(atlas.close.intensity.shape),
                    "spacing_mm": [rounded(float(s), 3) for s in atlas.close.spacing_mm],
                }
                for atlas in self.atlases
            ],
            "weights_sha256": self.weights_sha256,
            "provenance": self.provenance,
        }

    def _bytes(self) -> bytes:
        from safetensors.numpy import save

        tensors = {name: np.ascontiguousarray(array) for name, array in self._tensors()}
        about = json.dumps(
            {
                "structures": [
                    {
                        "name": one.name,
                        "label": one.label,
                        "color": one.color,
                        "terminology": one.terminology,
                    }
                    for one in self.structures
                ],
                "overlapping": self.overlapping,
                "intensity": {"kind": self.modality},
                "weights_sha256": self.weights_sha256,
                "atlases": [_atlas_entry(atlas) for atlas in self.atlases],
                "provenance": self.provenance,
                **self._channel_entries(),
            },
            sort_keys=True,
        )
        sha256 = _fingerprint(str(self.format), about, tensors)
        sealed = {"format": self.format, "about": about, "sha256": sha256}
        # One text, since safetensors keeps several in no certain order.
        return save(tensors, {_TEXT: json.dumps(sealed)})

    def _channel_entries(self) -> dict[str, Any]:
        """None without channels, so that a file of one image is what it always was."""
        channels = [{"name": one.name, "kind": one.modality} for one in self.channels]
        return {"channels": channels} if channels else {}

    def _tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        for n, atlas in enumerate(self.atlases):
            yield f"atlas.{n}.overview", atlas.overview.intensity
            yield f"atlas.{n}.close", atlas.close.intensity
            for m, place in enumerate(atlas.places):
                if place is not None:
                    yield f"atlas.{n}.place.{m}", place.occupancy
        for m, prototypes in enumerate(self.prototypes):
            for part, field_name in _PROTOTYPE_PARTS.items():
                yield f"prototypes.{m}.{part}", getattr(prototypes, field_name)
        for n, channel in enumerate(self.channels):
            for m, prototypes in enumerate(channel.prototypes):
                for part, field_name in _PROTOTYPE_PARTS.items():
                    yield f"channel.{n}.prototypes.{m}.{part}", getattr(prototypes, field_name)


def check_structure_name(name: str) -> None:
    """Raise InputError for a structure's name that no task can hold: blank, long, with control characters."""
    if not _is_name(name):
        raise InputError(f"A structure cannot be called {name[:40]!r}; give 1 to {MAX_NAME} characters.")


def _is_name(text: str) -> bool:
    return bool(text.strip()) and len(text) <= MAX_NAME and _is_text(text)


def _is_text(text: str) -> bool:
    """Whether a text can be shown anywhere: without control characters but for newlines and tabs."""
    return all(one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cs") for one in text)


def _damaged(path: Path, why: str) -> TaskError:
    return TaskError(f"The task file {path} is damaged: {why}; copy it again, or learn the task again.")


def _no_task(path: Path) -> TaskError:
    return TaskError(f"{path} is no task file; make one with `medmetaseg learn`.")


def _fingerprint(version: str, about: str, tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 over the description and every array with its name, type and shape."""
    digest = hashlib.sha256()
    digest.update(f"{version}{len(about)}{about}".encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _atlas_entry(atlas: Atlas) -> dict[str, Any]:
    return {
        "overview": _image_entry(atlas.overview),
        "close": _image_entry(atlas.close),
        "places": [None if place is None else list(place.offset) for place in atlas.places],
        "axes": None if atlas.axes is None else atlas.axes.tolist(),
    }


def _image_entry(image: ReducedImage) -> dict[str, list[float]]:
    return {"spacing_mm": image.spacing_mm.tolist(), "start_mm": image.start_mm.tolist()}


def _task(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> Task:
    """A task of what a file holds. Raises ValueError and its like when that is not consistent."""
    left = dict(tensors)
    structures = tuple(_structure(entry) for entry in about["structures"])
    _require(len(structures) > 0 and len({one.label for one in structures}) == len(structures))
    atlases = tuple(_atlas(n, entry, left, len(structures)) for n, entry in enumerate(about["atlases"]))
    _require(len(atlases) > 0)
    prototypes = _prototypes("prototypes", len(structures), left)
    channels = tuple(
        _channel(n, entry, left, len(structures)) for n, entry in enumerate(about.get("channels", ()))
    )
    check_channel_names([one.name for one in channels])
    modality, weights = about["intensity"]["kind"], about["weights_sha256"]
    _require(not left and modality in ("CT", "MR") and isinstance(about["overlapping"], bool))
    _require(isinstance(weights, str) and len(weights) == 64 and isinstance(about["provenance"], dict))
    return Task(
        structures,
        about["overlapping"],
        modality,
        atlases,
        prototypes,
        weights,
        about["provenance"],
        channels,
    )


def _channel(number: int, entry: dict[str, Any], left: dict[str, np.ndarray], structures: int) -> TaskChannel:
    _require(isinstance(entry["name"], str) and entry["kind"] in ("CT", "MR"))
    prototypes = _prototypes(f"channel.{number}.prototypes", structures, left)
    return TaskChannel(entry["name"], entry["kind"], prototypes)


def _structure(entry: dict[str, Any]) -> Structure:
    name, label, color, terminology = (entry[key] for key in ("name", "label", "color", "terminology"))
    _require(isinstance(name, str) and _is_name(name))
    _require(isinstance(label, int) and 1 <= label <= 65535)
    _require(isinstance(terminology, str) and _is_text(terminology))
    red, green, blue = (float(value) for value in color)
    _require(all(0 <= value <= 1 for value in (red, green, blue)))
    return Structure(name, label, (red, green, blue), terminology)


def _atlas(number: int, entry: dict[str, Any], left: dict[str, np.ndarray], structures: int) -> Atlas:
    overview = _image(left.pop(f"atlas.{number}.overview"), entry["overview"])
    close = _image(left.pop(f"atlas.{number}.close"), entry["close"])
    _require(len(entry["places"]) == structures)
    places: list[Place | None] = []
    for m, offset in enumerate(entry["places"]):
        if offset is None:
            places.append(None)
            continue
        occupancy = left.pop(f"atlas.{number}.place.{m}")
        k, j, i = (int(value) for value in offset)
        ends = np.add((k, j, i), occupancy.shape)
        _require(
            occupancy.dtype == np.uint8 and min(k, j, i) >= 0 and bool((ends <= close.intensity.shape).all())
        )
        places.append(Place((k, j, i), occupancy))
    _require(any(place is not None for place in places))
    axes = entry.get("axes")  # tasks of the first version do not say
    if axes is not None:
        axes = np.array(axes, float)
        _require(axes.shape == (3, 3) and bool(np.isfinite(axes).all()))
        _require(abs(float(np.linalg.det(axes))) > 0.1 and float(np.abs(axes).max()) < 1.01)
    return Atlas(overview, close, tuple(places), axes)


def _image(intensity: np.ndarray, entry: dict[str, Any]) -> ReducedImage:
    spacing, start = (np.array(entry[key], float) for key in ("spacing_mm", "start_mm"))
    _require(intensity.dtype == np.uint8 and intensity.ndim == 3 and min(intensity.shape) >= 2)
    _require(spacing.shape == (3,) and start.shape == (3,) and bool(np.isfinite([spacing, start]).all()))
    _require(
        bool((spacing > 1e-4).all()) and bool((spacing < 1e3).all()) and float(np.abs(start).max()) < 1e5
    )
    return ReducedImage(intensity, spacing, start)


def _prototypes(place: str, structures: int, left: dict[str, np.ndarray]) -> tuple[LearnedPrototypes, ...]:
    """Those of each structure, whose arrays have names that begin with `place`."""
    return tuple(_structure_prototypes(f"{place}.{m}", left) for m in range(structures))


def _structure_prototypes(place: str, left: dict[str, np.ndarray]) -> LearnedPrototypes:
    parts = [left.pop(f"{place}.{part}") for part in _PROTOTYPE_PARTS]
    width = parts[2].shape[-1]
    shapes = [(len(parts[0]), width), (len(parts[1]), width), (1, width), (width + 1,)]
    _require(all(part.dtype == np.float32 and bool(np.isfinite(part).all()) for part in parts))
    _require(all(part.shape == shape and min(shape) > 0 for part, shape in zip(parts, shapes, strict=True)))
    return LearnedPrototypes(*parts)


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("inconsistent task")
