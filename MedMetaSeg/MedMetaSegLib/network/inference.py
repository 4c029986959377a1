"""Running the network on a working grid: devices, precision, windows, and features kept for the next run."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from ..errors import InputError, is_out_of_memory
from ..progress import check_cancelled
from ..stages import stage
from . import STRIDE
from .encoder import Features
from .model import FewShotNetwork
from .prompt_channels import BACKGROUND
from .prototypes import NO_WEIGHT, PROTOTYPE_LOGIT, KnownPoints, Prototypes
from .windows import overlapping_windows, window_weights

DEVICES = ("auto", "cpu", "cuda")
"""Names of devices that may be asked for."""
LAYOUT = torch.channels_last_3d
"""Order of tensors in memory, in which convolutions are fastest."""
_WINDOW = 160
"""Voxels along each axis of the largest window that is computed at once."""
_SMALLEST_WINDOW = 32
"""Voxels along each axis of the window that is not made smaller when memory runs out."""

Result = TypeVar("Result")
Array = np.ndarray | Tensor
"""An image or a prompt, wherever it is; one on the device is used without a copy."""


@dataclass(frozen=True)
class EncodedImage:
    """Features of one image, window by window, float16 on the network's device: what is kept between runs.

    shape: (k, j, i) of the image; windows: slices of it, which may overlap; features: one per window, of the
    image and, if it was mirrored too, of its mirror image.
    """

    shape: tuple[int, int, int]
    windows: tuple[tuple[slice, slice, slice], ...]
    features: tuple[Features, ...]

    @property
    def mirrored(self) -> bool:
        """Whether there are features of the mirror image too."""
        return self.features[0].embedding.shape[0] == 2

    @property
    def bytes(self) -> int:
        """Memory that the features hold."""
        return sum(t.nelement() * t.element_size() for f in self.features for t in (*f.levels, f.embedding))


def chosen_device(name: str) -> tuple[torch.device, str]:
    """The device for "auto", "cpu" or "cuda", and in words why.

    "auto" takes CUDA when a convolution really runs on it. Raises InputError when "cuda" is asked for and
    does not work.
    """
    if name not in DEVICES:
        raise InputError(f"There is no device '{name}'; use {', '.join(DEVICES)}.")
    if name == "cpu":
        return torch.device("cpu"), "the CPU was asked for"
    problem = _cuda_problem()
    if not problem:
        return torch.device("cuda"), torch.cuda.get_device_name()
    if name == "cuda":
        raise InputError(f"CUDA was asked for, but {problem}: use --device cpu, or mend the driver or torch.")
    return torch.device("cpu"), problem


def _cuda_problem() -> str:
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    try:
        torch.nn.functional.conv3d(
            torch.zeros(1, 1, 4, 4, 4, device="cuda"), torch.zeros(1, 1, 3, 3, 3, device="cuda")
        ).cpu()
    except RuntimeError as error:
        return f"CUDA does not work ({str(error).splitlines()[0]})"
    return ""


class Predictor:
    """Holds the network on a device; retries with smaller windows, then on the CPU, when memory runs out.

    An image is seen as it is and, where that is asked for, mirrored in the plane too, and the two answers are
    averaged. What has to be changed on the way is noted, in words for a report:

        notes = predictor.new_notes()
        logits, encoded = predictor.segment(image, prompt, None, cancelled)
        notes  # ["Memory ran out on cuda: went on in windows of 80 voxels."]

    On a CPU several threads may ask it at a time.
    """

    def __init__(self, network: FewShotNetwork, device: torch.device, window: int = _WINDOW) -> None:
        self.network = network.to(device).to(memory_format=LAYOUT)  # type: ignore[call-overload]
        self.device, self.window = device, window
        self._notes: list[str] = []
        self._giving_way = threading.Lock()

    def new_notes(self) -> list[str]:
        """A new, empty list, to which everything that is noted from now on is added."""
        self._notes = []
        return self._notes

    def note(self, what: str) -> None:
        """Add a sentence to the notes that are collected at the moment."""
        self._notes.append(what)

    def segment(
        self,
        image: Array,
        prompt: Array,
        encoded: EncodedImage | None,
        cancelled: Callable[[], bool],
        parameters: Mapping[str, Tensor] | None = None,
        task: Prototypes | None = None,
        mirrored: bool = False,
    ) -> tuple[np.ndarray, EncodedImage]:
        """Logits (k, j, i) float32 of one structure, and the features they came from.

        image (IMAGE_CHANNELS, k, j, i) and prompt (PROMPT_CHANNELS, k, j, i), each axis a multiple of
        8; encoded: features of the same image from an earlier call, None to make them; parameters: of the
        head, adapted to this structure, None for its own; task: prototypes learned on another patient;
        mirrored: average with what the mirror image says, in twice the time.
        """
        made = encoded

        def work() -> np.ndarray:
            nonlocal made
            if made is None or made.windows != self._windows(made.shape) or made.mirrored != mirrored:
                made = self._encode(image, cancelled, mirrored)
            return self._segment(image, prompt, made, cancelled, parameters, task)

        logits = self._persistently(work)
        assert made is not None
        return logits, made

    def prototypes(self, image: Array, prompt: Array, cancelled: Callable[[], bool]) -> Prototypes:
        """The prototypes of what `prompt` says is known, float32 on the CPU.

        Shapes as in `segment`. Raises Cancelled.
        """
        return self.common_prototypes([lambda: (image, prompt)], cancelled)

    def common_prototypes(
        self, seen: Sequence[Callable[[], tuple[Array, Array]]], cancelled: Callable[[], bool]
    ) -> Prototypes:
        """The prototypes of one structure in all of several images, float32 on the CPU.

        seen: make an image and its prompt each, shapes as in `segment`; one pair is held at a time. Raises
        Cancelled.
        """

        def work() -> Prototypes:
            parts = []
            for make in seen:
                image, prompt = make()
                parts += self._known_points(prompt, self._encode(image, cancelled, False))[0]
            with self._mode():
                return self.network.prototypes_of(*gathered(parts))

        return Prototypes(*(part.float().cpu() for part in self._persistently(work)))

    def prototype_logits(self, encoded: EncodedImage, prototypes: Prototypes) -> np.ndarray:
        """The prototype logit (k/2, j/2, i/2) float32 of an encoded image; prototypes may be of another."""
        total = np.zeros([n // 2 for n in encoded.shape], np.float32)
        weight = np.zeros_like(total)
        known = self._here(prototypes)
        for window, features in zip(encoded.windows, encoded.features, strict=True):
            with self._mode():
                maps = self.network.similarity(self._loaded(features).embedding[0], known)
            half = tuple(slice(w.start // 2, w.stop // 2) for w in window)
            total[half] += maps[PROTOTYPE_LOGIT].float().cpu().numpy()
            weight[half] += 1
        return total / weight

    def on_device_or_cpu(self, work: Callable[[torch.device], Result]) -> Result:
        """The result of work on the network's device, or on the CPU where memory runs out there (noted)."""
        try:
            return work(self.device)
        except RuntimeError as error:
            if self.device.type == "cpu" or not is_out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.note(f"Memory ran out on {self.device.type} before the network ran: this part ran on the CPU.")
        return work(torch.device("cpu"))

    def _persistently(self, work: Callable[[], Result]) -> Result:
        """The result of work, tried again with less when memory runs out."""
        while True:
            tried = self.device, self.window
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                with self._giving_way:
                    # Another thread that failed beside this one may have made way for both.
                    if tried == (self.device, self.window):
                        self._give_way(error)

    def _encode(self, image: Array, cancelled: Callable[[], bool], mirrored: bool) -> EncodedImage:
        shape = (image.shape[1], image.shape[2], image.shape[3])
        windows = self._windows(shape)
        features = []
        for window in windows:
            check_cancelled(cancelled)
            with stage("encoder"), self._mode():
                seen = self._sides(image, window, mirrored)
                features.append(self.network.encode(seen).to(torch.float16))
        return EncodedImage(shape, windows, tuple(features))

    def _segment(
        self,
        image: Array,
        prompt: Array,
        encoded: EncodedImage,
        cancelled: Callable[[], bool],
        parameters: Mapping[str, Tensor] | None,
        task: Prototypes | None,
    ) -> np.ndarray:
        with stage("prototypes"):
            prototypes = self._prototypes(prompt, encoded)
        learned = None if task is None else self._here(task)
        total, weight = np.zeros(encoded.shape, np.float32), np.zeros(encoded.shape, np.float32)
        for window, features in zip(encoded.windows, encoded.features, strict=True):
            check_cancelled(cancelled)
            with stage("decoder"), self._mode():
                x, read = self._trunk(features, prototypes, image, prompt, window, learned)
                head = self.network.decoder.head
                if parameters is None:
                    logits = head(x, read).float()
                else:
                    # Meanwhile they are in the module itself, which other threads may be using.
                    own = copy.deepcopy(head)
                    logits = functional_call(own, dict(parameters), (x, read)).float()
            if encoded.mirrored:
                logits = (logits[:1] + logits[1:].flip(-1)) / 2
            answer = logits[0, 0].cpu().numpy()
            if len(encoded.windows) == 1:
                return answer
            importance = window_weights(answer.shape)
            total[window] += importance * answer
            weight[window] += importance
        return total / weight

    def _trunk(
        self,
        features: Features,
        prototypes: Sequence[Prototypes],
        image: Array,
        prompt: Array,
        window: tuple[slice, slice, slice],
        task: Prototypes | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What the head reads in one window, of the image and perhaps its mirror image: (B, F, ...) of the
        trunk and (B, C, ...) of the inputs.
        """
        features = self._loaded(features)
        mirrored = len(prototypes) == 2
        similarity = torch.stack(
            [
                self.network.similarity(embedding, one, task)
                for embedding, one in zip(features.embedding, prototypes, strict=True)
            ]
        )
        read = torch.cat([self._sides(one, window, mirrored) for one in (image, prompt)], 1)
        return self.network.decoder.trunk(features, similarity, read), read

    def trunk(self, image: Array, prompt: Array, encoded: EncodedImage) -> tuple[Tensor, Tensor]:
        """What the head reads of an image, and of its mirror image if that was encoded too, on the device.

        (B, F, k, j, i) of the trunk and (B, C, k, j, i) of the inputs. Raises ValueError for an image that
        does not fit one window.
        """
        if len(encoded.windows) > 1:
            raise ValueError("the image does not fit one window")
        prototypes = self._prototypes(prompt, encoded)
        with self._mode():
            x, read = self._trunk(encoded.features[0], prototypes, image, prompt, encoded.windows[0])
            x = x.float()
        return x.clone(), read.clone()

    def _prototypes(self, prompt: Array, encoded: EncodedImage) -> list[Prototypes]:
        """One set for the image and one for its mirror image if that was encoded too, from the known voxels
        of all windows.
        """
        found = self._known_points(prompt, encoded)
        with self._mode():
            return [self.network.prototypes_of(*gathered(parts)) for parts in found]

    def _known_points(self, prompt: Array, encoded: EncodedImage) -> list[list[KnownPoints]]:
        """The known points of every window that has any, of the image and of its mirror image if that was
        encoded too.
        """
        found: list[list[KnownPoints]] = [[], []] if encoded.mirrored else [[]]
        for window, features in zip(encoded.windows, encoded.features, strict=True):
            known = self._sides(prompt[: BACKGROUND + 1], window, encoded.mirrored)
            if bool(known.any()):
                with self._mode():
                    embedding = self._loaded(features).embedding
                    for side, points in enumerate(found):
                        points.append(self.network.known_points(embedding[side], known[side]))
        return found

    def _here(self, prototypes: Prototypes) -> Prototypes:
        return Prototypes(*(part.to(self.device) for part in prototypes))

    def _loaded(self, features: Features) -> Features:
        features = features.to(self.device, torch.float32)
        return Features(
            tuple(level.contiguous(memory_format=LAYOUT) for level in features.levels), features.embedding
        )

    def _sides(self, array: Array, window: tuple[slice, slice, slice], mirrored: bool) -> Tensor:
        """(1, C, k, j, i) of a window of (C, k, j, i), or (2, C, k, j, i) with its mirror image."""
        part = array[:, window[0], window[1], window[2]]
        part = torch.from_numpy(np.ascontiguousarray(part)) if isinstance(part, np.ndarray) else part
        part = part.to(self.device)
        sides = torch.stack([part, part.flip(-1)]) if mirrored else part[None]
        return sides.contiguous(memory_format=LAYOUT)

    def _windows(self, shape: tuple[int, int, int]) -> tuple[tuple[slice, slice, slice], ...]:
        size = [min(n, self.window) for n in shape]
        step = [
            n if n == whole else max(STRIDE, n * 5 // 8 // STRIDE * STRIDE)
            for n, whole in zip(size, shape, strict=True)
        ]
        return overlapping_windows(shape, size, step)

    def _mode(self) -> _Mode:
        return _Mode(self.device)

    def _give_way(self, error: RuntimeError) -> None:
        """Smaller windows, then the CPU; when neither is left, say so."""
        if self.window > _SMALLEST_WINDOW:
            self.window = max(_SMALLEST_WINDOW, self.window // 2 // STRIDE * STRIDE)
            self.note(f"Memory ran out on {self.device.type}: went on in windows of {self.window} voxels.")
        elif self.device.type != "cpu":
            self.device = torch.device("cpu")
            self.network = self.network.to(self.device)
            self.window = _WINDOW
            self.note("Memory ran out on the GPU even in small windows: went on on the CPU.")
        else:
            raise InputError(
                "There is not enough memory to segment this volume: close other programs, or crop it."
            ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def gathered(parts: Sequence[KnownPoints]) -> KnownPoints:
    """The known points of several windows as if they were one.

    A window in which one side is not known brings a point of no weight for it, which is dropped.
    """
    sides = []
    for side in range(2):
        points, weights = (torch.cat([part[side][n] for part in parts]) for n in range(2))
        kept = weights > NO_WEIGHT
        sides.append((points[kept], weights[kept]) if bool(kept.any()) else (points, weights))
    return sides[0], sides[1]


class _Mode:
    """Inference mode, with mixed precision on CUDA only."""

    def __init__(self, device: torch.device) -> None:
        self._parts = (
            torch.inference_mode(),
            torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"),
        )

    def __enter__(self) -> None:
        for part in self._parts:
            part.__enter__()

    def __exit__(self, *what: Any) -> None:
        for part in reversed(self._parts):
            part.__exit__(*what)
