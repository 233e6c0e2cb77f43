"""The options of a rollout's plan, which `start` and `plan` have in common, and the request that they come to."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from shoal_client import ShoalClient
from shoal_hub.cli.connection import find_device
from shoal_hub.cli.gates import parse_gate

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class PlanOptions:
    """A rollout's plan as the command line gives it."""

    device: Annotated[list[str] | None, typer.Option(help="A device by id or name; may be repeated. All without it.")]
    group: Annotated[str, typer.Option(help="The devices of a group: shoal groups list.")] = ""
    query: Annotated[str, typer.Option(help="The devices that match, like 'tags.site = paris'.")] = ""
    target: Annotated[
        list[str] | None, typer.Option(help="A variant that may be given out; may be repeated. All without it.")
    ] = None
    prefer: Annotated[
        str,
        typer.Option(help="Of what a device can run: device (by its own order), smallest, fastest, most_accurate."),
    ] = "device"
    waves: Annotated[
        str, typer.Option(help="Devices in each wave, like 1,20, or shares, like 5%,25%,100%; the rest joins the last.")
    ] = ""
    rate: Annotated[str, typer.Option(help="Growing waves: 10x2 is 10 devices, then 20, then 40.")] = ""
    max_in_flight: Annotated[int | None, typer.Option(help="Devices that are at it at once; a wave without it.")] = None
    soak_s: Annotated[float, typer.Option(help="Seconds that a wave is watched before the next one.", min=0)] = 0.0
    start_at: Annotated[str, typer.Option(help="Not before this time, like 2026-12-01T02:00:00Z.")] = ""
    wave_approval: Annotated[bool, typer.Option("--wave-approval", help="Each further wave waits for approval.")] = (
        False
    )
    max_failures: Annotated[
        int | None, typer.Option(help="Failed devices before it is aborted; 0, or as thresholds say.", min=0)
    ] = None
    threshold: Annotated[
        list[str] | None,
        typer.Option(help="Like 3, 5%, 5%:min=20, 2:of=probe,load or 10%:pause; may be repeated."),
    ] = None
    gate: Annotated[
        list[str] | None,
        typer.Option(help="A metric that each wave has to pass, like error_rate or accuracy:0.02; may be repeated."),
    ] = None
    alpha: Annotated[float, typer.Option(help="Of the gates: any wrong verdict of the whole rollout.")] = 0.05
    max_hold_s: Annotated[float, typer.Option(help="Seconds that a wave of which nothing is shown is held.")] = 86_400.0
    undecided: Annotated[str, typer.Option(help="Then: thresholds, hold or abort.")] = "thresholds"
    gate_min_devices: Annotated[int, typer.Option(help="Devices on each side that a test needs.", min=2)] = 10
    gate_file: Annotated[
        Path | None,
        typer.Option(help="JSON of the whole gate, in the place of the options above.", exists=True, dir_okay=False),
    ] = None
    on_abort: Annotated[str, typer.Option(help="roll_back, or leave what has succeeded.")] = "roll_back"
    on_low_memory: Annotated[
        str, typer.Option(help="warn, or refuse devices with less memory free than the version is predicted to take.")
    ] = "warn"
    holdback_percent: Annotated[
        float, typer.Option(help="Share that stays as it is to the end, as controls.", min=0)
    ] = 0.0
    seed: Annotated[int | None, typer.Option(help="Of the random order and choice; drawn without it.", min=0)] = None
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Put the devices named into random order, too.")] = False
    late_joiners: Annotated[str, typer.Option(help="ignore, or add to the last_wave.")] = "ignore"
    timeout_s: Annotated[float, typer.Option(help="Seconds that one device may take.", min=1)] = 600.0
    hold_timeout_s: Annotated[
        float, typer.Option(help="Seconds that one device may wait for its window or its owner.", min=1)
    ] = 604_800.0
    offline_attempts: Annotated[int, typer.Option(help="Times that a silent device gets its seconds.", min=1)] = 1
    window: Annotated[
        list[str] | None,
        typer.Option(help="Local time of devices, like 02:00+60 or sat,sun/02:00+120 (minutes); may be repeated."),
    ] = None
    activate_at: Annotated[str, typer.Option(help="Fetched before, and served from this time on.")] = ""
    expires_at: Annotated[str, typer.Option(help="What is not done by this time has failed.")] = ""
    probe: Annotated[list[str] | None, typer.Option(help="A probe of the devices' owner that has to pass.")] = None
    priority: Annotated[int, typer.Option(help="Of several models the highest is fetched first.")] = 0
    download_only: Annotated[bool, typer.Option("--download-only", help="Fetch it, and do not serve it yet.")] = False
    policy: Annotated[
        Path | None,
        typer.Option(help="JSON of the whole update policy; the options above add to it.", exists=True, dir_okay=False),
    ] = None

    def request(self, client: ShoalClient) -> dict[str, Any]:
        """Return the plan as the client takes it.

        Raises:
            typer.BadParameter: An option cannot be read.
        """
        devices = [find_device(client, named).id for named in self.device] if self.device else None
        plan: dict[str, Any] = {
            "devices": devices,
            "group": self.group or None,
            "query": self.query or None,
            "targets": self.target or [],
            "prefer": self.prefer,
            "waves": parse_waves(self.waves),
            "rate": parse_rate(self.rate) if self.rate else None,
            "max_in_flight": self.max_in_flight,
            "soak_s": self.soak_s,
            "start_at": self.start_at or None,
            "wave_approval": self.wave_approval,
            "max_failures": self.max_failures,
            "thresholds": [parse_threshold(text) for text in self.threshold or ()],
            "gate": self._gate(),
            "on_abort": self.on_abort,
            "on_low_memory": self.on_low_memory,
            "holdback_percent": self.holdback_percent,
            "seed": self.seed,
            "is_shuffled": self.shuffle,
            "late_joiners": self.late_joiners,
            "timeout_s": self.timeout_s,
            "hold_timeout_s": self.hold_timeout_s,
            "offline_attempts": self.offline_attempts,
            "policy": self._policy(),
        }
        return plan

    def _gate(self) -> dict[str, Any] | None:
        if self.gate_file is not None:
            if self.gate:
                raise typer.BadParameter("a gate is given by --gate or by --gate-file", param_hint="--gate-file")
            return _read_object(self.gate_file, "--gate-file")
        if not self.gate:
            return None
        return {
            "metrics": [parse_gate(text) for text in self.gate],
            "alpha": self.alpha,
            "max_hold_s": self.max_hold_s,
            "undecided": self.undecided,
            "min_devices": self.gate_min_devices,
            "max_device_share": max(0.2, 1 / self.gate_min_devices),
        }

    def _policy(self) -> dict[str, Any]:
        policy = _read_object(self.policy, "--policy") if self.policy is not None else {}
        given = {
            "windows": [parse_window(text) for text in self.window or ()],
            "activate_at": self.activate_at,
            "expires_at": self.expires_at,
            "probes": self.probe,
            "priority": self.priority,
            "download_only": self.download_only,
        }
        return policy | {name: value for name, value in given.items() if value}


def with_plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `PlanOptions` in the place of its parameter `options`."""
    hints = get_type_hints(PlanOptions, include_extras=True)
    own = inspect.signature(command, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(
            one.name, keyword, default=None if one.name == "device" else one.default, annotation=hints[one.name]
        )
        for one in fields(PlanOptions)
    ]
    parameters = [one.replace(kind=keyword) for one in own if one.name != "options"]
    arguments = [one for one in parameters if one.default is inspect.Parameter.empty]
    others = [one for one in parameters if one.default is not inspect.Parameter.empty]

    @wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401
        named = {one.name: given.pop(one.name) for one in fields(PlanOptions)}
        command(**given, options=PlanOptions(**named))

    signature = inspect.Signature([*arguments, *options, *others])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    return run


def parse_waves(text: str) -> list[int] | list[str]:
    """Return the counts of `1,2,10`, or the shares of `5%,25%,100%`.

    Raises:
        typer.BadParameter: It is a list of neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if parts and all(part.endswith("%") for part in parts):
        return parts
    try:
        return [int(part) for part in parts]
    except ValueError as error:
        msg = f"{text!r} is neither a list of counts like 1,2,10 nor of shares like 5%,25%,100%"
        raise typer.BadParameter(msg, param_hint="--waves") from error


def parse_rate(text: str) -> dict[str, Any]:
    """Return the rate of `10x2`.

    Raises:
        typer.BadParameter: It is none.
    """
    first, _, factor = text.partition("x")
    try:
        return {"first": int(first), "factor": float(factor)}
    except ValueError as error:
        msg = f"{text!r} is no rate like 10x2: the first wave's devices, and the factor from one wave to the next"
        raise typer.BadParameter(msg, param_hint="--rate") from error


def parse_threshold(text: str) -> dict[str, Any]:
    """Return the threshold of `5%:min=20:of=probe,load:pause`.

    Raises:
        typer.BadParameter: It is none.
    """
    bound, *rest = text.split(":")
    threshold: dict[str, Any] = {}
    is_read = True
    try:
        threshold |= {"percent": float(bound[:-1])} if bound.endswith("%") else {"count": int(bound)}
        for part in rest:
            name, _, value = part.partition("=")
            match name:
                case "min":
                    threshold["min_executed"] = int(value)
                case "of":
                    threshold["causes"] = value.split(",")
                case "pause" | "abort":
                    threshold["action"] = name
                case _:
                    is_read = False
    except ValueError:
        is_read = False
    if not is_read:
        msg = f"{text!r} is no threshold like 3, 5%, 5%:min=20, 2:of=probe,load or 10%:pause"
        raise typer.BadParameter(msg, param_hint="--threshold")
    return threshold


def parse_window(text: str) -> dict[str, Any]:
    """Return the maintenance window of `sat,sun/02:00+120`.

    Raises:
        typer.BadParameter: It is none.
    """
    days, slash, times = text.rpartition("/")
    start, _, minutes = times.partition("+")
    named = days.split(",") if slash else list(_WEEK)
    if not minutes.isdigit() or any(day not in _WEEK for day in named):
        msg = f"{text!r} is no window like 02:00+60 or sat,sun/02:00+120: days, local start, minutes"
        raise typer.BadParameter(msg, param_hint="--window")
    return {"days": named, "start": start, "minutes": int(minutes)}


def _read_object(path: Path, option: str) -> dict[str, Any]:
    """Return the JSON object of the file that an option names."""
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise typer.BadParameter(f"{path} is no JSON: {error}", param_hint=option) from error
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{path} is no JSON object", param_hint=option)
    return found
