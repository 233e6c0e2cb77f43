"""What the hub or a person names on the device never leads out of the data folder."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tests.contract.test_paths import HOSTILE

from shoal_agent.federated.dataset import DatasetError, Datasets
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel, DesiredRound


@pytest.mark.parametrize("name", HOSTILE)
def test_a_dataset_of_a_hostile_name_is_not_written_anywhere(tmp_path: Path, name: str) -> None:
    examples = tmp_path / "examples.npz"
    np.savez(examples, x=np.zeros((2, 3), np.float32), y=np.zeros(2, np.int32))
    folder = tmp_path / "data" / "datasets"
    folder.mkdir(parents=True)
    with pytest.raises(DatasetError):
        Datasets(folder).add(name, examples)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [examples]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_desired_state_cannot_name_a_file_by_anything_but_a_hash_or_a_name(name: str) -> None:
    with pytest.raises(ValidationError, match="sha256"):
        ArtifactRef.model_validate({"sha256": name, "size_bytes": 1})
    with pytest.raises(ValidationError, match="target"):
        DesiredModel.model_validate({"target": name})
    with pytest.raises(ValidationError, match="dataset"):
        DesiredRound.model_validate({"dataset": name})
