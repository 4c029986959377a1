"""Disks that refuse: a file that may not grow, and system calls that fail at one step after another."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

CALLS = ("mkdir", "fsync", "link", "replace")
"""Functions of `os` that writing a file goes through."""


@contextmanager
def limited_file_size(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@dataclass
class Faults:
    """How many calls have been let through, and whether one has failed."""

    passed: int = 0
    failed: bool = False


@contextmanager
def failing(after: int, code: int, act: Callable[[], None] = lambda: None) -> Iterator[Faults]:
    """Let one of CALLS fail with an error number, once, after so many that succeed.

    act: called right before it fails.
    """
    faults = Faults()

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if not faults.failed and faults.passed == after:
                faults.failed = True
                act()
                raise OSError(code, os.strerror(code), str(arguments[0]))
            faults.passed += 1
            return real(*arguments, **options)

        return call

    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(mock.patch.object(os, name, wrapped(getattr(os, name))))
        yield faults
