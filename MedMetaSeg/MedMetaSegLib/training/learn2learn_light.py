"""learn2learn's algorithms, optim, nn and utils, with torch and numpy alone.

`import learn2learn` also wants gym, torchvision and Lightning, none of which 3D segmentation needs. Of 0.2.0,
MAML, MetaSGD, GBML, `clone_module` and `update_module` work on Conv3d. Use instance or group normalisation: a
clone's forward changes the statistics of its base's batch normalisation. The light package takes the name
`learn2learn` in `sys.modules`, so that its modules find one another.

    l2l = load_learn2learn()
    learner = l2l.algorithms.MAML(network, lr=1e-3)
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from ..errors import InputError

PARTS = ("nn", "optim", "algorithms")
_LIGHTNING = "learn2learn.algorithms.lightning"
_LIGHTNING_CLASSES = ("EpisodicModule", "MAML", "ANIL", "PrototypicalNetworks", "MetaOptNet")


def load_learn2learn() -> ModuleType:
    """The package learn2learn with its `algorithms`, `optim`, `nn`, `utils` and the functions of `utils`.

    A learn2learn that was imported before is returned as it is. Raises InputError when it is not installed or
    does not load.
    """
    there = sys.modules.get("learn2learn")
    if there is not None:
        return there
    spec = importlib.util.find_spec("learn2learn")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("The package learn2learn is not installed: build it with `make learn2learn`.")
    try:
        return _loaded(spec)
    except ImportError as error:
        for name in [name for name in sys.modules if name.partition(".")[0] == "learn2learn"]:
            del sys.modules[name]
        raise InputError(
            f"The package learn2learn does not load ({error}): build it anew with `make learn2learn`."
        ) from error


def _loaded(spec: ModuleSpec) -> ModuleType:
    package = importlib.util.module_from_spec(spec)  # its __init__, which imports everything, is not run
    sys.modules["learn2learn"] = package
    # algorithms/__init__ names the classes for PyTorch Lightning; here they are None.
    lightning = ModuleType(_LIGHTNING)
    for name in _LIGHTNING_CLASSES:
        setattr(lightning, f"Lightning{name}", None)
    sys.modules[_LIGHTNING] = lightning
    utils = importlib.import_module("learn2learn.utils")
    for name, value in vars(utils).items():
        if not name.startswith("_"):
            setattr(package, name, value)
    for part in PARTS:
        importlib.import_module(f"learn2learn.{part}")
    return package
