"""What the command line's words for a plan come to."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from shoal_hub.cli.rollout_options import PlanOptions, parse_rate, parse_threshold, parse_waves, parse_window
from shoal_hub.rollouts.request import RolloutRequest


class NoClient:
    """Stands for a client where no device is named: any use of it fails."""


def request(**options: Any) -> RolloutRequest:
    plan = PlanOptions(**({"device": None} | options)).request(NoClient())
    return RolloutRequest.model_validate({"model": "digits", "version": "1"} | plan)


def test_options_that_nobody_gives_are_the_apis_defaults() -> None:
    assert request() == RolloutRequest(model="digits", version="1")


def test_every_option_reaches_the_request(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(json.dumps({"retries": {"probe": {"attempts": 2}}}))
    made = request(
        rate="10x1.5",
        max_in_flight=5,
        soak_s=60,
        start_at="2026-12-01T02:00:00+01:00",
        wave_approval=True,
        threshold=["3", "5%:min=20:of=probe,load:pause"],
        on_abort="leave",
        holdback_percent=5,
        seed=9,
        late_joiners="last_wave",
        timeout_s=60,
        hold_timeout_s=3600,
        offline_attempts=3,
        window=["sat,sun/02:00+120"],
        probe=["smoke"],
        priority=3,
        download_only=True,
        policy=tmp_path / "policy.json",
    )
    assert (made.rate is not None and made.rate.factor, made.max_in_flight, made.soak_s) == (1.5, 5, 60)
    assert made.start_at is not None
    assert made.start_at.isoformat().startswith("2026-12-01T01:00")
    assert [(one.count, one.percent, one.min_executed, one.causes, one.action) for one in made.thresholds] == [
        (3, None, 1, (), "abort"),
        (None, 5, 20, ("probe", "load"), "pause"),
    ]
    assert (made.on_abort, made.holdback_percent, made.seed, made.late_joiners) == ("leave", 5, 9, "last_wave")
    assert (made.timeout_s, made.hold_timeout_s, made.offline_attempts, made.wave_approval) == (60, 3600, 3, True)
    policy = made.policy
    assert [(one.days, one.start, one.minutes) for one in policy.windows] == [(("sat", "sun"), "02:00", 120)]
    assert (policy.probes, policy.priority, policy.download_only) == (("smoke",), 3, True)
    assert policy.retries["probe"].attempts == 2


def test_a_group_or_a_query_stands_for_its_devices() -> None:
    assert request(group="garden").group == "garden"
    assert request(query="tags.site = paris").query == "tags.site = paris"


@pytest.mark.parametrize(("text", "waves"), [("1,20", [1, 20]), ("5%, 25%", ["5%", "25%"]), ("", [])])
def test_waves_are_counts_or_shares(text: str, waves: list[int] | list[str]) -> None:
    assert parse_waves(text) == waves


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_waves, "1,5%"),
        (parse_waves, "one"),
        (parse_rate, "10"),
        (parse_rate, "x2"),
        (parse_threshold, "many"),
        (parse_threshold, "3:soon"),
        (parse_threshold, "3:min=few"),
        (parse_window, "02:00"),
        (parse_window, "someday/02:00+60"),
    ],
)
def test_what_cannot_be_read_is_refused_with_an_example(parse: Any, text: str) -> None:
    with pytest.raises(typer.BadParameter, match="like|days"):
        parse(text)


@pytest.mark.parametrize("text", ["no json", "[1]"])
def test_a_policy_file_has_to_be_a_json_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.json").write_text(text)
    with pytest.raises(typer.BadParameter, match="JSON"):
        request(policy=tmp_path / "policy.json")


def test_a_gate_is_given_as_a_whole_by_a_file_in_the_place_of_its_options(tmp_path: Path) -> None:
    gate = {"metrics": [{"name": "slow_requests"}], "latency_bound_ms": 64.0, "min_samples": 20, "look_s": 5}
    (tmp_path / "gate.json").write_text(json.dumps(gate))
    made = request(gate_file=tmp_path / "gate.json").gate
    assert made is not None
    assert (made.latency_bound_ms, made.min_samples, made.look_s) == (64.0, 20, 5)
    with pytest.raises(typer.BadParameter, match="--gate or by --gate-file"):
        request(gate_file=tmp_path / "gate.json", gate=["error_rate"])


def test_whatever_the_api_takes_the_command_line_can_say() -> None:
    plan = PlanOptions(device=None).request(NoClient())
    assert plan.keys() | {"model", "version"} == RolloutRequest.model_fields.keys()
