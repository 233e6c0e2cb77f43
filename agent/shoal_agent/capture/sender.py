"""Sends captured samples that the hub asks for and the owner lets out, one at a time, within both budgets.

A sample stays encrypted on the disk until its chunks are sent. The device keeps its own after that.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from shoal_agent.capture.capturer import Capture
from shoal_agent.capture.errors import CaptureError
from shoal_agent.capture.sealed import Captured
from shoal_agent.capture.sent import SentFile
from shoal_agent.capture.store import Kept
from shoal_agent.encryption_key import EncryptionKey
from shoal_agent.errors import DiskError
from shoal_agent.sections import Sections
from shoal_agent.settings import CaptureSendSettings
from shoal_agent.uploads import Elsewhere, Uploads
from shoal_contract.ack import BlobAnswer
from shoal_contract.captures import CaptureRecord, DesiredCaptures, pack_capture
from shoal_contract.errors import MessageError
from shoal_contract.limits import DEFAULT_CHUNK_BYTES
from shoal_contract.reported import SectionReport
from shoal_contract.telemetry import BlobOffer

_log = getLogger(__name__)
SECTION: Final = "captures"
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True)
class _Chosen:
    """The sample whose turn it is, as it travels."""

    name: str
    model: str
    packed: bytes

    @property
    def offer(self) -> BlobOffer:
        return BlobOffer(
            sha256=hashlib.sha256(self.packed).hexdigest(),
            size_bytes=len(self.packed),
            chunk_bytes=DEFAULT_CHUNK_BYTES,
            purpose="capture",
            about=self.model,
        )


@dataclass
class _Known:
    """What is remembered of samples, so that a look reads few of them."""

    models: dict[str, str] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    """Those that are not sent as long as nothing else is asked for."""
    refusals: Counter[str] = field(default_factory=Counter)
    next_s: float = math.inf
    """How long it takes until another sample is old enough, by the last look."""


class CaptureSender:
    """Belongs to the event loop.

    Args:
        capture: What is kept, and by which rules; None: nothing is.
        folder: `<data>/capture`.
        uploads: The way to the hub.
        key: Gives the device's encryption key.
        has_room: Whether so many bytes may be sent, by a share of the month's budget; any thread may call.
        report: Takes the section's report.
        now: Trusted time.
        settings: Bounds, and whether the owner lets any sample out.
    """

    def __init__(
        self,
        capture: Capture | None,
        folder: Path,
        uploads: Uploads,
        key: Callable[[], EncryptionKey],
        has_room: Callable[[int, float], bool],
        report: Callable[[str, SectionReport], None],
        now: Callable[[], datetime],
        settings: CaptureSendSettings,
    ) -> None:
        self._capture = capture
        self._uploads = uploads
        self._key = key
        self._has_room = has_room
        self._report = report
        self._now = now
        self._settings = settings
        self._sent = SentFile(folder / "sent.json", now)
        self._wanted: DesiredCaptures | None = None
        self._known = _Known()
        self._wake = anyio.Event()

    def follow(self, wanted: DesiredCaptures | None, sections: Sections) -> None:
        """Go by what the hub asks for from now on."""
        if wanted is not None or sections.keys(SECTION):
            sections.want(SECTION, wanted, "", partial(self._converge, wanted))

    def notice(self) -> None:
        """Look again soon: something was kept or labelled."""
        self._wake.set()

    async def run(self) -> None:
        """Send what is due, for ever."""
        while self._capture is not None:
            self._wake = anyio.Event()
            pause_s = self._settings.look_s
            try:
                chosen = await to_thread.run_sync(self._choose, self._capture)
                pause_s = min(pause_s, self._known.next_s)
                if chosen is not None:
                    pause_s = await self._send(self._capture, chosen)
            except DiskError as error:
                _log.error("sending captured samples: %s; %s", error, error.remedy)
            with anyio.move_on_after(pause_s):
                await self._wake.wait()

    async def _converge(self, wanted: DesiredCaptures | None) -> None:
        """Take note of what is asked for.

        Raises:
            CaptureError: The owner lets nothing of it out.
        """
        self._wanted, self._known = None, _Known()
        if wanted is None:
            return
        doing = f"sending captured samples of {', '.join(sorted(wanted.models))}"
        if self._capture is None:
            raise CaptureError(f"{doing}: this device captures none", "its owner decides: see docs/guides/capture.md")
        if not self._settings.is_allowed:
            remedy = "its owner decides: shoal-agent run --send-captures"
            raise CaptureError(f"{doing}: this device's owner lets none out", remedy)
        let_out = {name for name, rule in self._capture.rules.models.items() if rule.send}
        if not wanted.models.keys() & let_out:
            message = f"{doing}: this device's owner lets out those of {', '.join(sorted(let_out)) or 'none'}"
            raise CaptureError(message, "ask for those, or have the owner change the rules")
        self._wanted = wanted
        self._wake.set()

    def _choose(self, capture: Capture) -> _Chosen | None:
        """Return the oldest sample that is due; in a worker thread.

        Raises:
            DiskError: The folder can not be read.
        """
        wanted, known = self._wanted, self._known
        known.next_s = math.inf
        for kept in capture.store.kept() if wanted is not None else ():
            if wanted is None or kept.name in self._sent.names or kept.name in known.passed:
                continue
            try:
                chosen = self._due(capture, wanted, known, kept)
            except (CaptureError, MessageError) as error:
                _log.warning("the captured sample %s is not sent: %s", kept.name, error)
                known.passed.add(kept.name)
                continue
            if chosen is not None:
                return chosen
        return None

    def _due(self, capture: Capture, wanted: DesiredCaptures, known: _Known, kept: Kept) -> _Chosen | None:
        age_s = (self._now() - kept.at).total_seconds()
        soonest_s = min(asked.after_s for asked in wanted.models.values())
        if age_s < soonest_s:
            known.next_s = min(known.next_s, soonest_s - age_s)
            return None
        model = known.models.get(kept.name) or known.models.setdefault(kept.name, capture.store.header(kept.name).model)
        asked, rule = wanted.models.get(model), capture.rules.models.get(model)
        if asked is None or rule is None or not rule.send:
            known.passed.add(kept.name)
            return None
        if age_s < asked.after_s:
            known.next_s = min(known.next_s, asked.after_s - age_s)
            return None
        spent, size_bytes = self._sent.spent(model), kept.size_bytes  # what travels is a little less than the file
        has_room = (
            spent.samples < asked.max_samples_per_day
            and spent.size_bytes + size_bytes <= asked.max_bytes_per_day
            and self._sent.spent_bytes + size_bytes <= capture.rules.max_mb_sent_per_day * _MEGABYTE
            and self._has_room(size_bytes, self._settings.budget_ratio)
        )
        if not has_room:
            return None
        captured = capture.store.open(kept.name, self._key())
        if asked.reasons and not set(asked.reasons) & set(captured.about.reasons):
            known.passed.add(kept.name)
            return None
        return _Chosen(kept.name, model, _packed(kept.name, captured))

    async def _send(self, capture: Capture, chosen: _Chosen) -> float:
        """Offer a sample and wait for the hub's last word; return how long to pause after it."""
        settled, answers = anyio.Event(), list[BlobAnswer]()

        def settle(answer: BlobAnswer) -> None:
            answers.append(answer)
            settled.set()

        while not settled.is_set():  # a hub that was restored from a backup knows of no offer before
            self._uploads.offer_elsewhere(chosen.offer, Elsewhere(lambda: chosen.packed, settle, "captures"))
            with anyio.move_on_after(self._settings.offer_again_s):
                await settled.wait()
        if answers[0].state != "stored":
            self._note_refused(chosen, answers[0].reason)
            return self._settings.refused_pause_s
        kept = {one.name for one in await to_thread.run_sync(capture.store.kept)}
        await to_thread.run_sync(self._sent.note, chosen.name, chosen.model, len(chosen.packed), kept)
        self._say(SectionReport(state="applied"))
        return 0.0

    def _note_refused(self, chosen: _Chosen, reason: str) -> None:
        """Say why the hub refuses a sample; one that it refuses again and again is passed over."""
        known = self._known
        known.refusals[chosen.name] += 1
        if known.refusals[chosen.name] >= self._settings.most_refusals:
            known.passed.add(chosen.name)
        error = CaptureError(f"sending a captured sample of {chosen.model}: the hub refused it: {reason}")
        _log.warning("%s", error)
        self._say(SectionReport(state="working", step="refused", problem=error.to_problem()))

    def _say(self, report: SectionReport) -> None:
        if self._wanted is not None:
            self._report(SECTION, report)


def _packed(name: str, captured: Captured) -> bytes:
    about = captured.about.model_dump(mode="json")
    return pack_capture(CaptureRecord.model_validate({"name": name.removesuffix(".sealed"), **about}), captured.sample)
