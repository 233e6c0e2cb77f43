"""Write docs/reference/ from the code: `python scripts/docs_reference.py`, or `--check` to compare only.

Each page is a pure function of the code that it tells of. The tests compare the committed pages with these.
"""

import argparse
import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import click
import typer

ROOT: Final = Path(__file__).parents[1]
REFERENCE: Final = ROOT / "docs" / "reference"
_NOTE: Final = "Written by `scripts/docs_reference.py` from the code; changes here are lost."
_DEVICE: Final = "d-abcdefgh234567ab"
_SHA256: Final = "0123456789abcdef" * 4


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", _NOTE, *(part for part in parts if part)]) + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- command lines ----------------------------------------------------------------------------------------


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, and every group with options of its own, with its whole name."""
    if isinstance(command, click.Group):
        if command.params and " " in name:
            yield name, command
        for part in sorted(command.commands):
            yield from _commands(command.commands[part], f"{name} {part}")
    else:
        yield name, command


def _command_part(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    example = re.sub(r"^Example: (.+)$", r"Example: `\1`", command.epilog or "")
    parameters = [row for parameter in command.get_params(context) if (row := _parameter_row(parameter))]
    table = _table(("option or argument", "default", "meaning"), parameters) if parameters else ""
    parts = [f"## {name}", inspect.cleandoc(command.help or ""), f"```text\n{usage}\n```", table, example]
    return "\n\n".join(part for part in parts if part)


def _parameter_row(parameter: click.Parameter) -> tuple[str, ...] | None:
    info = parameter.to_info_dict()
    if "--help" in parameter.opts or info.get("hidden"):
        return None
    if isinstance(parameter, click.Argument):
        return (
            f"`{parameter.human_readable_name}`",
            "" if parameter.required else "none",
            getattr(parameter, "help", None) or "",
        )
    names = ", ".join(f"`{opt}`" for opt in [*parameter.opts, *parameter.secondary_opts])
    environment = info.get("envvar")
    choices = ", ".join(f"`{one}`" for one in info["type"].get("choices", ()))
    notes = "".join(f" ({note})" for note in (choices, f"`{environment}`" if environment else "") if note)
    return names, _default_text(parameter), (info.get("help") or "") + notes


def _default_text(parameter: click.Parameter) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    if callable(default):
        return "see the help"
    is_plain = isinstance(default, str | int | float) and default is not False and default != ""
    return f"`{default}`" if is_plain else ""


def _cli_page(title: str, command: click.Command, name: str) -> str:
    return _page(title, *(_command_part(*found) for found in _commands(command, name)))


def agent_cli_page() -> str:
    """The commands of `shoal-agent`."""
    from shoal_agent.cli import app

    return _cli_page("The agent's commands", app, "shoal-agent")


def cli_page() -> str:
    """The commands of `shoal`."""
    from shoal_hub.cli import app

    return _cli_page("The operators' commands", typer.main.get_command(app), "shoal")


# --- settings ---------------------------------------------------------------------------------------------


def settings_page() -> str:
    """What can be set: the hub's environment variables and the agent's bounds."""
    from shoal_agent import idle_settings
    from shoal_agent import settings as agent_settings

    hub = _table(("variable", "default", "unit", "meaning"), _hub_settings())
    files = [Path(str(module.__file__)) for module in (agent_settings, idle_settings)]
    fields = [row for path in files for row in _documented_fields(path)]
    agent = _table(("setting", "default", "meaning"), fields)
    return _page(
        "Settings",
        "## Hub",
        "Read from the environment at start. An empty variable counts as not set; port 0 takes any free port.",
        hub,
        "## Agent",
        "What an operator sets comes by command line ([agent-cli.md](agent-cli.md)) or in the desired state; the bounds"
        " below are fixed in this version.",
        agent,
    )


def _hub_settings() -> list[tuple[str, str, str, str]]:
    from shoal_hub.settings import Settings

    rows = []
    for field in Settings.model_fields.values():
        extra = cast("dict[str, str]", field.json_schema_extra)
        default = "" if field.default == "" else f"`{field.default}`"
        rows.append((f"`{extra['env']}`", default, extra["unit"], field.description or ""))
    return rows


def _documented_fields(path: Path) -> list[tuple[str, str, str]]:
    """Fields of the settings classes in a file, with the string that stands below each."""
    rows = []
    for node in ast.parse(path.read_text()).body:
        body = node.body if isinstance(node, ast.ClassDef) else []
        for index, field in enumerate(body):
            if (
                isinstance(field, ast.AnnAssign)
                and field.value is not None
                and "default_factory" not in ast.dump(field)
            ):
                name = f"`{cast('ast.ClassDef', node).name}.{ast.unparse(field.target)}`"
                rows.append((name, f"`{ast.unparse(field.value)}`", _docstring(body[index + 1 : index + 2])))
    return rows


def _docstring(nodes: list[ast.stmt]) -> str:
    for node in nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return node.value.value
    return ""


# --- topics and messages ----------------------------------------------------------------------------------


def topics_page() -> str:
    """Topics and messages of the wire."""
    from shoal_contract import limits, topics

    rows = [(f"`{_topic(build)}`", build.__doc__ or "") for build in _builders(topics)]
    bounds = [(name, f"`{value}`", text) for name, value, text in _bounds(limits)]
    return _page(
        "Topics and messages",
        "## Topics",
        _table(("topic", "what it carries"), rows),
        "## Messages",
        "JSON, compact, UTF-8. Unknown fields are ignored; a field that is null is left out. Integers are below 2^63.",
        *_message_parts(),
        "## Bounds",
        _table(("bound", "value", "meaning"), bounds),
    )


def _builders(topics: Any) -> list[Callable[..., str]]:  # noqa: ANN401 - a module
    """Functions of the topics module that build a topic, in the order of the file."""
    functions = [
        value for name, value in vars(topics).items() if inspect.isfunction(value) and not name.startswith("_")
    ]
    return [found for found in functions if {"device_id", "sha256"} & set(inspect.signature(found).parameters)]


def _topic(build: Callable[..., str]) -> str:
    example = {"device_id": _DEVICE, "sha256": _SHA256, "index": 0, "channel": "presence"}
    topic = build(**{name: example[name] for name in inspect.signature(build).parameters})
    topic = re.sub(r"/0$", "/<n>", topic).replace(_DEVICE, "<device>").replace(_SHA256, "<sha256>")
    return topic.replace("presence", "<channel>")


def _bounds(limits: Any) -> list[tuple[str, Any, str]]:  # noqa: ANN401 - a module
    body = ast.parse(inspect.getsource(limits)).body
    return [
        (f"`{ast.unparse(node.target)}`", getattr(limits, ast.unparse(node.target)), _docstring(body[i + 1 : i + 2]))
        for i, node in enumerate(body)
        if isinstance(node, ast.AnnAssign)
    ]


def _message_parts() -> list[str]:
    from shoal_contract import (
        ack,
        artifact_ref,
        batch,
        benchmarks,
        carrying,
        desired,
        embedding,
        enrolment,
        manifest,
        operator_profile,
        processing,
        reported,
        slices,
        telemetry,
        transfer,
    )
    from shoal_contract.wire import WireValue

    parts = []
    told = (
        desired,
        artifact_ref,
        operator_profile,
        benchmarks,
        reported,
        telemetry,
        batch,
        carrying,
        ack,
        manifest,
        embedding,
        slices,
        processing,
        transfer,
        enrolment,
    )
    for module in told:
        for kind in vars(module).values():
            if inspect.isclass(kind) and issubclass(kind, WireValue) and kind.__module__ == module.__name__:
                properties = kind.model_json_schema()["properties"]
                fields = _table(
                    ("field", "form"), [(f"`{name}`", _type_text(form)) for name, form in properties.items()]
                )
                parts.append(f"### {kind.__name__}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n\n{fields}")
    return parts


_WORDS: Final = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "maxLength": "length at most",
    "minItems": "entries at least",
    "maxItems": "entries at most",
    "minProperties": "entries at least",
    "maxProperties": "entries at most",
    "pattern": "pattern",
    "const": "always",
}
_UNSAID: Final = 2**63 - 1  # the bound of every integer, told once for the page


def _type_text(schema: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if "anyOf" in schema:
        return " or ".join(_type_text(part) for part in schema["anyOf"])
    if "oneOf" in schema:
        return " or ".join(_type_text(part) for part in schema["oneOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    kind = str(schema.get("type", "value"))
    if "enum" in schema:
        kind = "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    elif kind == "array":
        kind = "list of " + _type_text(schema.get("items", {}))
    elif kind == "object":
        more = schema.get("additionalProperties")  # `true`: values of any kind
        values = [*schema.get("patternProperties", {}).values(), more if isinstance(more, dict) else {}]
        kind = "object of " + _type_text(values[0])
    elif "format" in schema:
        kind = str(schema["format"])
    bounds = [f"{words} `{schema[key]}`" for key, words in _WORDS.items() if schema.get(key, _UNSAID) != _UNSAID]
    default = [f"default `{json.dumps(schema['default'])}`"] if schema.get("default") not in (None, "") else []
    return ", ".join([kind, *bounds, *default])


# --- web API ----------------------------------------------------------------------------------------------


def api_page() -> str:
    """Every route of the web API, from its OpenAPI description."""
    from shoal_hub.api import create_app
    from shoal_hub.context import HubContext
    from shoal_hub.settings import Settings

    hub = SimpleNamespace(settings=Settings(), database=SimpleNamespace())
    described = create_app(cast("HubContext", hub)).openapi()
    rows = [
        (f"`{method.upper()} {path}`", _first_line(operation), _body(operation), _answer(operation))
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]
    return _page(
        "The web API",
        "A running hub describes it in full at `/api/docs`, whose page takes its program from the internet, and in"
        " `/api/openapi.json`, which needs none. Every route but those that say"
        " otherwise wants `Authorization: Bearer <API token>`.",
        _table(("route", "what it does", "body", "answer"), rows),
    )


def _first_line(operation: dict[str, Any]) -> str:
    return str(operation.get("description") or operation.get("summary", "")).split("\n\n", maxsplit=1)[0]


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return ", ".join("form" if "form" in kind else _type_text(form["schema"]) for kind, form in content.items())


def _answer(operation: dict[str, Any]) -> str:
    good = [(code, answer) for code, answer in operation.get("responses", {}).items() if code.startswith("2")]
    return ", ".join(
        " ".join([code, *(_type_text(form.get("schema", {})) for form in answer.get("content", {}).values())])
        for code, answer in good
    )


PAGES: Final[dict[str, Callable[[], str]]] = {
    "cli.md": cli_page,
    "agent-cli.md": agent_cli_page,
    "settings.md": settings_page,
    "topics.md": topics_page,
    "api.md": api_page,
}


def main() -> int:
    """Write the pages, or say which differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is not up to date")
    is_check = parser.parse_args().check
    stale = [name for name, make in PAGES.items() if not _is_current(name, make())]
    for name in stale:
        if not is_check:
            (REFERENCE / name).write_text(PAGES[name]())
        print(f"docs/reference/{name}: {'not up to date' if is_check else 'written'}")
    return 1 if stale and is_check else 0


def _is_current(name: str, text: str) -> bool:
    path = REFERENCE / name
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
