"""`python -m shoal_compression run|search|report|techniques|recipes|variants`: compression without a hub."""

import typer

from shoal_compression.commands import argument_help
from shoal_compression.commands.lists import recipes, techniques
from shoal_compression.commands.report import report
from shoal_compression.commands.run import run
from shoal_compression.commands.search import search
from shoal_compression.commands.variants import variants

__all__ = ["app", "argument_help"]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
for command in (run, search, report, techniques, recipes, variants):
    app.command()(command)


@app.callback()
def main() -> None:
    """Compress models by recipes, measure what they make, and search for the best ones."""


if __name__ == "__main__":
    app(prog_name="python -m shoal_compression")
