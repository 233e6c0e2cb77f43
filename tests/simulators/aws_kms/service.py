"""An AWS KMS on this machine, and the variables under which AWS's own client, boto3, speaks to it over HTTP."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

_HERE = Path(__file__).parent
_REGION = "eu-central-1"
_SIGNED_BY = "AWS4-HMAC-SHA256 Credential=owner/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=0"


def install(folder: Path) -> None:
    """Put the service into a folder, which is laid over the environment by PYTHONPATH."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", str(folder), "-r", str(_HERE / "requirements.txt")], check=True)


class AwsKms:
    """The service, while it runs; `environment` is what a program needs that uses it."""

    def __init__(self, packages: Path) -> None:
        path = os.pathsep.join([str(packages), *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, str(_HERE / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.environment = {
            "PYTHONPATH": path,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_ACCESS_KEY_ID": "signer",
            "AWS_SECRET_ACCESS_KEY": "of-no-use",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def make_key(self, alias: str = "") -> str:
        """Make a P-256 key that signs, and return its signer's URL, by its alias where it gets one."""
        made = self._ask("CreateKey", KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")
        key_id = str(json.loads(made)["KeyMetadata"]["KeyId"])
        if alias:
            self._ask("CreateAlias", AliasName=alias, TargetKeyId=key_id)
        return f"awskms:{alias or key_id}"

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.communicate(timeout=30)

    def _ask(self, operation: str, **parameters: str) -> str:
        headers = {
            "X-Amz-Target": f"TrentService.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": _SIGNED_BY,
        }
        return httpx.post(self.url, headers=headers, json=parameters).raise_for_status().text
