"""What a device and its hub say when it enrols and when it renews its certificate, see `golden_messages`."""

from datetime import datetime, timezone
from typing import Final

from shoal_contract.enrolment import EnrolmentRequest, EnrolmentResponse, RenewalRequest, RenewalResponse
from shoal_contract.reported import Hardware

DEVICE: Final = "d-abcdefgh234567ab"
NOON: Final = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
HARDWARE: Final = Hardware(
    kind="jetson",
    model="NVIDIA Jetson Orin Nano Developer Kit",
    architecture="aarch64",
    cores=6,
    memory_bytes=8_005_033_984,
    l4t="36.4.0",
)


def enrolment_request() -> EnrolmentRequest:
    return EnrolmentRequest(
        token="c2VjcmV0LW9mLWEtdG9rZW4tZm9yLXRlc3Rz",
        csr_pem="-----BEGIN CERTIFICATE REQUEST-----\nMIHa\n-----END CERTIFICATE REQUEST-----\n",
        name="greenhouse north",
        hardware=HARDWARE,
        encryption_key="8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    )


def enrolment_response() -> EnrolmentResponse:
    return EnrolmentResponse(
        device_id=DEVICE,
        certificate_pem="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        ca_pem="-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n",
        broker_host="hub.example.org",
        broker_port=8883,
        api_url="https://hub.example.org:8443",
        trust_root='{"signatures":[],"signed":{"_type":"root"}}',
    )


def renewal_request() -> RenewalRequest:
    return RenewalRequest(
        device_id=DEVICE,
        csr_pem="-----BEGIN CERTIFICATE REQUEST-----\nMIHb\n-----END CERTIFICATE REQUEST-----\n",
        at=NOON,
        nonce="0123456789abcdef0123456789abcdef",
    )


def renewal_response() -> RenewalResponse:
    return RenewalResponse(
        certificate_pem="-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----\n",
        ca_pem="-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n",
    )
