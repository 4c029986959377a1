"""A Python that has the packages of Slicer's and no others, in every process that starts with this folder on
its path.

SLICER_MODULES: the top-level modules that may be imported from site-packages, and SLICER_PACKAGES: the
distributions they come in, each a list between commas; what lies elsewhere is there, too.
SLICER_STAND_IN: set where a stand-in takes the segmenter's place.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder
from types import ModuleType

_MODULES = frozenset(os.environ["SLICER_MODULES"].split(","))
_PACKAGES = frozenset(os.environ["SLICER_PACKAGES"].split(","))
_SITE = {os.path.normcase(sysconfig.get_path(name)) for name in ("purelib", "platlib")}


class SlicerFinder(PathFinder):
    """Finds what is on the path, but in site-packages only what Slicer has."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = super().find_spec(fullname, path, target)
        if spec is None or "." in fullname or fullname in _MODULES:
            return spec
        places = [spec.origin or "", *(spec.submodule_search_locations or ())]
        return None if any(os.path.normcase(place).startswith(tuple(_SITE)) for place in places) else spec

    @staticmethod
    def find_distributions(context: DistributionFinder.Context | None = None) -> Iterator[Distribution]:
        for one in MetadataPathFinder.find_distributions(context or DistributionFinder.Context()):
            if re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower() in _PACKAGES:
                yield one


sys.meta_path[:] = [SlicerFinder if one is PathFinder else one for one in sys.meta_path]

if os.environ.get("SLICER_STAND_IN"):
    import batch_stand_in

    batch_stand_in.stand_in_elsewhere()
