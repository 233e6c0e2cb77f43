"""Attacks on what a real agent believes, over a real broker: each fails, the hub reads of it, the device serves on."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.agent.simulators.https_hub import Authority
from tests.agent.simulators.tuf_attacks import TUF_ATTACKS
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import Broker, running_broker
from tests.simulators.hub import HubStandIn, hub_of_one
from tests.simulators.tiny_model import TinyVersion
from tests.simulators.trust_server import Mood, trust_server

from shoal_contract import topics
from shoal_contract.desired import DesiredConfig
from shoal_contract.ids import new_device_id
from shoal_hub.broker.process import BrokerProcess
from shoal_hub.broker.program import find_mosquitto
from shoal_hub.trust.ca import DeviceAuthority

NO_WAIT = DesiredConfig(reconnect_jitter_s=0)
NUMBERS = itertools.count(2)
LAST_GENERATION = 2**63 - 1


def roll_out(hub: HubStandIn, *, listed: bool = True, **changes: Any) -> TinyVersion:
    """Publish the next version and ask for it; unless `listed`, its model's role does not know it."""
    version = TinyVersion(next(NUMBERS))
    hub.publish_artifact(version.file)
    if listed:
        hub.publish_manifest(version.manifest())
    else:
        hub.publish_artifact(version.manifest().to_bytes())
    hub.want({"tiny": version.wanted(f"dp-{version.number}")}, config=NO_WAIT, **changes)
    return version


def converge(hub: HubStandIn, agent: AgentProcess, **changes: Any) -> int:
    """Roll the next version out and wait until it serves; return its number."""
    version = roll_out(hub, **changes)
    hub.wait_for_section("models/tiny", "applied", f"dp-{version.number}")
    assert agent.serves("tiny") == version.number
    return version.number


def wait_for_trust(hub: HubStandIn, code: str | None) -> None:
    """Wait until the device reports this problem with its trust, or none."""
    hub.wait_until(
        lambda seen: seen.trust is not None and (seen.trust.problem.code if seen.trust.problem else None) == code
    )


def wait_for_refusal(hub: HubStandIn, code: str) -> None:
    """Wait until the device reports this problem with its desired state."""

    def holds(seen: HubStandIn) -> bool:
        problem = seen.reported.problem if seen.reported else None
        return problem is not None and problem.code == code

    hub.wait_until(holds)


def put_epoch(hub: HubStandIn, epoch: int) -> None:
    """Let a director speak, to devices that refresh."""
    hub.repository.wait_for_another_ms()
    hub.repository.add_director(epoch)
    hub.publish_trust()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    with running_broker(tmp_path / "hub") as broker, hub_of_one(broker) as stand_in:
        yield stand_in


@pytest.fixture
def agent(hub: HubStandIn, tmp_path: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path / "device", is_quick=True)
    hub.enrol(process.data / "identity")
    yield process
    process.close()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubStandIn, AgentProcess]]:
    """A device that serves a version and lives through all attacks."""
    folder = tmp_path_factory.mktemp("lasting")
    with running_broker(folder / "hub") as broker, hub_of_one(broker) as hub:
        agent = AgentProcess(folder / "device", is_quick=True)
        hub.enrol(agent.data / "identity")
        agent.start()
        try:
            converge(hub, agent)
            yield hub, agent
            assert "Traceback" not in agent.log()
        finally:
            agent.close()


@pytest.mark.parametrize("attack", TUF_ATTACKS)
def test_an_attack_on_tuf_metadata_fails_is_reported_and_ends_with_the_hubs_next_word(
    lasting: tuple[HubStandIn, AgentProcess], attack: str
) -> None:
    hub, agent = lasting
    serving = agent.serves("tiny")
    forge, code = TUF_ATTACKS[attack]

    forge(hub)
    wait_for_trust(hub, code)

    assert hub.trust is not None
    assert hub.trust.problem is not None
    assert hub.trust.problem.remedy
    assert agent.serves("tiny") == serving
    hub.repository.wait_for_another_ms()
    hub.repository.publish()
    hub.publish_trust()
    wait_for_trust(hub, None)
    converge(hub, agent)


def _forged(hub: HubStandIn) -> bytes:
    return hub.desired({}, key=Ed25519PrivateKey.generate())


DESIRED_ATTACKS: dict[str, tuple[Callable[[HubStandIn], bytes], str]] = {
    "forged": (_forged, "desired_forged"),
    "older-generation": (lambda hub: hub.desired({}, generation=1), "desired_older"),
    "expired": (lambda hub: hub.desired({}, expires_at=datetime.now(timezone.utc)), "desired_expired"),
    "of-another-device": (lambda hub: hub.desired({}, device_id=new_device_id()), "desired_other_device"),
}


@pytest.mark.parametrize("attack", DESIRED_ATTACKS)
def test_an_attack_by_a_desired_state_changes_nothing_and_is_reported(
    lasting: tuple[HubStandIn, AgentProcess], attack: str
) -> None:
    hub, agent = lasting
    serving = agent.serves("tiny")
    make, code = DESIRED_ATTACKS[attack]
    in_force = hub.generation
    hub.wait_until(lambda seen: seen.reported is not None and seen.reported.generation == in_force)
    hub.publish(topics.down_desired(hub.device_id), make(hub))
    wait_for_refusal(hub, code)
    assert hub.reported is not None
    assert hub.reported.problem is not None
    assert hub.reported.problem.remedy
    assert (hub.reported.generation, agent.serves("tiny")) == (in_force, serving)
    converge(hub, agent)
    assert hub.reported.problem is None


def test_a_replayed_desired_state_that_was_genuine_once_changes_nothing(
    lasting: tuple[HubStandIn, AgentProcess],
) -> None:
    hub, agent = lasting
    genuine = hub.desired({}, config=NO_WAIT)
    serving = converge(hub, agent)
    hub.publish(topics.down_desired(hub.device_id), genuine)
    wait_for_refusal(hub, "desired_older")
    assert agent.serves("tiny") == serving
    converge(hub, agent)


def test_a_director_alone_can_not_make_a_device_serve_what_no_role_lists(
    lasting: tuple[HubStandIn, AgentProcess],
) -> None:
    hub, agent = lasting
    serving = agent.serves("tiny")
    version = roll_out(hub, listed=False)

    report = hub.wait_for_section("models/tiny", "held", f"dp-{version.number}")

    problem = report.sections["models/tiny"].problem
    assert problem is not None
    assert problem.code == "manifest_held"
    assert agent.serves("tiny") == serving
    hub.publish_manifest(version.manifest())
    hub.wait_for_section("models/tiny", "applied", f"dp-{version.number}")
    assert agent.serves("tiny") == version.number


def test_a_director_that_is_not_known_yet_is_held_and_heard_as_soon_as_tuf_lists_it(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    agent.start()
    converge(hub, agent)
    stranger = hub.repository.directors[2] = Ed25519PrivateKey.generate()
    hub.want({}, epoch=2, generation=1, key=stranger, config=NO_WAIT)
    wait_for_refusal(hub, "desired_held")
    assert agent.serves("tiny") is not None

    put_epoch(hub, 2)
    converge(hub, agent, epoch=2)

    assert hub.reported is not None
    assert hub.trust is not None
    assert (hub.reported.epoch, hub.trust.epochs) == (2, (1, 2))


def test_after_a_compromise_in_which_the_last_generation_was_sent_the_next_director_is_obeyed(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    agent.start()
    converge(hub, agent)
    stolen = converge(hub, agent, generation=LAST_GENERATION)
    hub.repository.wait_for_another_ms()
    hub.repository.remove_director(1)
    hub.publish_trust()
    hub.wait_until(lambda seen: seen.trust is not None and seen.trust.epochs == ())
    hub.want({}, generation=LAST_GENERATION, config=NO_WAIT)
    wait_for_refusal(hub, "desired_held")
    assert agent.serves("tiny") == stolen, "what it made run keeps running"
    agent.kill()
    agent.start()
    assert agent.serves("tiny") == stolen, "and after a start"

    put_epoch(hub, 2)
    hub.generation = 0
    converge(hub, agent, epoch=2)

    hub.want({}, generation=LAST_GENERATION, config=NO_WAIT)
    wait_for_refusal(hub, "desired_older")


def test_a_routine_rotation_of_every_key_needs_nobody_at_the_device(hub: HubStandIn, agent: AgentProcess) -> None:
    agent.start()
    converge(hub, agent)
    assert agent.stop() == 0
    for _ in range(2):
        hub.repository.wait_for_another_ms()
        hub.repository.rotate_root()
    put_epoch(hub, 2)
    hub.repository.remove_director(1)
    hub.publish_trust()
    agent.start()

    hub.generation = 0
    converge(hub, agent, epoch=2)

    assert hub.trust is not None
    assert (hub.trust.root_version, hub.trust.epochs) == (3, (2,))


def test_a_device_back_after_400_days_off_serves_at_once_and_follows_its_hub_again(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    agent.start()
    serving = converge(hub, agent)
    assert agent.stop() == 0
    for days in (100, 200, 300, 400):
        hub.repository.now = lambda away=timedelta(days=days): datetime.now(timezone.utc) + away  # type: ignore[misc]
        hub.repository.rotate_root([])
    hub.repository.renew()
    hub.publish_trust()
    agent.clock_error = timedelta(days=400)

    agent.start()

    assert agent.serves("tiny") == serving
    converge(hub, agent, expires_at=hub.repository.now() + timedelta(days=30))
    assert hub.trust is not None
    assert (hub.trust.root_version, hub.trust.problem) == (5, None)


def test_a_hub_restored_from_an_older_copy_is_obeyed_again_as_its_versions_are_times(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    agent.start()
    repository, backup = hub.repository, (dict(hub.repository.files), dict(hub.repository._versions))
    hub.generation = int(time.time() * 1000)
    lost = converge(hub, agent)
    repository.wait_for_another_ms()
    repository.files, repository._versions = backup  # the generation of the copy, too, is an older time
    hub.generation = int(time.time() * 1000)

    assert converge(hub, agent) > lost

    assert hub.trust is not None
    assert hub.trust.problem is None


def serve_by_another_ca(broker: Broker, folder: Path) -> DeviceAuthority:
    """Start the broker again with a certificate of another CA; the devices' own certificates are still taken."""
    broker.process.stop()
    authority = DeviceAuthority.open(folder)
    identity = authority.issue_server(["127.0.0.1", "localhost"])
    broker.config = replace(broker.config, devices=replace(broker.config.devices, identity=identity))
    broker.process = BrokerProcess(find_mosquitto(), broker.config)
    broker.process.ensure()
    return authority


def test_a_rogue_broker_with_a_certificate_of_another_ca_gets_no_connection(
    hub: HubStandIn, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start()
    serving = converge(hub, agent)
    hub.presences.clear()
    genuine = hub.broker.config
    serve_by_another_ca(hub.broker, tmp_path / "rogue")
    hub.wait_connected()

    agent.wait_for_log("it cannot show a certificate of this device's hub")

    assert agent.serves("tiny") == serving
    assert all(presence.state == "offline" for presence in hub.presences)
    hub.broker.process.stop()
    hub.broker.config = genuine
    hub.broker.process = BrokerProcess(find_mosquitto(), genuine)
    hub.broker.process.ensure()
    hub.wait_connected()
    hub.publish_trust()
    converge(hub, agent)


@pytest.mark.parametrize(
    ("mood", "complaint"),
    [
        ("endless", "timestamp.json: more than the 16384 bytes"),
        ("trickles", "over HTTPS: the refresh took more than 4.0 s"),
    ],
)
def test_a_server_that_sends_without_end_or_a_byte_at_a_time_is_given_up_and_the_device_serves_on(
    hub: HubStandIn, agent: AgentProcess, tmp_path: Path, mood: Mood, complaint: str
) -> None:
    api = Authority("the API's")
    with trust_server(hub.repository, api.server_context(tmp_path)) as https:
        bundle = hub.broker.devices.certificate_pem + api.pem
        hub.api_url = https.url
        hub.enrol(agent.data / "identity", ca_pem=bundle)
        agent.start()
        serving = converge(hub, agent)
        https.mood = mood
        hub.publish(topics.TRUST_TIMESTAMP, b"")  # nothing stands at the broker any more, so the API is asked

        agent.wait_for_log(complaint)

        assert agent.serves("tiny") == serving
        https.mood = "honest"
        hub.publish_trust()
        wait_for_trust(hub, None)
        converge(hub, agent)


def test_a_ca_that_changed_while_the_device_was_off_is_learned_by_tuf_over_https(
    hub: HubStandIn, agent: AgentProcess, tmp_path: Path
) -> None:
    api = Authority("the API's")
    with trust_server(hub.repository, api.server_context(tmp_path)) as https:
        hub.api_url = https.url
        hub.enrol(agent.data / "identity")
        agent.start()
        converge(hub, agent)
        assert agent.stop() == 0
        https.requests.clear()
        authority = serve_by_another_ca(hub.broker, tmp_path / "next")
        hub.wait_connected()
        bundle = authority.certificate_pem + api.pem
        hub.repository.wait_for_another_ms()
        hub.repository.set_ca_bundle(bundle.encode())
        hub.publish_trust()

        agent.start()
        converge(hub, agent)

        assert (agent.data / "identity" / "ca.pem").read_text() == bundle
        assert {name for _, sent in https.requests for name in sent} <= {"Host", "User-Agent", "Accept-Encoding"}


def test_a_ca_that_is_about_to_change_is_learned_over_mqtt(
    hub: HubStandIn, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start()
    converge(hub, agent)
    upcoming = DeviceAuthority.open(tmp_path / "next")
    bundle = (hub.broker.devices.certificate_pem + upcoming.certificate_pem).encode()
    hub.publish_artifact(bundle)
    hub.repository.wait_for_another_ms()
    hub.repository.set_ca_bundle(bundle)
    hub.publish_trust()
    deadline_s = time.monotonic() + 20
    while (agent.data / "identity" / "ca.pem").read_bytes() != bundle:
        assert time.monotonic() < deadline_s, agent.log()[-3000:]
        time.sleep(0.05)

    serve_by_another_ca(hub.broker, tmp_path / "next")
    hub.wait_connected()
    hub.publish_trust()

    converge(hub, agent)


def test_a_board_that_boots_in_1970_connects_converges_and_learns_the_time(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    agent.clock_error = datetime(1970, 1, 1, tzinfo=timezone.utc) - datetime.now(timezone.utc)
    agent.start()
    converge(hub, agent)
    assert hub.trust is not None
    issued_ms = hub.repository.signed["timestamp"].version
    assert hub.trust.floor_at.timestamp() * 1000 >= issued_ms - 10_000
    assert agent.stop() == 0

    hub.publish(
        topics.down_desired(hub.device_id), hub.desired({}, expires_at=datetime(2026, 11, 2, tzinfo=timezone.utc))
    )
    agent.start()
    wait_for_refusal(hub, "desired_expired")


def test_a_clock_that_jumps_a_year_ahead_and_comes_back_leaves_a_device_that_converges(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    agent.start()
    serving = converge(hub, agent)
    assert agent.stop() == 0
    agent.clock_error = timedelta(days=365)
    agent.start()
    wait_for_trust(hub, "tuf_expired")
    assert agent.serves("tiny") == serving, "a device never stops serving because the time is said to have passed"
    assert agent.stop() == 0

    agent.clock_error = timedelta()
    agent.start()

    wait_for_trust(hub, None)
    converge(hub, agent)


def test_a_device_without_hub_and_broker_serves_its_last_good_version(hub: HubStandIn, agent: AgentProcess) -> None:
    agent.start()
    serving = converge(hub, agent)
    assert agent.stop() == 0
    hub.broker.process.stop()
    for name in ("metadata", "targets"):
        for path in sorted((agent.data / "trust" / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    agent.start()

    assert agent.serves("tiny") == serving
    assert "Traceback" not in agent.log()
