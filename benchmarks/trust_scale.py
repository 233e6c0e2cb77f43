"""What trust costs a hub with 10,000 devices: renewing the timestamp, and signing every desired state again.

Renewal must not grow with the number of devices, so its peer is the same hub with 100 of them, in turn in one run. The
hub's own code does the work on a SQLite database on disk, and publishes to a real Mosquitto. There is no other peer:
python-tuf's repository library signs metadata, but knows no devices.

Run it as `python benchmarks/trust_scale.py`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub", "client"))]

from sqlmodel import func, select  # noqa: E402 - the paths above come first
from tests.simulators.broker import listening, running_broker  # noqa: E402
from tests.simulators.rows import NOON  # noqa: E402

from shoal_client.tuf import Rotation  # noqa: E402
from shoal_contract.artifact_ref import ArtifactRef  # noqa: E402
from shoal_contract.desired import DesiredModel, DesiredState  # noqa: E402
from shoal_contract.envelope import DESIRED_STATE_TYPE  # noqa: E402
from shoal_contract.ids import new_device_id  # noqa: E402
from shoal_hub.audit.actor import CONTROLLER  # noqa: E402
from shoal_hub.controller.publish_trust import TrustPublisher  # noqa: E402
from shoal_hub.database import Database, utc_now  # noqa: E402
from shoal_hub.devices.resign import BATCH, sign_states, states_to_sign  # noqa: E402
from shoal_hub.devices.tables import DesiredRow, Device  # noqa: E402
from shoal_hub.registry.artifacts import ArtifactStore  # noqa: E402
from shoal_hub.transfer.publishing import Publisher  # noqa: E402
from shoal_hub.trust.director import Director  # noqa: E402
from shoal_hub.trust.hub_trust import HubTrust  # noqa: E402
from shoal_hub.trust.renewal_record import recorded  # noqa: E402
from shoal_hub.trust.roles import Lives  # noqa: E402

FEW, MANY = 100, 10_000
MAX_GROWTH = 1.2
MAX_CPU_S = 10.0
LIFE = timedelta(days=30)
MODELS = 4


class Fleet:
    """A hub's database with this many devices, each with a desired state of `MODELS` models."""

    def __init__(self, folder: Path, devices: int) -> None:
        self.database = Database(f"sqlite:///{folder / f'hub-{devices}.sqlite'}")
        self.database.upgrade()
        self.trust = HubTrust(folder / f"trust-{devices}", Lives(), ArtifactStore(str(folder / "artifacts")))
        self.director = Director.open(folder / f"trust-{devices}")
        self.publisher = TrustPublisher(self.database, self.trust)
        with self.database.transaction() as session:
            self.trust.writing(session).list_manifest("digits", 1, b"{}")
        ids = [new_device_id() for _ in range(devices)]
        with self.database.transaction() as session:
            for device_id in ids:
                session.add(Device(id=device_id, public_key_sha256=device_id, certificate_serial="1", enrolled_at=NOON))
        with self.database.transaction() as session:
            session.add_all([self._state(device_id) for device_id in ids])

    def _state(self, device_id: str) -> DesiredRow:
        """Return a state as the controller keeps it."""
        manifest = ArtifactRef(sha256="0" * 64, size_bytes=1)
        model = DesiredModel(version=1, target="generic-onnx-int8", manifest=manifest, deployment="dp-bench")
        state = DesiredState(
            device_id=device_id,
            epoch=self.director.epoch,
            generation=1,
            issued_at=NOON,
            expires_at=NOON + LIFE,
            models={f"model-{number}": model for number in range(MODELS)},
        )
        return DesiredRow(
            device_id=device_id,
            epoch=state.epoch,
            generation=state.generation,
            content_sha256="0" * 64,
            envelope=self.director.sign(state.to_bytes(), DESIRED_STATE_TYPE),
            issued_at=state.issued_at,
            expires_at=state.expires_at,
        )

    def renew(self, connection: Publisher) -> float:
        """Sign the timestamp again, note it in the audit trail and publish it; return this process's CPU time in s."""
        self._sign_timestamp()
        began_s = time.process_time()
        self._sign_timestamp()
        self.publisher.look()
        self.publisher.step(connection, utc_now())
        return time.process_time() - began_s

    def _sign_timestamp(self) -> None:
        with self.database.transaction() as session:
            repository = self.trust.writing(session)
            with recorded(repository, "trust.renew", CONTROLLER), repository.edit("timestamp"):
                pass

    def sign_all(self) -> float:
        """Rotate the director and sign every state by the next key; return the CPU time of this process in s."""
        with self.database.transaction() as session:
            self.trust.rotate(session, Rotation(role="director"))
        now = utc_now()
        began_s = time.process_time()
        with self.database.session() as session:
            self.trust.follow(session, self.director)
            due = states_to_sign(session, self.director.epoch, now, LIFE)
        for start in range(0, len(due), BATCH):
            with self.database.transaction() as session:
                sign_states(session, self.director, due[start : start + BATCH], now, LIFE)
        spent_s = time.process_time() - began_s
        with self.database.session() as session:
            signed = select(func.count()).select_from(DesiredRow).where(DesiredRow.epoch == self.director.epoch)
            assert session.exec(signed).one() == len(due)
        return spent_s


def main() -> None:
    """Measure both figures and print a JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="renewals behind each median")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name, running_broker(Path(name)) as broker:
        few, many = Fleet(Path(name), FEW), Fleet(Path(name), MANY)
        with listening(broker.endpoint("hub-bench")) as hub:
            for fleet in (few, many):
                fleet.publisher.step(hub.connection, utc_now())
            times = in_turn([lambda: few.renew(hub.connection), lambda: many.renew(hub.connection)], rounds)
        signing = [many.sign_all() for _ in range(3)]
    small, large = (statistics.median(one) for one in times)
    report("timestamp_renewal_cpu", "s", large, small, f"the same hub with {FEW} devices", rounds, MAX_GROWTH)
    cpu_s = statistics.median(signing)
    print(
        json.dumps(
            {
                "name": "sign_10000_states_cpu",
                "unit": "s",
                "ours": round(cpu_s, 3),
                "peer": None,
                "peer_name": "none",
                "ratio": None,
                "n": len(signing),
                "goal": f"<= {MAX_CPU_S}",
                "holds": cpu_s <= MAX_CPU_S,
            }
        )
    )


def in_turn(measures: list[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Take each measure in turn, so that what else the machine does hits all alike."""
    taken: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for values, measure in zip(taken, measures, strict=True):
            values.append(measure())
    return taken


def report(name: str, unit: str, ours: float, peer: float, peer_name: str, n: int, most: float) -> None:
    """Print one line: `ours` may be at most `most` times the peer's."""
    line = {
        "name": name,
        "unit": unit,
        "ours": round(ours, 5),
        "peer": round(peer, 5),
        "peer_name": peer_name,
        "ratio": round(peer / ours, 3),
        "n": n,
        "goal": f"at most {most} times the peer",
        "holds": ours <= most * peer,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
