"""The shipped weights: float16 safetensors, with what it takes to rebuild the network and trust the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import WeightsError
from .model import Architecture, FewShotNetwork
from .prompt_channels import IMAGE_CHANNELS, PROMPT_CHANNELS
from .shipped import SHIPPED

__all__ = ["FORMAT", "SHIPPED", "fingerprint", "load_network", "weights_bytes"]

FORMAT = 1
"""Version of the weights' file format; files of another are refused."""


def fingerprint(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes and float16 values, independent of how the file orders them."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = (
            state[name].detach().to("cpu", torch.float16).contiguous(memory_format=torch.contiguous_format)
        )
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def weights_bytes(network: FewShotNetwork, provenance: dict[str, Any]) -> bytes:
    """A weights file of the network, with its architecture, its checksum and where it comes from."""
    state = {
        name: tensor.detach().cpu().to(torch.float16).contiguous(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    about = {
        "format": str(FORMAT),
        "architecture": json.dumps(network.architecture.as_dict()),
        "provenance": json.dumps(provenance),
        "sha256": fingerprint(state),
    }
    return save(state, metadata={**about, "about_sha256": _about_fingerprint(about)})


def _about_fingerprint(about: dict[str, str]) -> str:
    """SHA-256 over everything else that the file says of itself."""
    stated = {name: about.get(name) for name in ("format", "architecture", "provenance", "sha256")}
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def load_network(path: Path | None = None) -> tuple[FewShotNetwork, dict[str, Any]]:
    """The network in float32 on the CPU, in evaluation mode, and its provenance with "sha256".

    Raises WeightsError when the file is missing, damaged, of a newer format, or does not match its checksum.
    """
    path = Path(path) if path is not None else SHIPPED
    if not path.is_file():
        raise WeightsError(
            f"The network's weights are missing: {path}. Reinstall MedMetaSeg, or give a weights file."
        )
    try:
        # For torch it would be opened twice, by its name; a run may have replaced the file between.
        with safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            names = file.keys()
            state = {name: torch.from_numpy(file.get_tensor(name)) for name in names}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"The weights file {path} is damaged ({error}). Reinstall MedMetaSeg.") from error
    if about.get("format") != str(FORMAT):
        raise WeightsError(
            f"The weights file {path} has format {about.get('format')}, and {FORMAT} can be read: "
            "update MedMetaSeg."
        )
    if fingerprint(state) != about.get("sha256") or _about_fingerprint(about) != about.get("about_sha256"):
        raise WeightsError(
            f"The weights file {path} does not match its checksum: it is damaged. Reinstall MedMetaSeg."
        )
    options = json.loads(about["architecture"])
    channels = options["image_channels"], options["condition_channels"]
    if channels != (IMAGE_CHANNELS, PROMPT_CHANNELS):
        raise WeightsError(
            f"The weights file {path} is for a network with {channels[0]} + {channels[1]} input channels, "
            f"and this version has {IMAGE_CHANNELS} + {PROMPT_CHANNELS}: use its own weights."
        )
    widths, embedding = tuple(options["widths"]), options["embedding"]
    network = FewShotNetwork(
        Architecture(widths, embedding, options["foreground_prototypes"], options["background_prototypes"])
    )
    # Weights of episodic training alone have no step sizes: those that the network begins with hold.
    began = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("step_sizes.")}
    network.load_state_dict({**began, **{name: tensor.float() for name, tensor in state.items()}})
    return network.eval(), {**json.loads(about["provenance"]), "sha256": about["sha256"]}
