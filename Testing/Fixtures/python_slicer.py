"""PythonSlicer, stood in for: the launcher of Slicer's Python, which tells crashes in its own way.

As a program: the arguments are those of Python, which runs as a child of another process id with the same
stdin, stdout and stderr. A child that a signal ended gives the exit status 1 and a line on stderr.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def python_slicer(folder: Path) -> str:
    """Put the launcher into a folder, as a program named PythonSlicer; its path."""
    program = folder / "PythonSlicer"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__)}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def main(arguments: list[str]) -> int:
    child = subprocess.run([sys.executable, *arguments])
    if child.returncode >= 0:
        return child.returncode
    print(f"error: [{sys.executable}] exit abnormally - Report the problem.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
