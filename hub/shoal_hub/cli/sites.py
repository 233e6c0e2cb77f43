"""`shoal sites`: devices on one LAN, one of which serves artifacts to the others."""

from typing import Annotated

import typer

from shoal_client import ClientError, ShoalClient
from shoal_client.sites import DEFAULT_PORT, HANDOVER_PORT, Handover, HandoverPeer, Site
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, console, facts, show, table

app = typer.Typer(
    help="Sites: devices on one LAN, one of which, the cache, serves artifacts to the others.", no_args_is_help=True
)

_LARGEST_PORT = 65_535
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the site.")]
Port = typer.Option(min=1, max=_LARGEST_PORT, help="The cache's port on the LAN.")


@app.command("list", epilog="Example: shoal sites list")
def list_sites(as_json: AsJson = False) -> None:
    """List sites by name."""
    with connect() as client:
        sites = client.sites.list()
    rows = [(one.name, _cache(one), f"{one.host}:{one.port}", len(one.members)) for one in sites]
    columns = ("NAME", "CACHE", "ADDRESS", "MEMBERS")
    show(sites, as_json=as_json, draw=lambda: table(columns, rows, empty="No site yet: shoal sites create"))


@app.command("show", epilog="Example: shoal sites show warehouse")
def show_site(name: Name, as_json: AsJson = False) -> None:
    """Show a site's cache, address and members."""
    with connect() as client:
        site = client.sites.show(name)
    show(site, as_json=as_json, draw=lambda: _draw(site))


@app.command(epilog="Example: shoal sites create warehouse --cache kitchen --host 192.168.7.20 --member garden")
def create(
    name: Name,
    cache: Annotated[str, typer.Option(help="Name or id of the device that serves; start its agent with --site-host.")],
    host: Annotated[str, typer.Option(help="Name or address by which members reach the cache on their LAN.")],
    port: Annotated[int, Port] = DEFAULT_PORT,
    member: Annotated[
        list[str] | None, typer.Option(help="Name or id of a device to serve. May be given several times.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a site. Its cache learns the members' ids, each member the cache's id and address, nobody anything else."""
    with connect() as client:
        members = [find_device(client, one).id for one in member or ()]
        site = client.sites.create(name, cache=find_device(client, cache).id, host=host, port=port, members=members)
    show(site, as_json=as_json, draw=lambda: _draw(site))


@app.command("set", epilog="Example: shoal sites set warehouse --add cellar --remove garden")
def set_site(
    name: Name,
    cache: Annotated[str | None, typer.Option(help="Name or id of the device that serves from now on.")] = None,
    host: Annotated[str | None, typer.Option(help="Where members reach the cache.")] = None,
    port: Annotated[int | None, Port] = None,
    add: Annotated[
        list[str] | None, typer.Option(help="Name or id of a device to serve, too. May be given several times.")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Name or id of a device to serve no more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a site; what is left out stays. A cache that is replaced is no member unless it is added."""
    with connect() as client:
        site = client.sites.show(name)
        serves = find_device(client, cache).id if cache else site.cache
        more, fewer = ({find_device(client, one).id for one in named or ()} for named in (add, remove))
        site = client.sites.replace(
            name,
            cache=serves,
            host=host or site.host,
            port=port or site.port,
            members=sorted({*site.members, *more} - {*fewer, serves}),
        )
    show(site, as_json=as_json, draw=lambda: _draw(site))


@app.command(epilog="Example: shoal sites handover warehouse --device kitchen=192.168.7.20 --device hall=192.168.7.21")
def handover(
    name: Name,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="DEVICE=HOST[:PORT]", help="A device that takes requests, and passes its own on."),
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="SHA256=HOST:PORT", help="A `shoal serve` that takes requests, by its certificate."),
    ] = None,
    patience_ms: Annotated[
        int, typer.Option(min=0, max=60_000, help="A request that would wait for longer is passed on, in ms.")
    ] = 50,
    off: Annotated[bool, typer.Option("--off", help="Have each device answer its own requests.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have a site's devices pass requests that they can not take in time to the one with the least to do."""
    with connect() as client:
        if off:
            site = client.sites.end_handover(name)
        else:
            peers = [_device_peer(client, one) for one in device or ()] + [_server_peer(one) for one in server or ()]
            site = client.sites.hand_over(name, Handover(peers=peers, patience_ms=patience_ms))
    show(site, as_json=as_json, draw=lambda: _draw(site))


def _device_peer(client: ShoalClient, text: str) -> HandoverPeer:
    named, _, address = text.partition("=")
    host, port = _address(text, address, HANDOVER_PORT)
    return HandoverPeer(host=host, port=port, device=find_device(client, named).id)


def _server_peer(text: str) -> HandoverPeer:
    sha256, _, address = text.partition("=")
    host, port = _address(text, address, 0)
    return HandoverPeer(host=host, port=port, certificate_sha256=sha256.lower())


def _address(text: str, address: str, default_port: int) -> tuple[str, int]:
    host, _, port = address.rpartition(":") if ":" in address else (address, "", str(default_port))
    if not host or not port.isdecimal() or not 0 < int(port) <= _LARGEST_PORT:
        raise ClientError(f"reading {text!r}: NAME=HOST:PORT was expected", "give each as in the example of --help")
    return host.strip("[]"), int(port)


@app.command(epilog="Example: shoal sites delete warehouse")
def delete(name: Name, as_json: AsJson = False) -> None:
    """End a site; its devices stay, and fetch from the broker alone."""
    with connect() as client:
        site = client.sites.delete(name)
    show(site, as_json=as_json, draw=lambda: console.print(f"site {site.name} is no more"))


def _draw(site: Site) -> None:
    address = f"{site.host}:{site.port}"
    rows = [("site", site.name), ("cache", _cache(site)), ("address", address), ("members", site.members)]
    if site.handover is not None:
        taking = [one.device or f"server {(one.certificate_sha256 or '')[:12]}" for one in site.handover.peers]
        rows += [("handover", f"after {site.handover.patience_ms} ms"), ("taking", taking)]
    facts(rows)


def _cache(site: Site) -> str:
    return site.cache if site.has_cache else f"none: {site.cache} was revoked"
