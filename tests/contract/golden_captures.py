"""What a hub asks of captured samples, a device's offer of one, and what is known of it, see `golden_messages`."""

from datetime import timedelta

from tests.contract.golden_enrolment import DEVICE, NOON

from shoal_contract.captures import CaptureRecord, DesiredCapture, DesiredCaptures
from shoal_contract.desired import DesiredState
from shoal_contract.telemetry import BlobOffer


def desired_captures() -> DesiredState:
    asked = DesiredCapture(
        reasons=("low_confidence", "disagreement"), max_samples_per_day=50, max_bytes_per_day=5_000_000, after_s=600.0
    )
    return DesiredState(
        device_id=DEVICE,
        epoch=1,
        generation=1_772_366_400_000,
        issued_at=NOON,
        expires_at=NOON + timedelta(days=30),
        captures=DesiredCaptures(models={"digits": asked}),
    )


def capture_offer() -> BlobOffer:
    return BlobOffer(sha256="7" * 64, size_bytes=4096, chunk_bytes=131_072, purpose="capture", about="digits")


def capture_record() -> CaptureRecord:
    return CaptureRecord(
        name="1772366400000-0a1b2c3d",
        model="digits",
        version=3,
        request_id="5f1c2a90-17",
        sample=1,
        at=NOON,
        reasons=("low_confidence",),
        label=3,
        confidence=0.5,
        true_label=8,
    )
