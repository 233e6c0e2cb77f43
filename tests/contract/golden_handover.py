"""A desired state of a device that passes requests on, to another and to a server, see `golden_messages`."""

from datetime import timedelta

from tests.contract.golden_enrolment import DEVICE, NOON

from shoal_contract.desired import DesiredHandover, DesiredSite, DesiredState, HandoverPeer


def desired_handover() -> DesiredState:
    other = HandoverPeer(host="192.168.7.21", port=8472, device="d-bcdefghi234567ab")
    server = HandoverPeer(host="10.0.0.5", port=8473, certificate_sha256="e" * 64)
    return DesiredState(
        device_id=DEVICE,
        epoch=1,
        generation=1_772_366_400_000,
        issued_at=NOON,
        expires_at=NOON + timedelta(days=30),
        site=DesiredSite(
            name="warehouse",
            cache=DEVICE,
            host="192.168.7.20",
            port=8471,
            handover=DesiredHandover(peers=(other, server), patience_ms=20),
        ),
    )
