"""Every `shoal`, `shoal-agent` and `make` command that the documents show exists, with its options and arguments."""

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_PREFIX = re.compile(r"^(?:sudo|env|[A-Z_]+=\S*) +")


def _commands() -> list[tuple[str, str]]:
    """Each command line of the documents that starts one of ours, with the document's name."""
    found = []
    for document in DOCUMENTS:
        for block in _BLOCK.findall(document.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.strip()
                while _PREFIX.match(command):
                    command = _PREFIX.sub("", command)
                command = re.sub(r"^\S*python -m shoal_compression ", "shoal_compression ", command)
                if re.match(r"(\S*/)?(shoal|shoal-agent|make|shoal_compression)( |$)", command):
                    found.append((str(document.relative_to(ROOT)), command))
    return found


def _check(command: click.Command, name: str, words: list[str]) -> None:
    """Parse the words as the program would, and run nothing.

    Raises:
        click.UsageError: There is no such command, option or argument.
    """
    try:
        context = command.make_context(name, list(words))
    except click.BadParameter as error:
        if "does not exist" in error.message:  # a file of the reader's
            return
        raise
    if isinstance(command, click.Group):
        rest = [*context.protected_args, *context.args]
        if not rest and command.invoke_without_command:
            return
        _, inner, rest = command.resolve_command(context, rest)
        assert inner is not None
        _check(inner, f"{name} {inner.name}", rest)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("document", "line"), _commands())
def test_a_command_in_a_document_is_one_that_the_program_takes(document: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    program = Path(words[0]).name
    if program == "make":
        targets = set(re.findall(r"^\.PHONY: ([\w-]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in words[1:] if "=" not in word} <= targets, document
        return
    _check(_app(program), program, words[1:])


def _app(program: str) -> click.Command:
    if program == "shoal-agent":
        from shoal_agent.cli import app as agent_app

        return agent_app
    if program == "shoal_compression":
        from shoal_compression.__main__ import app as compression_app

        return typer.main.get_command(compression_app)
    from shoal_hub.cli import app

    return typer.main.get_command(app)


def test_the_documents_show_commands_at_all() -> None:
    shown = {line.split()[0].rsplit("/", 1)[-1] for _, line in _commands()}
    assert shown == {"shoal", "shoal-agent", "make", "shoal_compression"}
