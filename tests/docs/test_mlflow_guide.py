"""What docs/guides/mlflow.md shows runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hub.registry.bundles import WEIGHTS, make_onnx
from tests.hub.served import served_hub
from typer.testing import CliRunner

from shoal_client import ShoalClient
from shoal_hub.cli import app

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "mlflow.md"


@pytest.mark.timeout(280)
def test_the_guide_s_code_registers_a_version_that_devices_can_serve(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "model.onnx").write_bytes(make_onnx(WEIGHTS))
    (tmp_path / "hub").mkdir()
    with served_hub(tmp_path / "hub") as served:
        environ = os.environ | {
            "MLFLOW_TRACKING_URI": served.url,
            "MLFLOW_TRACKING_TOKEN": served.token,
            "MLFLOW_TRACKING_SERVER_CERT_PATH": str(served.ca_path),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        with ShoalClient(served.url, served.token, served.ca_path) as client:
            assert client.models.show("colours").aliases == {"champion": 1}
            (run,) = client.runs.list(experiment="colours by hand", where="metrics.acc > 0.9")
    assert run.params == {"depth": "3"}


def test_the_guide_s_commands_are_ones_that_there_are() -> None:
    lines = re.findall(r"^(shoal runs .*)$", GUIDE.read_text(), re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        options = re.findall(r"--[a-z-]+", line)
        told = CliRunner().invoke(app, [*line.split()[1:3], "--help"], env={"COLUMNS": "200"})
        assert told.exit_code == 0
        assert all(option in told.output for option in options), line
