"""What people name becomes a version of a model, and the best of its variants that runs here."""

import pytest
from tests.fixtures import tiny

from shoal_agent.errors import AgentError, ArtifactError
from shoal_agent.standalone.refs import ModelRef, choose_target, parse_refs
from shoal_contract.encryption import EncryptedFile
from shoal_contract.manifest import VersionManifest
from shoal_contract.reported import Runtime

BOTH: tuple[Runtime, ...] = ("litert", "onnxruntime")


@pytest.mark.parametrize(
    ("text", "name", "ref"),
    [
        ("iris", "iris", "latest"),
        ("iris@3", "iris", "3"),
        ("iris@production", "iris", "production"),
        ("a.b-c@x_1", "a.b-c", "x_1"),
    ],
)
def test_a_version_is_named_by_number_stage_or_alias(text: str, name: str, ref: str) -> None:
    assert parse_refs([text]) == (ModelRef(name, ref),)


@pytest.mark.parametrize(
    "text", ["", "@3", "no/name", "iris@../x", "iris@a/b", "iris@1?x=2", "Iris", "iris@" + "x" * 99]
)
def test_what_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(AgentError, match="names no version"):
        parse_refs([text])


def test_one_version_of_a_model_is_served_at_a_time() -> None:
    with pytest.raises(AgentError, match="model iris is named twice"):
        parse_refs(["iris@1", "iris@2"])


def manifest(**changes: object) -> VersionManifest:
    return tiny.tiny_manifest().model_copy(update=changes)


@pytest.mark.parametrize(
    ("wanted", "targets", "runtimes", "found"),
    [
        ("", ("generic-litert-float32", "generic-onnx-float32"), BOTH, "generic-litert-float32"),
        ("", ("generic-litert-float32", "generic-onnx-float32"), BOTH[1:], "generic-onnx-float32"),
        ("", ("pi5-onnx-int8",), BOTH, "generic-litert-float32"),
        ("generic-onnx-float32", ("generic-litert-float32",), BOTH, "generic-onnx-float32"),
    ],
)
def test_the_best_variant_whose_runtime_is_installed_is_chosen(
    wanted: str, targets: tuple[str, ...], runtimes: tuple[Runtime, ...], found: str
) -> None:
    assert choose_target(manifest(), wanted=wanted, targets=targets, runtimes=runtimes).target == found


def test_a_version_without_a_variant_that_runs_here_is_refused() -> None:
    with pytest.raises(ArtifactError, match="installed: none"):
        choose_target(manifest(), targets=(), runtimes=())
    with pytest.raises(ArtifactError, match="pi4-litert-int8 expected"):
        choose_target(manifest(), wanted="pi4-litert-int8", targets=(), runtimes=BOTH)


def test_an_encrypted_version_is_refused() -> None:
    sealed = tiny.onnx_variant().model_copy(update={"encrypted": EncryptedFile(sha256="a" * 64, size_bytes=9000)})
    with pytest.raises(ArtifactError, match="its key is given to devices alone"):
        choose_target(manifest(variants=(sealed,)), targets=(), runtimes=BOTH)
