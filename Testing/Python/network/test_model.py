"""The network's shapes and independence of batches, and its weights file."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from MedMetaSegLib.errors import WeightsError
from MedMetaSegLib.network import weights
from MedMetaSegLib.network.prompt_channels import BACKGROUND, FOREGROUND
from MedMetaSegLib.network.weights import fingerprint, load_network, weights_bytes
from network_phantom import TINY, annotated, batch, tiny_network

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (16, 24, 32)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    path.write_bytes(weights_bytes(tiny_network(), {"steps": 7, "device": "cpu"}))
    return path


def spoilt(weights_file: Path, folder: Path, content: bytes) -> Path:
    path = folder / weights_file.name
    path.write_bytes(content)
    return path


def with_metadata(weights_file: Path, folder: Path, **changes: str) -> Path:
    """The same weights under other metadata."""
    with safe_open(weights_file, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        about = file.metadata()
    save_file(state, folder / "changed.safetensors", {**about, **changes})
    return folder / "changed.safetensors"


# ---- forward


@pytest.mark.parametrize("shape", [(16, 16, 16), (24, 40, 56), (8, 24, 16), (72, 16, 24)])
@torch.inference_mode()
def test_logits_have_the_shape_of_the_image_at_odd_multiples_of_the_stride(
    shape: tuple[int, int, int],
) -> None:
    logits, scores = tiny_network()(*batch(annotated(shape)))
    assert logits.shape == (1, 1, *shape)
    assert scores.shape == (1, 4, *(n // 2 for n in shape))
    assert torch.isfinite(logits).all()
    assert torch.isfinite(scores).all()


@torch.inference_mode()
def test_features_come_at_a_half_a_quarter_and_an_eighth() -> None:
    image, _ = batch(annotated(SHAPE))
    features = tiny_network().encode(image)
    assert [tuple(level.shape[1:]) for level in features.levels] == [
        (width, *(n // step for n in SHAPE)) for width, step in zip(TINY.widths, (2, 4, 8), strict=True)
    ]
    assert features.embedding.shape == (1, TINY.embedding, *(n // 2 for n in SHAPE))
    lengths = features.embedding.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


@torch.inference_mode()
def test_a_volume_gets_the_same_logits_alone_and_in_a_batch() -> None:
    network = tiny_network()
    one, other = annotated(SHAPE, seed=1), annotated(SHAPE, seed=2)
    together, scores = network(*batch(other, one))
    alone, own_scores = network(*batch(one))
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores[1:], own_scores, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_encoding_once_and_decoding_later_is_the_same_as_forward() -> None:
    network = tiny_network()
    image, prompt = batch(annotated(SHAPE))
    features = network.encode(image)
    prototypes = network.prototypes(features.embedding[0], prompt[0])
    similarity = network.similarity(features.embedding[0], prototypes)[None]
    torch.testing.assert_close(network.decode(features, similarity, image, prompt), network(image, prompt)[0])


@torch.inference_mode()
def test_a_structure_thinner_than_a_feature_still_has_prototypes() -> None:
    network = tiny_network()
    image, prompt = batch(annotated(SHAPE))
    prompt[:, FOREGROUND] = 0
    prompt[0, FOREGROUND, 5, 12, 16] = 1
    prompt[0, BACKGROUND, 5, 12, 16] = 0
    (points, strength), (outside, _) = network.known_points(network.encode(image).embedding[0], prompt[0])
    assert points.shape == (1, TINY.embedding)
    assert strength.item() == pytest.approx(1 / 8)
    assert len(outside) > 0
    assert torch.isfinite(network(image, prompt)[0]).all()


@torch.inference_mode()
def test_nothing_known_at_all_still_gives_finite_logits() -> None:
    image, prompt = batch(annotated(SHAPE))
    prompt[:, [FOREGROUND, BACKGROUND]] = 0
    logits, scores = tiny_network()(image, prompt)
    assert torch.isfinite(logits).all()
    assert torch.isfinite(scores).all()


def test_prototypes_of_another_patient_have_a_say_and_are_learned_through() -> None:
    network = tiny_network()
    image, prompt = batch(annotated(SHAPE, seed=1), annotated(SHAPE, seed=2))
    other, known = batch(annotated(SHAPE, seed=3), annotated(SHAPE, seed=4))
    support = torch.cat([other, known[:, [FOREGROUND, BACKGROUND]]], 1).requires_grad_(True)
    logits, scores = network(image, prompt, support)
    own, own_scores = network(image, prompt)
    assert scores.shape == (2, 4, *(n // 2 for n in SHAPE))
    torch.testing.assert_close(scores[:, :2], own_scores[:, :2])
    torch.testing.assert_close(own_scores[:, 2:], own_scores[:, :2])
    assert not torch.allclose(scores[:, 2:], own_scores[:, 2:])
    assert not torch.allclose(logits, own)
    scores[:, 2:].square().mean().backward()
    assert support.grad is not None
    assert support.grad[:, :2].abs().amax((1, 2, 3, 4)).min() > 0


def test_gradients_reach_every_parameter() -> None:
    network = tiny_network()
    logits, scores = network(*batch(annotated(SHAPE)))
    (logits.square().mean() + scores.square().mean()).backward()
    learned = [(name, one) for name, one in network.named_parameters() if one.requires_grad]
    missing = [name for name, one in learned if one.grad is None]
    assert missing == []
    # Step sizes are learned by the outer loop alone.
    assert len(learned) == len(list(network.parameters())) - len(network.step_sizes)


# ---- weights


def test_weights_come_back_as_they_were_written(weights_file: Path) -> None:
    network, provenance = load_network(weights_file)
    written = tiny_network()
    assert network.architecture == written.architecture
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, written.state_dict()[name].half().float(), rtol=0, atol=0)
    assert provenance == {"steps": 7, "device": "cpu", "sha256": fingerprint(written.state_dict())}


def test_weights_are_stored_in_half_precision(weights_file: Path) -> None:
    with safe_open(weights_file, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    parameters = sum(one.numel() for one in tiny_network().state_dict().values())
    assert weights_file.stat().st_size < 2 * parameters + 20_000


def test_the_fingerprint_follows_every_value(weights_file: Path) -> None:
    state = tiny_network().state_dict()
    before = fingerprint(state)
    assert fingerprint(dict(reversed(state.items()))) == before
    state["log_ridge"] = state["log_ridge"] + 0.01
    assert fingerprint(state) != before


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"missing: .*none\.safetensors"):
        load_network(tmp_path / "none.safetensors")
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped.safetensors")
    with pytest.raises(WeightsError, match=r"shipped\.safetensors"):
        load_network()


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_truncated_weights_are_refused(weights_file: Path, tmp_path: Path, kept: float) -> None:
    content = weights_file.read_bytes()
    length = int(kept * len(content)) if isinstance(kept, float) else kept
    with pytest.raises(WeightsError, match="damaged"):
        load_network(spoilt(weights_file, tmp_path, content[:length]))


@pytest.mark.parametrize("position", [0.3, 0.6, 0.99])
def test_a_flipped_bit_is_noticed(weights_file: Path, tmp_path: Path, position: float) -> None:
    content = bytearray(weights_file.read_bytes())
    content[int(position * len(content))] ^= 4
    with pytest.raises(WeightsError, match="checksum"):
        load_network(spoilt(weights_file, tmp_path, bytes(content)))


def test_a_file_of_another_kind_is_refused(weights_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="damaged"):
        load_network(spoilt(weights_file, tmp_path, b"not weights " * 400))
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="format None"):
        load_network(tmp_path / "other.safetensors")


def test_weights_of_a_newer_format_are_refused_with_what_to_do(weights_file: Path, tmp_path: Path) -> None:
    newer = str(weights.FORMAT + 1)
    with pytest.raises(WeightsError, match=f"format {newer}.*update MedMetaSeg"):
        load_network(with_metadata(weights_file, tmp_path, format=newer))


def test_the_architecture_is_read_from_the_file(weights_file: Path) -> None:
    with safe_open(weights_file, framework="pt") as file:
        options = json.loads(file.metadata()["architecture"])
    assert tuple(options["widths"]) == TINY.widths
    assert options["embedding"] == TINY.embedding


def test_weights_are_whole_while_a_run_replaces_them(tmp_path: Path) -> None:
    network, path, done = tiny_network(), tmp_path / "weights.safetensors", threading.Event()
    versions = []
    for steps in range(4):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.01)
        versions.append(weights_bytes(network, {"steps": steps}))
    path.write_bytes(versions[0])

    def replace() -> None:
        while not done.is_set():
            for version in versions:
                (tmp_path / "partial").write_bytes(version)
                os.replace(tmp_path / "partial", path)

    run = threading.Thread(target=replace)
    run.start()
    try:
        steps = {load_network(path)[1]["steps"] for _ in range(200)}
    finally:
        done.set()
        run.join()
    assert len(steps) > 1
