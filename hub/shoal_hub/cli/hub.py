"""`shoal hub`: the service and its processes."""

import importlib
import os
import sys
from typing import Annotated, Final

import typer
from rich.markup import escape

from shoal_hub.cli.output import AsJson, console, show, table
from shoal_hub.counts_folder import counts_environment
from shoal_hub.redaction import install_logging
from shoal_hub.settings import Settings
from shoal_hub.trust.files import PRIVATE_UMASK

app = typer.Typer(help="The hub itself.", no_args_is_help=True)

_EXAMPLE: Final = "Example: SHOAL_DATA=/var/lib/shoal shoal hub up"


@app.command(epilog=_EXAMPLE)
def up(
    keep_broker: Annotated[
        bool, typer.Option("--keep-broker", help="Leave Mosquitto running at the end, for the next start to adopt.")
    ] = False,
) -> None:
    """Run the hub: Mosquitto, the API with the console, ingest and the controller, until Ctrl-C.

    The first start makes keys, the database and an operator's token, and writes the CLI's profile. Settings are
    environment variables that begin with SHOAL_.
    """
    from shoal_hub.supervisor import hub_up

    os.umask(PRIVATE_UMASK)  # Mosquitto and the processes take it over
    settings = Settings.read(os.environ)
    hub_up(settings, lambda line: console.print(escape(line), soft_wrap=True), keep_broker=keep_broker)


@app.command(epilog="Example: shoal hub doctor")
def doctor(as_json: AsJson = False) -> None:
    """Look for what is unsafe or broken in this hub, and say how to mend it. Exit status 1 if a check fails.

    Run it as the hub's own account, with its settings; the hub may run or not, and nothing is changed.
    """
    from shoal_hub.doctor.examine import examine_hub

    os.umask(PRIVATE_UMASK)  # looking at a database makes files beside it
    findings = examine_hub(Settings.read(os.environ))
    rows = [(one.verdict, one.name, one.found, one.remedy) for one in findings]
    show(findings, as_json=as_json, draw=lambda: table(("VERDICT", "CHECK", "FOUND", "TO DO"), rows, empty=""))
    if any(one.verdict == "fail" for one in findings):
        sys.exit(1)


@app.command("rotate-audit-key", epilog="Example: shoal hub rotate-audit-key")
def rotate_audit_key() -> None:
    """Have another key sign the audit trail's anchors from now on; what the former ones have signed still holds.

    Run it as the hub's own account, with its settings; a running hub follows with its next anchor.
    """
    from shoal_hub.audit.rotate import rotate

    os.umask(PRIVATE_UMASK)
    console.print(f"{rotate(Settings.read(os.environ))} signs from now on; give auditors the new trust/audit.pub")


@app.command("recover-admin", epilog="Example: SHOAL_DATA=/var/lib/shoal shoal hub recover-admin ada")
def recover_admin(
    name: Annotated[str, typer.Argument(help="An admin; somebody new is made.")] = "admin",
) -> None:
    """Let an admin in again who has lost every token and password: write a CLI profile that is theirs for minutes.

    Run it as the hub's own account, with its settings; the hub may run or not. Every operator is told (shoal events).
    """
    from shoal_hub.database import utc_now
    from shoal_hub.supervise.recover import recover_admin as recover

    os.umask(PRIVATE_UMASK)
    path, expires_at = recover(Settings.read(os.environ), name, utc_now())
    console.print(f"until {expires_at:%H:%M} UTC {escape(str(path))} is a profile of the admin {escape(name)}")
    command = f"SHOAL_PROFILE={path} shoal users reset-password {name}"
    console.print(f"set a password:  {escape(command)}", soft_wrap=True)


@app.command("rotate-hub-ca", epilog="Example: SHOAL_DATA=/var/lib/shoal shoal hub rotate-hub-ca")
def rotate_hub_ca() -> None:
    """Replace the CA of the hub's own connections to the broker, and the keys of all connections and listeners.

    Run it as the hub's own account, with its settings, while the hub is stopped. The next start makes the keys anew and
    replaces a broker that has run on; one that runs elsewhere needs the files copied. Devices notice nothing.
    """
    from shoal_hub.supervise.rotate import rotate_hub_ca as rotate

    os.umask(PRIVATE_UMASK)
    console.print(f"the hub's CA is now {rotate(Settings.read(os.environ))}; start the hub")


@app.command("rotate-passphrase", epilog="Example: SHOAL_DATA=/var/lib/shoal shoal hub rotate-passphrase")
def rotate_passphrase() -> None:
    """Encrypt every key file anew, under a new random passphrase that takes the former one's place in its file.

    Run it as the hub's own account, with its settings, while the hub is stopped. If it is cut short no key is lost: run
    it again. Backups of the trust folder go with the passphrase that they were made under.
    """
    from shoal_hub.supervise.rotate import rotate_passphrase as rotate

    os.umask(PRIVATE_UMASK)
    path, count = rotate(Settings.read(os.environ))
    console.print(f"{count} keys are under the new passphrase in {escape(str(path))}; back it up, and start the hub")


@app.command(epilog="Example: shoal hub api")
def api() -> None:
    """Run the API alone, beside a hub that `shoal hub up` has prepared."""
    _run_process("api")


@app.command(epilog="Example: shoal hub ingest")
def ingest() -> None:
    """Run the ingest alone, beside a hub that `shoal hub up` has prepared."""
    _run_process("ingest")


@app.command(epilog="Example: shoal hub controller")
def controller() -> None:
    """Run the controller alone, beside a hub that `shoal hub up` has prepared."""
    _run_process("controller")


@app.command("rotate-version-keys", epilog="Example: SHOAL_DATA=/var/lib/shoal shoal hub rotate-version-keys")
def rotate_version_keys() -> None:
    """Seal the keys of encrypted versions by a new key. Run it on the hub's machine; the hub may run."""
    from shoal_hub.database import Database
    from shoal_hub.registry.encrypt import reseal_version_keys
    from shoal_hub.trust.version_keys import VersionKeys

    settings = Settings.read(os.environ)
    database = Database(settings.database)
    try:
        count = reseal_version_keys(database, VersionKeys.open(settings.data / "trust"))
    finally:
        database.close()
    console.print(f"the keys of {count} versions are sealed by a new key; the one before it goes at the next rotation")


def _run_process(name: str) -> None:
    os.umask(PRIVATE_UMASK)
    install_logging()
    settings = Settings.read(os.environ)
    os.environ |= counts_environment(settings.data, name)
    importlib.import_module(f"shoal_hub.processes.{name}").run(settings)
