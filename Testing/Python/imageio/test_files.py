"""Files that are called otherwise, lack a part or are damaged: read rightly, or refused in a sentence."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedMetaSegLib.errors import InputError
from MedMetaSegLib.imageio.geometry import Geometry
from MedMetaSegLib.imageio.volume import read_image, to_sitk, write_labels

ARRAY = np.random.default_rng(0).integers(0, 200, (8, 12, 14)).astype(np.uint8)
GRID = Geometry(ARRAY.shape, np.diag([0.8, 0.9, 2.0, 1.0]))


def test_a_gzip_stream_that_is_called_nii_is_read(tmp_path: Path):
    write_labels(tmp_path / "x.nii", ARRAY, GRID)
    (tmp_path / "x.nii").write_bytes(gzip.compress((tmp_path / "x.nii").read_bytes()))
    np.testing.assert_array_equal(read_image(tmp_path / "x.nii").array, ARRAY)


@pytest.mark.parametrize("name", [b"p\xe9re.nii.gz", b"p\xe9re.nrrd", b"p\xe9re.mha"])
def test_a_name_that_is_not_utf_8_is_written_and_read(tmp_path: Path, name: bytes):
    path = tmp_path / os.fsdecode(name)
    write_labels(path, ARRAY, GRID)
    np.testing.assert_array_equal(read_image(path).array, ARRAY)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("header", "data"), [("x.hdr", "x.img"), ("x.nhdr", "x.raw"), ("x.mhd", "x.raw")])
def test_a_data_file_that_is_missing_is_named(tmp_path: Path, header: str, data: str):
    sitk.WriteImage(to_sitk(ARRAY, GRID), str(tmp_path / header), useCompression=False)
    (tmp_path / data).unlink()
    with pytest.raises(InputError, match=rf"needs the file {data}, which is missing"):
        read_image(tmp_path / header)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd", "x.mha"])
def test_any_wrong_byte_in_compressed_voxels_is_noticed(tmp_path: Path, name: str):
    path = tmp_path / name
    write_labels(path, ARRAY, GRID)
    content = path.read_bytes()
    for place in range(len(content) // 2, len(content) - 8, 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        with pytest.raises(InputError, match="truncated or damaged"):
            read_image(path)
