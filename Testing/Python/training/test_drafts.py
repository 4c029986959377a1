"""Drafts of episodes: the batch that a device makes of them is the one that workers would have made."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from MedMetaSegLib.training.drafts import EpisodeDraft, PlaceDraft, ScribblesDraft, SlicesDraft, batch_of
from MedMetaSegLib.training.episodes import drafts, episode_of
from MedMetaSegLib.training.stream import EpisodeStream, TimedStream, collated
from MedMetaSegLib.training.synthesis import random_anatomy

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SIDE = 40


@pytest.fixture(scope="module")
def drawn() -> list[EpisodeDraft]:
    """Drafts of every sort."""
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        found += drafts(rng, random_anatomy(rng, SIDE), 6)
    assert {type(one.known) for one in found} == {SlicesDraft, ScribblesDraft, PlaceDraft}
    assert {one.support is None for one in found} == {True, False}
    return found


def test_a_batch_made_of_drafts_is_the_batch_of_their_episodes(drawn: list[EpisodeDraft]) -> None:
    for one in drawn:
        made = batch_of([one, one], CPU)
        expected = collated([episode_of(one)] * 2)
        assert (made[3] is None) == (expected[3] is None) == (one.support is None)
        for part, wanted in zip(made, expected, strict=True):
            assert part is None or (part.dtype == wanted.dtype and torch.equal(part, wanted))


def test_a_draft_travels_between_processes(drawn: list[EpisodeDraft]) -> None:
    one = drawn[0]
    again = pickle.loads(pickle.dumps(one))
    assert torch.equal(batch_of([again], CPU)[1], batch_of([one], CPU)[1])


def test_a_stream_hands_on_the_drafts_of_the_batches_that_it_would_make() -> None:
    stream = EpisodeStream(seed=2, side=SIDE, shuffle=0)
    as_drafts, whole = (iter(TimedStream(stream, as_drafts)) for as_drafts in (True, False))
    for _ in range(2):
        (alike, _), (batch, _) = next(as_drafts), next(whole)
        assert len({one.kind for one in alike}) == 1
        for part, wanted in zip(batch_of(alike, CPU), batch, strict=True):
            assert part is wanted is None or torch.equal(part, wanted)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_makes_the_channels_that_a_cpu_makes(drawn: list[EpisodeDraft]) -> None:
    for one in drawn:
        for part, wanted in zip(batch_of([one], torch.device("cuda")), batch_of([one], CPU), strict=True):
            if part is not None:
                assert part.is_cuda
                # A voxel on the edge between two bins may fall on either side of it.
                assert ((part.cpu() - wanted).abs() > 0.05).float().mean() < 2e-3
