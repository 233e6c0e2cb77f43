"""Shows a person at a terminal how far work of the hub is, and sees that it ended well."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from shoal_client import ShoalClient
from shoal_client.rollouts import RolloutDetail


def bars(console: Console) -> Progress:
    """Return bars, a line each."""
    return Progress(TextColumn("{task.description:<40}"), BarColumn(), TaskProgressColumn(), console=console)


def follow_lines(console: Console, title: str, lines: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Show the progress that a program tells as JSON lines; return its last line.

    Raises:
        RuntimeError: That is an error.
    """
    line: dict[str, Any] = {}
    with bars(console) as progress:
        task = progress.add_task(title, total=None)
        for line in lines:
            if line["event"] == "error":  # before the program's exit code is looked at, which says less
                raise RuntimeError(line["message"])
            if line["event"] == "progress":
                progress.update(task, completed=line["done"], total=line["total"], description=line["stage"])
    return line


def rolled_out(
    console: Console, client: ShoalClient, model: str, version: int | str, devices: Sequence[str], waves: Sequence[int]
) -> RolloutDetail:
    """Roll a version out in waves, and watch it to its end.

    Raises:
        RuntimeError: It has not succeeded.
    """
    started = client.rollouts.start(model, version, devices=[*devices], waves=[*waves])
    with bars(console) as progress:
        task = progress.add_task("rollout", total=len(devices))
        for rollout in client.rollouts.watch(started.id):
            done = rollout.counts.get("succeeded", 0)
            wave = f"wave {rollout.current_wave + 1} of {len(rollout.waves)}"
            progress.update(task, completed=done, description=f"{rollout.state}, {wave}")
    if rollout.state != "succeeded":
        problems = "; ".join(f"{one.device_id}: {one.problem}" for one in rollout.deployments if one.problem)
        raise RuntimeError(f"rollout {rollout.id} ended {rollout.state}: {rollout.reason} {problems}")
    return rollout
