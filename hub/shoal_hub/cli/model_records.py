"""`shoal models card|bom|provenance|compliance`: the records of a version, to read or to keep as a file."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from shoal_client.registry import Framework, Statement
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, cell, console, facts, print_json, table

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Ref = Annotated[str, typer.Argument(metavar="VERSION", help="Number, latest, stage or alias.")]
Output = Annotated[Path | None, typer.Option(help="Write it to this file.", dir_okay=False)]


def card(model: Name, version: Ref, output: Output = None, as_json: AsJson = False) -> None:
    """Show a version's model card: use, data, metrics by slice, limits, licence. Markdown, or JSON."""
    with connect() as client:
        if as_json and output is None:
            print_json(client.models.card(model, version))
            return
        text = client.models.card(model, version).model_dump_json(indent=2) if as_json else ""
        text = text or client.models.card_page(model, version)
    _give(text.rstrip("\n"), output)


def bom(model: Name, version: Ref, output: Output = None, as_json: AsJson = False) -> None:
    """Show what a version is made of; the file, or JSON, is its bill of materials in CycloneDX 1.6."""
    with connect() as client:
        found = client.models.bom(model, version)
    if output is not None or as_json:
        _give(json.dumps(found, indent=2), output)
        return
    main = found["metadata"]["component"]
    licences = [one.get("expression", "") for one in main.get("licenses", [])]
    facts([("model", f"{main['name']} {main['version']}"), ("licences", licences), ("format", "CycloneDX 1.6")])
    tools = found["metadata"].get("tools", {}).get("components", [])
    rows = [(one["name"], one["type"], one.get("version", ""), _sha256(one)) for one in [*found["components"], *tools]]
    table(("NAME", "KIND", "VERSION", "SHA-256"), rows, empty="It names no component.")


def provenance(model: Name, version: Ref, output: Output = None, as_json: AsJson = False) -> None:
    """Show where a version and its variants come from; the file, or JSON, has the signed in-toto statements."""
    with connect() as client:
        found = client.models.provenance(model, version)
    if output is not None:
        _give("\n".join(json.dumps(one.envelope) for one in found), output)
    elif as_json:
        print_json(found)
    else:
        for one in found:
            _draw(one)


def compliance(
    model: Name,
    version: Ref,
    framework: Annotated[Framework, typer.Option(help="Whose sections it has.")],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write what is known of a version in the order of a framework; what is not known is named as empty."""
    with connect() as client:
        if as_json and output is None:
            print_json(client.models.compliance(model, version, framework))
            return
        text = client.models.compliance(model, version, framework).model_dump_json(indent=2) if as_json else ""
        text = text or client.models.compliance_page(model, version, framework)
    _give(text.rstrip("\n"), output)


def _draw(one: Statement) -> None:
    predicate = one.statement["predicate"]
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    facts(
        [
            ("of", one.target or "the version"),
            ("build", definition["buildType"]),
            ("given", definition["externalParameters"]),
            ("at", details["metadata"]["finishedOn"]),
            ("tools", details["builder"]["version"]),
            ("signed by", [signature["keyid"] for signature in one.envelope["signatures"]]),
        ]
    )
    used = [("used", each) for each in definition["resolvedDependencies"]]
    rows = [
        (kind, each["name"], *_digest(each)) for kind, each in [*(("made", s) for s in one.statement["subject"]), *used]
    ]
    table(("", "NAME", "DIGEST", "OF KIND"), rows, empty="It names no file.")


def _digest(resource: dict[str, Any]) -> tuple[str, str]:
    kind, value = next(iter(resource["digest"].items()))
    return str(value)[:16], kind


def _sha256(component: dict[str, Any]) -> str:
    return next((str(one["content"])[:16] for one in component.get("hashes", []) if one["alg"] == "SHA-256"), "")


def _give(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text)
        return
    output.write_text(text + "\n")
    console.print(f"{cell(str(output))} is written")
