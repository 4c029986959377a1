"""The settings of a training run: what a file may say, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from MedMetaSegLib import cli
from MedMetaSegLib.errors import InputError
from MedMetaSegLib.network.weights import load_network
from MedMetaSegLib.training.config import EpisodeOptions, Schedule, TrainingConfig, read_config
from network_phantom import TINY
from training_phantom import QUICK_TOML, SIDE

CONFIGS = Path(__file__).parents[3] / "configs"


def written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def test_a_file_says_what_differs_and_paths_count_from_its_folder(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, 'data = "patients"\nstart = "/w.safetensors"\n' + QUICK_TOML))
    assert config.network == TINY
    assert config.schedule.steps == 1
    assert config.schedule.minutes == Schedule().minutes
    assert config.episodes.side == SIDE
    assert config.data == (tmp_path / "patients",)
    assert config.start == Path("/w.safetensors")


def test_an_empty_file_is_the_usual_run(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "")) == TrainingConfig()


def test_whole_numbers_may_stand_for_numbers(tmp_path: Path) -> None:
    minutes = read_config(written(tmp_path, "[schedule]\nminutes = 90")).schedule.minutes
    assert minutes == 90.0
    assert isinstance(minutes, float)


def test_several_data_folders_and_where_they_are_prepared(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, 'data = ["one", "two"]\nprepared = "kept"\n' + QUICK_TOML))
    assert config.data == (tmp_path / "one", tmp_path / "two")
    assert config.prepared == tmp_path / "kept"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("minutes = 3", "has no setting 'minutes'"),
        ("[schedul]\nminutes = 3", "has no setting 'schedul'"),
        ("[schedule]\nminute = 3", r"\[schedule\] has no setting 'minute': there are minutes, "),
        ("[network]\nimage_channels = 3", "has no setting 'image_channels'"),
        ('[schedule]\nminutes = "long"', r"minutes must be a number, not 'long'"),
        ("[schedule]\nminutes = true", "minutes must be a number"),
        ("[schedule]\nminutes = nan", "minutes must be a number"),
        ("[schedule]\nseed = 1.5", "seed must be a whole number, not 1.5"),
        ("[schedule]\nminutes = 0", "minutes must be more than 0"),
        ("[schedule]\naverage = 1", "average must be"),
        ("[episodes]\nreal_share = 1.2", "real_share must be from 0 to 1"),
        ("[episodes]\nworkers = -2", "workers must be"),
        ("[network]\nwidths = [32]", "widths must be a list of two or more"),
        ("[network]\nwidths = [32, 0]", "widths must be a list of two or more"),
        ("[network]\nembedding = 0", "embedding must be at least 1"),
        ("schedule = 3", r"\[schedule\] must be a section"),
        ("data = 3", "data must be a path, or a list of paths, in quotes"),
        ('data = ["a", 3]', "data must be a path, or a list of paths, in quotes"),
        ("prepared = 3", "prepared must be a path in quotes"),
        ("[schedule", "are not TOML"),
    ],
)
def test_a_bad_file_is_refused_in_a_sentence_that_names_it(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=says) as refused:
        read_config(path)
    assert str(path) in str(refused.value)


def test_the_command_refuses_it_and_writes_nothing(tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    path = written(tmp_path, "[schedule]\nminute = 3")
    assert cli.run(["train", "--config", str(path), "--out", str(out)]) == 2
    assert cli.run(["train", "--config", str(tmp_path / "none.toml"), "--out", str(out)]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert "has no setting 'minute'" in shown[0]
    assert "cannot be read" in shown[1]
    assert not out.exists()


def test_options_take_the_place_of_settings_where_they_are_given() -> None:
    config = TrainingConfig(episodes=EpisodeOptions(batch=4)).overridden(minutes=7.0, batch=None, side=64)
    assert config.schedule.minutes == 7.0
    assert (config.episodes.batch, config.episodes.side) == (4, 64)
    with pytest.raises(InputError, match="learning_rate must be more than 0"):
        config.overridden(learning_rate=-1.0)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_published_settings_are_read_and_make_the_published_network(path: Path) -> None:
    network, _ = load_network(CONFIGS.parent / "MedMetaSeg/Resources/Models" / f"{path.stem}.safetensors")
    assert read_config(path).network == network.architecture


def test_settings_of_a_stage_leave_the_network_to_the_weights_it_begins_with() -> None:
    (path,) = (CONFIGS / "stages").glob("*.toml")
    settings = read_config(path)
    assert settings.network is None
    assert (settings.episodes.real_share, settings.episodes.painted_share) == (0.45, 0.15)


def test_settings_for_comparisons_count_steps_and_not_time() -> None:
    (path,) = (CONFIGS / "ablation").glob("*.toml")
    schedule = read_config(path).schedule
    assert schedule.rate(schedule.steps - 1, 0.0) < 0.02 * schedule.learning_rate
