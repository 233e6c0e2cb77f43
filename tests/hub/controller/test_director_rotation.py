"""The director's key is rotated while the hub runs: every state is signed again and stands at the broker."""

import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.simulators.broker import listening
from tests.simulators.hub_threads import Hub

from shoal_client.tuf import Rotation
from shoal_contract import topics
from shoal_contract.envelope import DESIRED_STATE_TYPE, verify
from shoal_hub.controller.publish_desired import Mark
from shoal_hub.devices.tables import DesiredRow
from shoal_hub.mqtt import Message


def test_a_running_controller_takes_the_next_key_and_tells_every_device(hub: Hub) -> None:
    devices = [hub.add_device(is_started=False).device_id for _ in range(3)]
    hub.wait(lambda session: all(session.get(DesiredRow, one) for one in devices))
    with hub.database.transaction() as session:
        assert hub.trust.rotate(session, Rotation(role="director"))
    hub.wait(lambda session: all(session.get_one(DesiredRow, one).epoch == 2 for one in devices))
    with hub.database.session() as session:
        targets = hub.trust.reading(session).targets()
        named = targets.get_key(targets.get_delegated_role("director-2").keyids[0])
    keys = {"director-2": Ed25519PublicKey.from_public_bytes(bytes.fromhex(named.keyval["public"]))}
    filters = [topics.down_desired(one) for one in devices]
    held: dict[str, bytes] = {}
    with listening(hub.broker.endpoint("hub-test"), *filters, topics.HUB_WATERMARK) as ears:
        while not (len(held) == 4 and all(_epoch(one, held[one]) == 2 for one in held)):
            message = ears.wait_for(Message)
            held[message.topic] = message.payload
    for one in filters:
        assert verify(held[one], DESIRED_STATE_TYPE, keys, 10_000).key_id == "director-2"


def _epoch(topic: str, payload: bytes) -> int:
    if topic == topics.HUB_WATERMARK:
        return Mark.model_validate_json(payload).epoch
    return int(json.loads(payload)["signatures"][0]["keyid"].removeprefix("director-"))
