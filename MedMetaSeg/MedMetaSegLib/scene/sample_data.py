"""Volumes to try MedMetaSeg on, in Slicer's Sample Data module: files that Slicer's project publishes."""

from __future__ import annotations

from pathlib import Path

CATEGORY = "MedMetaSeg"
_PUBLISHED = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"

TUTORIAL = (
    "MedMetaSegTutorialMR",
    "Tutorial brain MR",
    "dff28a7711d20b6e16d5416535f6010eb99fd0c8468aaa39be4e39da78e93ec2",
)
"""The volume of docs/tutorial.md, which Slicer lists as BaselineVolume, too; described as in SAMPLES."""

SAMPLES = (
    TUTORIAL,
    ("MedMetaSegChestCT", "Chest CT", "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"),
    ("MedMetaSegHeartCT", "Heart CT", "3b0d4eb1a7d8ebb0c5a89cc0504640f76a030b4e869e33ff34c564c3d3b88ad2"),
    (
        "MedMetaSegBrainTumorMR",
        "Brain tumor MR",
        "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95",
    ),
)
"""Name, the volume's name in the scene, and the SHA-256 of the NRRD file, which is also its address."""


def registerSampleData(thumbnail: Path) -> None:
    """Add the samples to Slicer's list; nothing is loaded before the user asks for one.

    thumbnail: a PNG shown on their buttons.
    """
    import SampleData

    for name, title, sha256 in SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            uris=_PUBLISHED + sha256,
            fileNames=f"{name}.nrrd",
            nodeNames=title,
            checksums=f"SHA256:{sha256}",
            thumbnailFileName=str(thumbnail),
        )
