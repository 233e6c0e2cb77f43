"""The bill of materials of a version: CycloneDX 1.6 with a machine-learning model, its card, files, data and tools.

The library knows no model card yet (CycloneDX 1.6, section modelCard), so that part is added to its JSON; a test holds
the whole against the official schema.
"""

import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from shoal_contract import __version__
from shoal_hub.registry.card import VersionCard
from shoal_hub.registry.tables import VariantRow, Version
from shoal_training.bundle import BUNDLE_FILE

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

MEDIA_TYPE: Final = "application/vnd.cyclonedx+json"
_DATA_REF: Final = "training-data"
_NAMESPACE: Final = uuid.UUID("6f1b0d3e-52a7-4c86-9d0e-6b2f3c1a7e55")


def build_bom(version: Version, parent: Version | None, variants: Sequence[VariantRow], card: VersionCard) -> bytes:
    """Return the bill of materials as JSON; the same records give the same bytes."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    tools = _tools(version, variants)
    main = _model(version, parent)
    described = [version.model, str(version.number), version.files[BUNDLE_FILE], *(row.sha256 for row in variants)]
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, "/".join(described)),
        components=[
            *(_component(name, ComponentType.FILE, sha256) for name, sha256 in sorted(version.files.items())),
            *(_variant(row) for row in variants),
            _component(_DATA_REF, ComponentType.DATA, version.provenance["data_sha256"]),
        ],
        metadata=BomMetaData(
            component=main,
            timestamp=max([version.created_at, *(row.created_at for row in variants)]),
            tools=ToolRepository(components=[_library(name, one) for name, one in sorted(tools.items())]),
        ),
    )
    bom.register_dependency(main, bom.components)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"]["component"]["modelCard"] = model_card(version, card)
    return json.dumps(document, indent=2, sort_keys=True).encode()


def model_card(version: Version, card: VersionCard) -> dict[str, Any]:
    """Return the part `modelCard` of the model's component."""
    said = card.card
    metrics = [{"type": name, "value": f"{value:.6g}"} for name, value in sorted(card.metrics.items())]
    metrics += [{"type": one.metric, "value": f"{one.value:.6g}", "slice": one.slice} for one in said.metrics_by_slice]
    considerations: dict[str, Any] = {
        "useCases": [text for text in (said.intended_use,) if text],
        "technicalLimitations": [
            *([said.limits] if said.limits else []),
            *([f"Out of scope: {said.out_of_scope_use}"] if said.out_of_scope_use else []),
        ],
        "ethicalConsiderations": [{"name": said.ethical_notes}] if said.ethical_notes else [],
    }
    return {
        "modelParameters": {
            "task": "classification" if version.labels else "inference",
            "architectureFamily": version.framework,
            "modelArchitecture": version.algorithm,
            "datasets": [{"ref": _DATA_REF}],
            "inputs": [{"format": _format(one)} for one in version.inputs],
            "outputs": [{"format": _format(one)} for one in version.outputs],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {name: value for name, value in considerations.items() if value},
    }


def _model(version: Version, parent: Version | None) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Commit, Component, ComponentType, Pedigree
    from cyclonedx.model.license import LicenseExpression

    commits = [Commit(uid=version.code["commit"])] if version.code else []
    ancestors = [_component(f"{parent.model}-{parent.number}", ComponentType.MACHINE_LEARNING_MODEL,
                            parent.files[BUNDLE_FILE], version=str(parent.number))] if parent else []  # fmt: skip
    recipe = version.provenance["recipe"]
    given = {name: value for name, value in recipe.items() if not name.startswith("tool.")}
    return Component(
        name=version.model,
        version=str(version.number),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"{version.model}@{version.number}",
        authors=[_contact(version.author)],
        licenses=[LicenseExpression(version.licence)] if version.licence else [],
        hashes=[_hash(version.files[BUNDLE_FILE])],
        pedigree=Pedigree(ancestors=ancestors, commits=commits) if ancestors or commits else None,
        properties=[Property(name=f"shoal:recipe:{name}", value=value) for name, value in sorted(given.items())],
    )


def _variant(row: VariantRow) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import ComponentType

    component = _component(f"{row.target}.{row.format}", ComponentType.FILE, row.sha256)
    values = {"technique": row.report.get("technique"), "precision": row.precision, "bytes": row.size_bytes}
    for name, value in values.items():
        component.properties.add(Property(name=f"shoal:variant:{name}", value=str(value)))
    return component


def _component(name: str, kind: Any, sha256: str, version: str | None = None) -> "Component":  # noqa: ANN401 - an enum
    from cyclonedx.model.component import Component

    return Component(name=name, type=kind, bom_ref=name, hashes=[_hash(sha256)], version=version)


def _library(name: str, version: str) -> "Component":
    from cyclonedx.model.component import Component, ComponentType

    return Component(name=name, version=version, type=ComponentType.LIBRARY, bom_ref=f"tool:{name}@{version}")


def _tools(version: Version, variants: Sequence[VariantRow]) -> dict[str, str]:
    recipe = version.provenance["recipe"]
    tools = {name.removeprefix("tool."): value for name, value in recipe.items() if name.startswith("tool.")}
    for row in variants:
        tools |= row.report.get("tool_versions", {})
    return tools | {"shoal": __version__}


def _contact(name: str) -> Any:  # noqa: ANN401 - the library's own
    from cyclonedx.model.contact import OrganizationalContact

    return OrganizationalContact(name=name)


def _hash(sha256: str) -> Any:  # noqa: ANN401 - the library's own
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=sha256)


def _format(spec: dict[str, Any]) -> str:
    return f"{spec['name']}: {spec['datatype']}{spec['shape']}"
