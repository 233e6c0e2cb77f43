"""What the guides to jobs and trainings say of settings is so: they are there, and take what is shown."""

import re
from pathlib import Path

import pytest

from shoal_hub.settings import Settings

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


@pytest.mark.parametrize("name", ["jobs.md", "training-pipelines.md"])
def test_settings_that_a_guide_names_are_there_and_take_what_it_shows(name: str) -> None:
    text = (GUIDES / name).read_text()
    named = set(re.findall(r"`(SHOAL_\w+)", text))
    assert len(named) >= 5
    assert named <= set(Settings.environment().values())
    for variable, value in re.findall(r"`(SHOAL_\w+)=([^`]+)`", text):
        Settings.read({variable: value})


def test_limits_that_are_off_are_off() -> None:
    settings = Settings()
    assert (settings.job_memory_bytes, settings.job_cpu_s, settings.job_wall_s, settings.job_threads) == (0, 0, 0, 0)
    assert not settings.training_code
    assert (settings.training_sources, settings.training_secrets) == ("", "")
