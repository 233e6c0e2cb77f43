"""The operators' CLI, `shoal`. It speaks to the hub through `shoal_client` alone."""

import json
import sys

import typer

from shoal_client import ClientError
from shoal_compression.commands import argument_help
from shoal_hub.cli import (
    alerts,
    approvals,
    audit,
    authority,
    automation,
    batch,
    captures,
    compositions,
    compress,
    data,
    devices,
    enrolments,
    feature_streams,
    features,
    federated,
    fleet,
    groups,
    hub,
    inference,
    jobs,
    models,
    online_features,
    operator_tokens,
    pins,
    rollouts,
    runs,
    sites,
    tokens,
    trials,
    trust,
    users,
)
from shoal_hub.cli.drift_history import drift_app
from shoal_hub.cli.login import login
from shoal_hub.cli.output import cell, errors
from shoal_hub.cli.performance import performance
from shoal_hub.cli.serve import serve
from shoal_hub.cli.train import train
from shoal_hub.cli.watching import events
from shoal_hub.errors import HubError

__all__ = ["app", "argument_help", "main"]

app = typer.Typer(
    name="shoal",
    help="Machine learning on fleets of small machines: registry, rollouts and the fleet of one hub.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.add_typer(hub.app, name="hub")
app.command(epilog="Example: shoal login https://hub.example:8443 --ca ca.pem")(login)
app.command(epilog="Example: shoal whoami")(users.whoami)
app.add_typer(users.app, name="users")
app.add_typer(operator_tokens.app, name="operator-tokens")
app.add_typer(fleet.app, name="fleet")
enrolments.add_commands(devices.app)
pins.add_commands(devices.app)
app.add_typer(devices.app, name="devices")
app.add_typer(groups.app, name="groups")
app.add_typer(sites.app, name="sites")
online_features.add_commands(features.app)
feature_streams.add_commands(features.app)
app.add_typer(features.app, name="features")
app.add_typer(compositions.app, name="compositions")
app.add_typer(captures.app, name="captures")
app.add_typer(batch.app, name="batch")
app.add_typer(tokens.app, name="tokens")
app.add_typer(models.app, name="models")
app.command(epilog="Example: shoal train pipeline.yaml --register")(train)
app.add_typer(data.app, name="data")
app.add_typer(inference.app, name="inference")
app.add_typer(compress.app, name="compress")
app.add_typer(runs.app, name="runs")
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(trials.app, name="trials")
trust.app.add_typer(authority.app, name="ca")
app.add_typer(trust.app, name="trust")
app.add_typer(approvals.app, name="approvals")
app.add_typer(jobs.app, name="jobs")
app.add_typer(federated.app, name="federated")
app.add_typer(drift_app, name="drift")
app.add_typer(alerts.app, name="alerts")
app.add_typer(automation.app, name="automation")
app.add_typer(audit.app, name="audit")
app.command(epilog="Example: shoal serve --model iris@production --workers 4")(serve)
app.command(epilog="Example: shoal events --follow")(events)
app.command(epilog="Example: shoal performance digits --by device --since 7d")(performance)


def main() -> None:
    """Run the CLI; an expected failure is a message with a remedy and exit status 1."""
    try:
        app()
    except (ClientError, HubError) as error:
        _tell(error.message, error.remedy)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise  # of the machine, and not of a file that the command line names
        _tell(f"{error.filename}: {error.strerror}", "check the path, and that you may use it")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _tell(message: str, remedy: str) -> None:
    if "--json" in sys.argv:
        sys.stderr.write(json.dumps({"error": {"message": message, "remedy": remedy}}) + "\n")
        return
    errors.print(f"[red bold]error[/red bold] {cell(message)}", soft_wrap=True)
    if remedy:
        errors.print(f"[bold]to do[/bold] {cell(remedy)}", soft_wrap=True)
