"""`shoal-agent tuf`: the agent's TUF client on any repository, by the command line of the TUF conformance suites.

Source: the client-under-test protocol of github.com/theupdateframework/tuf-conformance, CLIENT-CLI.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from shoal_agent.errors import AgentError
    from shoal_agent.tuf.client import TufClient
    from shoal_agent.tuf.http_fetcher import HttpFetcher


@dataclass(frozen=True)
class Repository:
    """What the options in front of the verb say."""

    metadata_dir: Path
    metadata_url: str
    target_names: tuple[str, ...]
    target_base_url: str
    target_dir: Path | None


@click.group("tuf")
@click.option("--metadata-dir", required=True, type=click.Path(path_type=Path), help="Where trusted metadata is kept.")
@click.option("--metadata-url", default="", help="Where metadata is, http:// or https://.")
@click.option("--target-name", "target_names", multiple=True, help="A target's path. May be given several times.")
@click.option("--target-base-url", default="", help="Where targets are, http:// or https://.")
@click.option("--target-dir", type=click.Path(path_type=Path), help="Where downloaded targets are kept.")
@click.pass_context
def tuf_group(
    context: click.Context,
    *,
    metadata_dir: Path,
    metadata_url: str,
    target_names: tuple[str, ...],
    target_base_url: str,
    target_dir: Path | None,
) -> None:
    """Follow any TUF repository with the client that the agent uses, to test it or to look into a hub's."""
    context.obj = Repository(metadata_dir, metadata_url, target_names, target_base_url, target_dir)


@tuf_group.command("init", epilog="Example: shoal-agent tuf --metadata-dir trust init root.json")
@click.argument("root", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Root metadata to trust.")
@click.pass_obj
def init(repository: Repository, root: Path) -> None:
    """Trust a repository's root; asks nobody."""
    from shoal_agent.durable import replace_file

    replace_file(repository.metadata_dir / "root.json", root.read_bytes())
    click.echo(f"trusts {root}; now run: shoal-agent tuf --metadata-dir ... --metadata-url ... refresh")


@tuf_group.command(
    "refresh",
    epilog="Example: shoal-agent tuf --metadata-dir trust --metadata-url https://hub/api/v1/trust/metadata refresh",
)
@click.pass_obj
def refresh(repository: Repository) -> None:
    """Bring the trusted metadata up to date."""
    _refreshed(repository)


@tuf_group.command(
    "download",
    epilog="Example: shoal-agent tuf --metadata-dir trust --metadata-url URL --target-name hub/ca.pem "
    "--target-base-url URL --target-dir targets download",
)
@click.pass_obj
def download(repository: Repository) -> None:
    """Bring the metadata up to date and download targets, each verified; one that is there already is not fetched."""
    from shoal_agent.errors import AgentError

    if not repository.target_names or repository.target_dir is None or not repository.target_base_url:
        raise click.UsageError("give --target-name, --target-base-url and --target-dir before `download`")
    client, fetcher = _refreshed(repository)
    for name in repository.target_names:
        try:
            target = client.find(name, fetcher)
            path = target and client.download(target, repository.target_dir, repository.target_base_url, fetcher)
        except AgentError as error:
            raise _failed(error) from error
        if path is None:
            raise _failed(AgentError(f"looking for {name}: no role lists it", "check the name with who publishes it"))
        click.echo(path)


def _refreshed(repository: Repository) -> "tuple[TufClient, HttpFetcher]":
    from datetime import datetime, timezone

    from shoal_agent.clock import Clock
    from shoal_agent.errors import AgentError
    from shoal_agent.settings import TrustSettings
    from shoal_agent.tuf.client import TufClient
    from shoal_agent.tuf.http_fetcher import HttpFetcher

    if not repository.metadata_url:
        raise click.UsageError("give --metadata-url before the verb")
    settings = TrustSettings()
    # Any repository, at any time: this device's own floor is not what its dates are held against.
    clock = Clock(None, made_at=datetime(1970, 1, 1, tzinfo=timezone.utc))
    fetcher = HttpFetcher(settings)
    client = TufClient(repository.metadata_dir, repository.metadata_url, None, clock, settings)
    try:
        view = client.refresh(fetcher)
    except AgentError as error:
        raise _failed(error) from error
    click.echo(f"root {view.root_version}, timestamp {view.timestamp_version}, targets {view.targets_version}")
    return client, fetcher


def _failed(error: "AgentError") -> click.exceptions.Exit:
    click.echo(f"error: {error}\n  do: {error.remedy}", err=True)
    return click.exceptions.Exit(1)
