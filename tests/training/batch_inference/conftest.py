"""A folder with rows and a model."""

from pathlib import Path

import pytest
from tests.training.batch_inference.models import linear_bundle, write_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows")
    linear_bundle(tmp_path / "bundle")
    return tmp_path
