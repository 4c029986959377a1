"""Running the network: windows, memory that runs out, precision and devices."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from MedMetaSegLib.errors import Cancelled, InputError, is_out_of_memory
from MedMetaSegLib.network import inference
from MedMetaSegLib.network.inference import EncodedImage, Predictor, chosen_device
from MedMetaSegLib.network.side_by_side import side_by_side
from network_phantom import annotated, tiny_network

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (32, 48, 40)
CPU = torch.device("cpu")


def predictor(window: int = 160, device: torch.device = CPU) -> Predictor:
    return Predictor(tiny_network(), device, window)


def never() -> bool:
    return False


def logits_of(one: Predictor, encoded: EncodedImage | None = None) -> tuple[np.ndarray, EncodedImage]:
    return one.segment(*annotated(SHAPE), encoded, never)


def short_of_memory(one: Predictor, voxels: int, error: Exception) -> list[tuple[int, ...]]:
    """Let decoding fail with `error` above so many voxels; returns the shapes that were decoded."""
    decode, done = one.network.decoder.trunk, []

    def decode_small(features, similarity, prompt):
        if prompt[0, 0].numel() > voxels:
            raise error
        done.append(tuple(prompt.shape[2:]))
        return decode(features, similarity, prompt)

    one.network.decoder.trunk = decode_small
    return done


# ---- whole and in windows


def test_logits_have_the_shape_of_the_image_and_are_float32() -> None:
    logits, encoded = logits_of(predictor())
    assert logits.shape == SHAPE
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert encoded.shape == SHAPE
    assert len(encoded.windows) == 1


def test_windows_cover_the_whole_image_and_agree_with_the_whole() -> None:
    whole, _ = logits_of(predictor())
    parts, encoded = logits_of(predictor(window=32))
    covered = np.zeros(SHAPE, bool)
    for window in encoded.windows:
        covered[window] = True
    assert covered.all()
    assert len(encoded.windows) > 1
    assert parts.shape == whole.shape
    assert np.isfinite(parts).all()
    assert np.corrcoef(parts.ravel(), whole.ravel())[0, 1] > 0.8


def test_every_axis_of_a_window_is_a_multiple_of_the_stride() -> None:
    for window in logits_of(predictor(window=32))[1].windows:
        assert all((part.stop - part.start) % inference.STRIDE == 0 for part in window)


def test_an_image_and_its_mirror_image_get_mirrored_logits_where_both_are_asked() -> None:
    one, (image, prompt) = predictor(), annotated(SHAPE)
    logits, encoded = one.segment(image, prompt, None, never, mirrored=True)
    again, _ = one.segment(image[..., ::-1], prompt[..., ::-1], None, never, mirrored=True)
    np.testing.assert_allclose(again[..., ::-1], logits, atol=2e-3)
    # They are the mean of what either gets alone.
    alone, _ = one.segment(image, prompt, None, never)
    other, _ = one.segment(image[..., ::-1], prompt[..., ::-1], None, never)
    np.testing.assert_allclose((alone + other[..., ::-1]) / 2, logits, atol=2e-3)
    assert np.abs(alone - logits).max() > 0.01
    assert encoded.mirrored


@pytest.mark.parametrize("mirrored", [True, False])
def test_features_of_another_number_of_sides_are_made_anew(mirrored: bool) -> None:
    one, given = predictor(), annotated(SHAPE)
    _, encoded = one.segment(*given, None, never, mirrored=not mirrored)
    logits, made = one.segment(*given, encoded, never, mirrored=mirrored)
    assert made.mirrored is mirrored
    np.testing.assert_array_equal(logits, one.segment(*given, None, never, mirrored=mirrored)[0])


def test_kept_features_give_the_same_logits_without_encoding_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = predictor()
    first, encoded = logits_of(one)
    monkeypatch.setattr(one.network, "encode", pytest.fail)
    again, kept = logits_of(one, encoded)
    np.testing.assert_array_equal(again, first)
    assert kept is encoded


def test_features_are_kept_in_half_precision_and_counted() -> None:
    _, encoded = logits_of(predictor())
    tensors = [encoded.features[0].embedding, *encoded.features[0].levels]
    assert {one.dtype for one in tensors} == {torch.float16}
    assert {one.device.type for one in tensors} == {"cpu"}
    assert encoded.bytes == sum(2 * one.numel() for one in tensors)


def test_cancelling_stops_before_the_next_window() -> None:
    asked = []
    one = predictor(window=32)
    with pytest.raises(Cancelled):
        one.segment(*annotated(SHAPE), None, lambda: asked.append(None) is None and len(asked) > 3)
    assert len(asked) == 4


# ---- memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_when_memory_runs_out_smaller_windows_are_used_and_noted(error: Exception) -> None:
    one = predictor(window=64)
    done = short_of_memory(one, 32**3, error)
    notes = one.new_notes()
    logits, encoded = logits_of(one)
    assert logits.shape == SHAPE
    assert np.isfinite(logits).all()
    assert set(done) == {(32, 32, 32)}
    assert one.window == 32
    assert encoded.windows == one._windows(SHAPE)
    assert notes == ["Memory ran out on cpu: went on in windows of 32 voxels."]


def test_threads_that_run_out_of_memory_together_make_way_once() -> None:
    one, all_at_work = predictor(), threading.Barrier(4)
    notes = one.new_notes()

    def work() -> int:
        if one.window > 80:
            all_at_work.wait(60)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return one.window

    assert list(side_by_side([lambda _: one._persistently(work)] * 4, 4)) == [80] * 4
    assert notes == ["Memory ran out on cpu: went on in windows of 80 voxels."]


def test_notes_are_collected_anew_for_every_answer() -> None:
    one = predictor(window=64)
    short_of_memory(one, 32**3, torch.OutOfMemoryError())
    first = one.new_notes()
    logits_of(one)
    second = one.new_notes()
    logits_of(one)
    assert len(first) == 1
    assert second == []


def test_features_of_larger_windows_are_made_anew_when_memory_runs_out() -> None:
    one = predictor(window=64)
    _, encoded = logits_of(one)
    short_of_memory(one, 32**3, torch.OutOfMemoryError())
    logits, smaller = logits_of(one, encoded)
    assert len(smaller.windows) > len(encoded.windows)
    np.testing.assert_allclose(logits, logits_of(predictor(window=32))[0], atol=1e-5)


def test_when_even_small_windows_do_not_fit_the_user_is_told() -> None:
    one = predictor()
    short_of_memory(one, 0, torch.OutOfMemoryError())
    with pytest.raises(InputError, match="not enough memory"):
        logits_of(one)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    one = predictor()
    notes = one.new_notes()
    short_of_memory(one, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        logits_of(one)
    assert notes == []
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_what_comes_before_the_network_runs_on_the_cpu_where_the_device_is_full() -> None:
    one, tried = predictor(), []
    one.device = torch.device("cuda")
    notes = one.new_notes()

    def work(device: torch.device) -> int:
        tried.append(device.type)
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return 7

    assert one.on_device_or_cpu(work) == 7
    assert tried == ["cuda", "cpu"]
    assert len(notes) == 1
    assert "ran on the CPU" in notes[0]


@pytest.mark.parametrize(
    ("device", "error"), [("cpu", torch.OutOfMemoryError()), ("cuda", RuntimeError("shapes do not match"))]
)
def test_it_is_not_tried_again_on_the_cpu_nor_after_another_error(device: str, error: Exception) -> None:
    one = predictor()
    one.device = torch.device(device)

    def work(_: torch.device) -> None:
        raise error

    with pytest.raises(type(error)):
        one.on_device_or_cpu(work)


# ---- devices and precision


def test_the_cpu_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    one, seen = predictor(), set()
    for name in ("encode", "decode"):
        called = getattr(one.network, name)

        def noted(*tensors, called: Callable = called):
            result = called(*tensors)
            parts = (result,) if isinstance(result, torch.Tensor) else result.levels
            seen.update(part.dtype for part in parts)
            return result

        monkeypatch.setattr(one.network, name, noted)
    logits_of(one)
    assert seen == {torch.float32}


def test_cuda_asked_for_where_there_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--device cpu"):
        chosen_device("cuda")


def test_auto_takes_the_cpu_where_cuda_is_absent_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto") == (CPU, "torch finds no CUDA device")


def test_auto_takes_the_cpu_where_cuda_is_there_but_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image is available for execution on the device\nCompile with ...")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.functional, "conv3d", broken)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device=None: torch.ones(shape))
    device, why = chosen_device("auto")
    assert device == CPU
    assert "no kernel image" in why
    assert "\n" not in why
    with pytest.raises(InputError, match="no kernel image"):
        chosen_device("cuda")


def test_a_device_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        chosen_device("tpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("window", [160, 32])
def test_cuda_and_the_cpu_agree(window: int) -> None:
    expected, _ = logits_of(predictor(window))
    found, encoded = logits_of(predictor(window, torch.device("cuda")))
    assert found.dtype == np.float32
    assert encoded.features[0].embedding.device.type == "cuda"
    assert np.abs(found - expected).mean() < 0.02 * np.abs(expected).mean() + 0.01
    assert ((found > 0) == (expected > 0)).mean() > 0.99
