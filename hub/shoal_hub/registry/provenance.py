"""Where a version and its variants come from, as in-toto statements with SLSA provenance, signed as DSSE envelopes.

Source: in-toto Attestation Framework, Statement v1; SLSA Provenance v1 (slsa.dev/spec/v1.0/provenance). Of a version
the hub states what its bundle says and that it was registered; of a variant, what the hub itself has made.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shoal_contract import __version__
from shoal_hub.registry.tables import VariantRow, Version
from shoal_training.bundle import BUNDLE_FILE

Sign = Callable[[bytes, str], bytes]
"""Signs a payload of a type and returns the envelope: the hub's key stays with whoever has it."""
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
REGISTERED: Final = "urn:shoal:build:registered:1"
COMPRESSED: Final = "urn:shoal:build:compressed:1"
BUILDER: Final = "urn:shoal:hub"
DATA_NAME: Final = "training data"


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, populate_by_name=True, alias_generator=AliasGenerator(serialization_alias=to_camel)
    )


class Resource(_Model):
    """A resource descriptor: what, by which digests."""

    name: str
    digest: dict[str, str]
    annotations: dict[str, Any] | None = None


class BuildDefinition(_Model):
    """What was asked for and what went in."""

    build_type: str
    external_parameters: dict[str, Any]
    internal_parameters: dict[str, Any]
    resolved_dependencies: tuple[Resource, ...]


class Builder(_Model):
    """Who did it, with which tools."""

    id: str = BUILDER
    version: dict[str, str]


class BuildMetadata(_Model):
    """When it was done."""

    invocation_id: str
    finished_on: datetime


class RunDetails(_Model):
    """How it was done."""

    builder: Builder
    metadata: BuildMetadata


class Provenance(_Model):
    """The predicate of SLSA Provenance v1."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(_Model):
    """An in-toto statement about files."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field("https://in-toto.io/Statement/v1", alias="_type")
    subject: tuple[Resource, ...]
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = "https://slsa.dev/provenance/v1"
    predicate: Provenance

    def to_bytes(self) -> bytes:
        """Return the JSON that is signed."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


def state_version(version: Version, parent: Version | None) -> Statement:
    """Return the statement about the files of a version's bundle."""
    recipe, provenance = dict(version.provenance["recipe"]), version.provenance
    tools = {name.removeprefix("tool."): recipe.pop(name) for name in list(recipe) if name.startswith("tool.")}
    given = {
        "algorithm": version.algorithm,
        "framework": version.framework,
        "parameters": version.parameters,
        "recipe": recipe,
        "author": version.author,
        "registeredBy": version.created_by,
        **({"federatedRun": provenance["federated_run"]} if provenance.get("federated_run") else {}),
    }
    used = [Resource(name=DATA_NAME, digest={"sha256": provenance["data_sha256"]})]
    if parent is not None:
        used.append(Resource(name=_name(parent, BUNDLE_FILE), digest={"sha256": parent.files[BUNDLE_FILE]}))
    if version.code is not None:
        commit = {"gitCommit": version.code["commit"]}
        used.append(Resource(name="code", digest=commit, annotations={"isDirty": version.code["is_dirty"]}))
    subject = tuple(_file(version, name) for name in sorted(version.files))
    return _statement(version, subject, REGISTERED, given, used, tools, version.created_at)


def state_variant(version: Version, variant: VariantRow) -> Statement:
    """Return the statement about one variant of a version."""
    report = variant.report
    given = {"target": variant.target, "technique": report.get("technique", ""), "precision": variant.precision}
    used = [_file(version, name) for name in sorted(version.files)]
    used.append(Resource(name=DATA_NAME, digest={"sha256": version.provenance["data_sha256"]}))
    subject = (Resource(name=_name(version, f"{variant.target}.{variant.format}"), digest={"sha256": variant.sha256}),)
    tools = dict(report.get("tool_versions", {}))
    return _statement(version, subject, COMPRESSED, given, used, tools, variant.created_at, seed=report.get("seed"))


def _statement(
    version: Version,
    subject: tuple[Resource, ...],
    build_type: str,
    given: dict[str, Any],
    used: list[Resource],
    tools: dict[str, str],
    at: datetime,
    **internal: Any,  # noqa: ANN401 - JSON
) -> Statement:
    definition = BuildDefinition(
        build_type=build_type,
        external_parameters=given,
        internal_parameters={name: value for name, value in internal.items() if value is not None},
        resolved_dependencies=tuple(used),
    )
    details = RunDetails(
        builder=Builder(version={"shoal": __version__, **tools}),
        metadata=BuildMetadata(invocation_id=f"{version.model}/{version.number}", finished_on=at),
    )
    return Statement(subject=subject, predicate=Provenance(build_definition=definition, run_details=details))


def _file(version: Version, name: str) -> Resource:
    return Resource(name=_name(version, name), digest={"sha256": version.files[name]})


def _name(version: Version, file: str) -> str:
    return f"{version.model}/{version.number}/{file}"
