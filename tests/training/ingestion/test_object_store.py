"""An S3 of moto's on loopback, read by its URL."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pytest
from tests.simulators.aws_kms.service import AwsKms, install

from shoal_training.errors import DataError
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.source import Reading

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the packages come over the network


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto, which does all of AWS's services; its simulator is named by the one that it was made for."""
    folder = tmp_path_factory.mktemp("aws")
    install(folder)
    service = AwsKms(folder)
    yield service.url
    service.stop()


def test_files_of_a_bucket_are_read_and_known_by_their_version(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "of-no-use",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3", endpoint_url=endpoint).create_bucket(Bucket="lake")
    for year in (2024, 2025):
        bucket.put_object(Key=f"readings/year={year}/a.csv", Body=f"x\n{year}.5\n".encode())
    source, reading = FileSource(path="s3://lake/readings"), Reading(tmp_path)
    found = pa.concat_tables(source.tables(reading))
    assert found.to_pylist() == [{"x": 2024.5, "year": 2024}, {"x": 2025.5, "year": 2025}]
    assert pa.concat_tables(FileSource(path="s3://lake/readings/*/a.csv").tables(reading))["x"].to_pylist() == [
        2024.5,
        2025.5,
    ]
    before = source.fingerprint(reading)
    assert source.fingerprint(reading) == before
    bucket.put_object(Key="readings/year=2025/a.csv", Body=b"x\n7.25\nbroken,row\n")
    assert source.fingerprint(reading) != before
    with pytest.raises(DataError, match="s3://lake/readings/year=2025/a.csv, row 2: 2 cells found"):
        list(source.tables(reading))
    with pytest.raises(DataError, match="s3://lake/nothing: no file is there"):
        list(FileSource(path="s3://lake/nothing").tables(reading))
