"""The bundle of docs/monai-bundle.md: made as the page says, run by MONAI, as good as the command."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command_files import write_array
from MedMetaSegLib import __version__, cli
from MedMetaSegLib.demo.phantom import LABEL, make_patient
from MedMetaSegLib.imageio.volume import read_image, write_labels

PAGE = Path(__file__).parents[2] / "docs" / "monai-bundle.md"
FILE = re.compile(r"^\*\*(kidneys/\S+)\*\*: [^\n]*\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
NEEDED = (
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
)
"""What MONAI's schema of 2024-07-25 asks for."""
CHECK = """
import monai.bundle
workflow = monai.bundle.create_workflow(workflow_type="inference", **{given})
print("missing:", workflow.check_properties())
"""
"""MONAI's own check of the properties that it asks every bundle for."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundle; beside it kidneys.medmetaseg, an image in patients, its mask in command."""
    folder = tmp_path_factory.mktemp("bundle")
    first, second = (make_patient(seed, (16, 40, 52), (12.0, 7.0, 7.0)) for seed in (0, 1))
    write_array(folder / "ct.nii.gz", first.volume.array, first.volume.geometry)
    liver = (first.truth == LABEL["liver"]).astype(np.uint8)
    write_labels(folder / "liver.nii.gz", liver, first.volume.geometry)
    (folder / "patients").mkdir()
    write_array(folder / "patients" / "next.nii.gz", second.volume.array, second.volume.geometry)
    task = str(folder / "kidneys.medmetaseg")
    learn = ["learn", str(folder / "ct.nii.gz"), str(folder / "liver.nii.gz"), "--annotation", "complete"]
    assert cli.run([*learn, "-o", task, "--device", "cpu"]) == 0
    apply = ["apply", task, str(folder / "patients" / "next.nii.gz"), "-o", str(folder / "command")]
    assert cli.run([*apply, "--device", "cpu"]) == 0
    make_bundle(folder)
    return folder / "kidneys"


def make_bundle(folder: Path) -> None:
    """What the page has its reader do, in a folder."""
    text = PAGE.read_text(encoding="utf-8")
    subprocess.run(["bash", "-ec", COMMANDS.findall(text)[0]], cwd=folder, check=True)
    files = FILE.findall(text)
    assert len(files) == 4
    for path, content in files:
        (folder / path).write_text(content, encoding="utf-8")


def run_command() -> list[str]:
    """The page's command that runs the bundle, in words."""
    block = COMMANDS.findall(PAGE.read_text(encoding="utf-8"))[1]
    enter, command = block.strip().splitlines()
    assert enter == "cd kidneys"
    return shlex.split(command)


def in_bundle(bundle: Path, *arguments: str) -> str:
    """What a Python in the bundle's folder prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_monai_misses_nothing(bundle: Path) -> None:
    words = run_command()[4:]
    given = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
    assert "missing: []" in in_bundle(bundle, "-c", CHECK.format(given=given))


def test_the_pages_command_makes_the_masks_of_apply(bundle: Path) -> None:
    if importlib.util.find_spec("fire") is None:
        pytest.skip("MONAI's command line needs the package fire, which is not installed")
    python, *words = run_command()
    assert python == "python"
    assert "next Label 1" in in_bundle(bundle, *words)
    assert_as_the_command(bundle, "results")


def assert_as_the_command(bundle: Path, folder: str) -> None:
    """Assert that the image's mask in a folder beside the bundle is what `medmetaseg apply` wrote."""
    made, command = (read_image(bundle.parent / one / "next.nii.gz") for one in (folder, "command"))
    np.testing.assert_array_equal(made.array, command.array)
    assert made.geometry.same_grid(command.geometry, 1e-6)
    assert made.array.any()


def test_its_description_has_what_monais_schema_asks_for(bundle: Path) -> None:
    about = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert [name for name in NEEDED if name not in about] == []
    assert about["required_packages_version"] == {"medmetaseg": __version__}
    assert (bundle / "LICENSE").is_file()


def test_metadata_keep_monais_schema(bundle: Path) -> None:
    """MONAI's own check, by the schema that $MONAI_META_SCHEMA names, since it would be downloaded."""
    schema = os.environ.get("MONAI_META_SCHEMA")
    if schema is None or importlib.util.find_spec("jsonschema") is None:
        pytest.skip("needs the package jsonschema and MONAI's schema, a file named in MONAI_META_SCHEMA")
    given = {"meta_file": "configs/metadata.json", "filepath": schema}
    in_bundle(bundle, "-c", f"import monai.bundle; monai.bundle.verify_metadata(**{given!r})")
