"""Run by a test: a command, killed at one step of writing after another, with a stand-in for the segmenter.

Arguments: a folder, the names of the files that the command writes there, as JSON, and the command's own.
Every one of these files holds OLD before each run, and lies in a folder `step<N>` after it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import types
from pathlib import Path

OLD = b"yesterday's"


def main() -> None:
    """Go on until a run is not killed; exits with that run's status."""
    from batch_stand_in import StandInSegmenter

    module = types.ModuleType("MedMetaSegLib.segmenter")
    module.Segmenter = StandInSegmenter()  # type: ignore[attr-defined]
    sys.modules["MedMetaSegLib.segmenter"] = module
    folder, names, arguments = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    step, was_killed = 0, True
    while was_killed:
        for name in names:
            (folder / name).write_bytes(OLD)
        child = os.fork()
        if not child:
            run_until_killed(step, arguments)
        _, ended = os.waitpid(child, 0)
        was_killed = os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL
        for name in names:
            kept = folder / f"step{step}" / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, kept)
        step += 1
    sys.exit(os.waitstatus_to_exitcode(ended))


def run_until_killed(step: int, arguments: list[str]) -> None:
    """Run the command in this process, which ends at the step, else with the command's status."""
    from disk_faults import failing
    from MedMetaSegLib import cli

    with failing(step, errno.EIO, lambda: os.kill(os.getpid(), signal.SIGKILL)):
        status = cli.run(arguments)
    os._exit(status)


if __name__ == "__main__":
    main()
