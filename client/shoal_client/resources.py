"""The API's routes of the fleet as methods: tokens, devices, drift, federated runs."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from shoal_client.drift_history import DriftCause, DriftHistory
from shoal_client.fleet import (
    Device,
    DeviceDetail,
    DriftSignal,
    NewToken,
    QuarantinedWindow,
    Token,
    Window,
)
from shoal_client.registry import FederatedRun, FederatedRunDetail
from shoal_client.transport import Transport

_PAGE = 1000
"""Devices of one answer; the hub gives no more at once."""
_LOOK_S = 0.3
"""Between two looks at something that is waited for."""


class Tokens:
    """Enrolment tokens."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        label: str = "",
        expires_in_s: int = 86_400,
        uses: int = 1,
        group: str = "",
        tags: dict[str, str] | None = None,
    ) -> NewToken:
        """Make a token, whose devices get `group` and `tags`; its text is shown this once."""
        body = {"label": label, "expires_in_s": expires_in_s, "uses": uses, "group": group, "tags": tags or {}}
        return self._transport.call("POST", "/tokens", NewToken, json=body)

    def list(self) -> list[Token]:
        """List tokens, newest first."""
        return self._transport.call("GET", "/tokens", list[Token])

    def revoke(self, token_id: str) -> Token:
        """Withdraw a token; devices that enrolled with it stay."""
        return self._transport.call("DELETE", f"/tokens/{token_id}", Token)


class Devices:
    """Enrolled devices."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        limit: int = 1000,
        offset: int = 0,
        group: str | None = None,
        query: str | None = None,
        decommissioned: bool = False,
    ) -> list[Device]:
        """List devices by name: all, or those in a group, those that match a query, or both.

        Args:
            limit: At most so many, 1,000 at most.
            offset: So many are left out at the beginning.
            group: Name of a group; empty for the devices that are at home in none.
            query: Like `tags.site = paris and presence = online`; it finds no revoked device.
            decommissioned: Whether decommissioned ones are among them, where no query decides.
        """
        params: dict[str, Any] = {"limit": limit, "offset": offset}
        if group is not None:
            params["group"] = group
        if query is not None:
            params["query"] = query
        if decommissioned:
            params["decommissioned"] = True
        return self._transport.call("GET", "/devices", list[Device], params=params)

    def all(
        self, *, group: str | None = None, query: str | None = None, decommissioned: bool = False
    ) -> Iterator[Device]:
        """Yield every device by name, however many there are; `list` returns one page."""
        offset = 0
        while page := self.list(limit=_PAGE, offset=offset, group=group, query=query, decommissioned=decommissioned):
            yield from page
            offset += len(page)
            if len(page) < _PAGE:
                return

    def show(self, device_id: str) -> DeviceDetail:
        """Return one device."""
        return self._transport.call("GET", f"/devices/{device_id}", DeviceDetail)

    def update(
        self, device_id: str, *, name: str | None = None, group: str | None = None, tags: dict[str, str] | None = None
    ) -> DeviceDetail:
        """Rename or tag a device or make another group its home; what is None stays."""
        body: dict[str, Any] = {"name": name, "group": group, "tags": tags}
        return self._transport.call("PATCH", f"/devices/{device_id}", DeviceDetail, json=body)

    def configure(self, device_id: str, **settings: object) -> DeviceDetail:
        """Set how a device's agent behaves.

        Args:
            device_id: The device.
            settings: `heartbeat_s`, `window_requests`, `window_s`, `reconnect_jitter_s`, `drift_tolerance`,
                `drift_warm_up_windows`, `drift_is_recentred`, `drift_fall_back` (`features`, `for_s`); others get
                their defaults.
        """
        return self._transport.call("PUT", f"/devices/{device_id}/config", DeviceDetail, json=settings)

    def revoke(self, device_id: str, *, reason: str = "") -> DeviceDetail:
        """Revoke a device: within seconds its connection ends, and it gets in no more."""
        return self._transport.call("POST", f"/devices/{device_id}/revoke", DeviceDetail, json={"reason": reason})

    def decommission(self, device_id: str, *, reason: str = "") -> DeviceDetail:
        """Revoke a device for good, and clear what hub and broker keep of it."""
        return self._transport.call("POST", f"/devices/{device_id}/decommission", DeviceDetail, json={"reason": reason})


class Drift:
    """Drift signals and the counts behind them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def windows(self, *, device: str | None = None, model: str | None = None, limit: int = 100) -> list[Window]:
        """List what devices counted, newest first."""
        params = {"device": device, "model": model, "limit": limit}
        given = {name: value for name, value in params.items() if value is not None}
        return self._transport.call("GET", "/drift/windows", list[Window], params=given)

    def quarantine(
        self, *, device: str | None = None, model: str | None = None, reason: str | None = None, limit: int = 100
    ) -> list[QuarantinedWindow]:
        """List windows that were not merged, newest first: of a device by id, of a model, or for one reason."""
        params = {"device": device, "model": model, "reason": reason, "limit": limit}
        given = {name: value for name, value in params.items() if value is not None}
        return self._transport.call("GET", "/drift/quarantine", list[QuarantinedWindow], params=given)

    def list(self, *, model: str | None = None, state: str | None = None, limit: int = 100) -> list[DriftSignal]:
        """List drift signals, newest first."""
        params = {"model": model, "state": state, "limit": limit}
        given = {name: value for name, value in params.items() if value is not None}
        return self._transport.call("GET", "/drift", list[DriftSignal], params=given)

    def history(
        self,
        model: str,
        version: int | None = None,
        *,
        by: Literal["hour", "day"] = "day",
        since: datetime | None = None,
        until: datetime | None = None,
        device: str | None = None,
        group: str | None = None,
        tag: str | None = None,
        query: str | None = None,
        features: Sequence[str] = (),
        limit: int = 30,
    ) -> DriftHistory:
        """Return how a version's inputs have lain against its baseline; of the latest version, of the fleet.

        Args:
            model: Its name.
            version: Its number; None: the latest.
            by: Hours or days.
            since: The time of the first of them; None: 30 days, or 48 hours, back.
            until: The end; None: now.
            device: Of one device by its id, and not of the fleet; likewise group, the value of a tag as in site=paris,
                and the devices that match a query now.
            group: See there.
            tag: See there.
            query: See there.
            features: By name; none: those with the largest distances.
            limit: Features at most.
        """
        params: dict[str, Any] = {"model": model, "version": version, "by": by, "since": since, "until": until}
        params |= {"device": device, "group": group, "tag": tag, "query": query, "limit": limit}
        params |= {"feature": list(features) or None}
        return self._transport.call("GET", "/drift/history", DriftHistory, params=_given(params))

    def cause(
        self,
        signal: str | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        at: datetime | None = None,
        devices: int = 20,
        features: int = 30,
        histograms: int = 6,
    ) -> DriftCause:
        """Return what is behind a signal, or behind drift of a model's version at a time.

        Args:
            signal: Its id; or
            model: a model, of which
            version: the latest version is meant where none is given.
            at: When it was so; None: now, of a signal that has cleared when it was raised.
            devices: At most.
            features: At most.
            histograms: Of how many features.
        """
        params = {"signal": signal, "model": model, "version": version, "at": at}
        params |= {"devices": devices, "features": features, "histograms": histograms}
        return self._transport.call("GET", "/drift/cause", DriftCause, params=_given(params))


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are given, times in ISO 8601."""
    given = {name: value for name, value in params.items() if value is not None}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}


class Federated:
    """Federated runs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(
        self,
        model: str,
        *,
        version: int | str = "latest",
        devices: Sequence[str] | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> FederatedRun:
        """Start a run.

        Args:
            model: Name of the model.
            version: The version whose weights the first round begins with.
            devices: Ids; None for every device that has the dataset.
            settings: `dataset`, `rounds`, `min_devices`, `epochs`, `learning_rate`, `update_scheme`, `parent_share`,
                `deadline_s`.
        """
        body = {"model": model, "version": str(version), "devices": None if devices is None else list(devices)}
        given = {name: value for name, value in settings.items() if value is not None}
        return self._transport.call("POST", "/federated", FederatedRun, json=body | given)

    def list(self) -> list[FederatedRun]:
        """List runs, newest first."""
        return self._transport.call("GET", "/federated", list[FederatedRun])

    def show(self, run_id: str) -> FederatedRunDetail:
        """Return one run with its rounds and answers."""
        return self._transport.call("GET", f"/federated/{run_id}", FederatedRunDetail)

    def stop(self, run_id: str) -> FederatedRun:
        """Stop a run."""
        return self._transport.call("POST", f"/federated/{run_id}/stop", FederatedRun)

    def watch(self, run_id: str) -> Iterator[FederatedRunDetail]:
        """Yield the run as it changes, until it has ended."""
        last: FederatedRunDetail | None = None
        while last is None or not last.has_ended:
            now = self.show(run_id)
            if now != last:
                yield now
            last = now
            if not now.has_ended:
                time.sleep(_LOOK_S)
