"""A real browser without a window and without a network, for pages that tests write."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest


def find_chromium() -> str:
    """The browser's command; the test is skipped without one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    return found


def browse(chromium: str, folder: Path, *arguments: str) -> str:
    """What the browser prints; its profile goes to the folder."""
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
    ]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000"]
    return subprocess.run(
        [*command, *offline, *arguments], capture_output=True, encoding="utf-8", timeout=240, check=True
    ).stdout


def title_after(chromium: str, folder: Path, html: str, script: str) -> list[str]:
    """The words of the title that a script gives a page once it is loaded; nothing of the page is changed."""
    checked = folder / "checked.html"
    checked.write_text(
        html.replace("</body>", f"<script>onload = () => {{ {script} }}</script></body>"), encoding="utf-8"
    )
    title = re.search(r"<title>(.*?)</title>", browse(chromium, folder, "--dump-dom", checked.as_uri()))
    assert title is not None
    return title[1].split()
