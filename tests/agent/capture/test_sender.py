"""Captured samples go to the hub if it asks and the owner lets them out, one at a time and within every budget."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.serving.conftest import SeenRequests
from tests.agent.trials.conftest import START

from shoal_agent.capture import About, Budget, Capture, Captured, CaptureRules, CaptureSender, CaptureStore
from shoal_agent.capture.archive import to_npz
from shoal_agent.capture.choice import Reason
from shoal_agent.capture.sent import SentFile
from shoal_agent.encryption_key import new_encryption_key
from shoal_agent.errors import AgentError
from shoal_agent.sections import Converge
from shoal_agent.settings import CaptureSendSettings
from shoal_agent.uploads import Elsewhere
from shoal_contract.ack import BlobAnswer
from shoal_contract.captures import DesiredCapture, DesiredCaptures, split_capture
from shoal_contract.reported import SectionReport
from shoal_contract.telemetry import BlobOffer

pytestmark = pytest.mark.anyio
KEY = new_encryption_key("d-abcdefgh234567ab")
ALLOWED = CaptureSendSettings(is_allowed=True, look_s=0.01, refused_pause_s=0.01)
ROOM = Budget(10**9, 10**9, 10**6)
NOW = DesiredCapture(after_s=0)


class Hub:
    """Takes offers, and answers each by its turn; `settle` says how."""

    def __init__(self) -> None:
        self.offers: list[BlobOffer] = []
        self.got: list[bytes] = []
        self.answer: Callable[[BlobOffer], BlobAnswer | None] = lambda _: BlobAnswer(state="stored")

    def offer_elsewhere(self, offer: BlobOffer, elsewhere: Elsewhere) -> None:
        self.offers.append(offer)
        answer = self.answer(offer)
        if answer is not None:
            if answer.state == "stored":
                self.got.append(elsewhere.read())
            elsewhere.settled(answer)


class Sections:
    """Converges at once on what is wanted."""

    def __init__(self) -> None:
        self.wanted: list[Converge] = []
        self.has = False

    def want(self, _key: str, body: object, _deployment: str, converge: Converge) -> None:
        self.has = body is not None
        self.wanted.append(converge)

    def keys(self, _prefix: str) -> list[str]:
        return ["captures"] if self.has else []


class Device:
    """A store with samples, rules and a sender."""

    def __init__(self, folder: Path, settings: CaptureSendSettings = ALLOWED, **rules: Any) -> None:
        self.now = START
        self.store = CaptureStore(folder / "capture", lambda: self.now)
        fields = {"models": {"tiny": {"share": 1.0}, "secret": {"share": 1.0, "send": False}}} | rules
        capture = Capture(
            SeenRequests(), CaptureRules.model_validate(fields), self.store, lambda: KEY, lambda: self.now
        )
        self.hub, self.sections = Hub(), Sections()
        self.has_room = True
        self.reports: list[SectionReport] = []
        self.sender = CaptureSender(
            capture,
            folder / "capture",
            self.hub,  # type: ignore[arg-type]  # the one method that is called
            lambda: KEY,
            lambda _size, _ratio: self.has_room,
            lambda _section, report: self.reports.append(report),
            lambda: self.now,
            settings,
        )

    def keep(self, model: str = "tiny", *, reasons: tuple[Reason, ...] = ("random",), request_id: str = "r-1") -> str:
        self.now += timedelta(milliseconds=1)
        about = About(model=model, version=1, request_id=request_id, at=self.now, reasons=reasons)
        name = self.store.add(Captured(about, to_npz({})), KEY, ROOM)
        assert name is not None
        return name

    async def ask(self, **models: DesiredCapture) -> None:
        """Have the hub ask; raises what the section would report."""
        wanted = DesiredCaptures(models=models) if models else None
        self.sender.follow(wanted, self.sections)  # type: ignore[arg-type]
        await self.sections.wanted[-1]()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.sender.run)
            yield
            group.cancel_scope.cancel()

    async def until(self, holds: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not holds():  # noqa: ASYNC110 - it looks at whatever a test names
                await anyio.sleep(0.005)

    async def quiet(self) -> None:
        """Wait for some looks."""
        await anyio.sleep(0.1)

    def sent(self) -> list[str]:
        return [split_capture(data)[0].name for data in self.hub.got]


async def test_what_is_asked_for_is_sent_once_the_oldest_first_as_it_was_kept(tmp_path: Path) -> None:
    device = Device(tmp_path)
    first, second = device.keep(request_id="r-1"), device.keep(request_id="r-2")
    device.store.label(second, KEY, 7)
    await device.ask(tiny=NOW)
    async with device.running():
        await device.until(lambda: len(device.hub.got) == 2)
        await device.quiet()
    assert device.sent() == [first.removesuffix(".sealed"), second.removesuffix(".sealed")]
    assert {(one.purpose, one.about) for one in device.hub.offers} == {("capture", "tiny")}
    record, sample = split_capture(device.hub.got[1])
    assert (record.request_id, record.true_label, sample) == ("r-2", 7, to_npz({}))
    assert [kept.name for kept in device.store.kept()] == [first, second], "the device keeps its own"

    again = Device(tmp_path)
    await again.ask(tiny=NOW)
    async with again.running():
        await again.quiet()
    assert again.hub.offers == [], "a restart sends nothing twice"


@pytest.mark.parametrize(
    ("settings", "model", "says"),
    [
        (CaptureSendSettings(), "tiny", "--send-captures"),
        (ALLOWED, "secret", "lets out those of tiny"),
        (ALLOWED, "other", "lets out those of tiny"),
    ],
)
async def test_what_the_owner_does_not_let_out_stays_and_the_hub_hears_why(
    tmp_path: Path, settings: CaptureSendSettings, model: str, says: str
) -> None:
    device = Device(tmp_path, settings)
    for kept in ("tiny", "secret"):
        device.keep(kept)
    with pytest.raises(AgentError) as refused:
        await device.ask(**{model: NOW})
    assert says in f"{refused.value}; {refused.value.remedy}"
    async with device.running():
        await device.quiet()
    assert device.hub.offers == []


async def test_a_model_that_the_owner_keeps_back_is_not_sent_beside_one_that_may_be(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.keep("secret")
    mine = device.keep("tiny")
    await device.ask(tiny=NOW, secret=NOW)
    async with device.running():
        await device.until(lambda: bool(device.hub.got))
        await device.quiet()
    assert device.sent() == [mine.removesuffix(".sealed")]


async def test_nothing_is_sent_that_is_not_asked_for_or_no_more(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.keep(reasons=("class",))
    async with device.running():
        await device.quiet()
        await device.ask(tiny=DesiredCapture(after_s=0, reasons=("disagreement",)))
        await device.quiet()
        await device.ask()
        device.keep(reasons=("disagreement",))
        await device.quiet()
    assert device.hub.offers == []


async def test_a_sample_waits_for_its_label_as_long_as_the_hub_says(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.keep()
    await device.ask(tiny=DesiredCapture(after_s=60))
    async with device.running():
        await device.quiet()
        assert device.hub.offers == []
        device.now += timedelta(seconds=61)
        await device.until(lambda: len(device.hub.got) == 1)


@pytest.mark.parametrize("bound", ["samples", "bytes", "owner"])
async def test_no_day_sends_more_than_hub_and_owner_allow_also_over_a_restart(tmp_path: Path, bound: str) -> None:
    Device(tmp_path).keep()
    [kept] = Device(tmp_path).store.kept()
    most = {"samples": {"max_samples_per_day": 1}, "bytes": {"max_bytes_per_day": kept.size_bytes + 9}}.get(bound, {})
    asked = DesiredCapture(after_s=0, **most)
    rules = {"max_mb_sent_per_day": (kept.size_bytes + 9) / 1e6} if bound == "owner" else {}
    device = Device(tmp_path, **rules)
    device.keep()
    await device.ask(tiny=asked)
    async with device.running():
        await device.until(lambda: len(device.hub.got) == 1)
        await device.quiet()
    again = Device(tmp_path, **rules)
    await again.ask(tiny=asked)
    async with again.running():
        await again.quiet()
        assert (len(device.hub.got), again.hub.got) == (1, [])
        again.now += timedelta(days=1)
        await again.until(lambda: len(again.hub.got) == 1)


async def test_nothing_is_sent_while_the_months_budget_has_no_room(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.keep()
    device.has_room = False
    await device.ask(tiny=NOW)
    async with device.running():
        await device.quiet()
        assert device.hub.offers == []
        device.has_room = True
        await device.until(lambda: len(device.hub.got) == 1)


async def test_a_sample_that_the_hub_refuses_again_and_again_holds_up_no_other(tmp_path: Path) -> None:
    device = Device(tmp_path)
    bad, good = device.keep(request_id="bad"), device.keep(request_id="good")
    refusals: list[BlobOffer] = []

    def answer(offer: BlobOffer) -> BlobAnswer:
        if len(refusals) < 3:
            refusals.append(offer)
            return BlobAnswer(state="refused", reason="it has no room")
        return BlobAnswer(state="stored")

    device.hub.answer = answer
    await device.ask(tiny=NOW)
    async with device.running():
        await device.until(lambda: bool(device.reports) and device.reports[-1].state == "applied")
    assert len({one.sha256 for one in refusals}) == 1, bad
    assert device.sent() == [good.removesuffix(".sealed")]
    assert device.reports[0].problem is not None
    assert "it has no room" in device.reports[0].problem.message


async def test_an_offer_without_an_answer_is_made_again(tmp_path: Path) -> None:
    device = Device(tmp_path, replace(ALLOWED, offer_again_s=0.02))
    device.keep()
    device.hub.answer = lambda _: BlobAnswer(state="stored") if len(device.hub.offers) == 3 else None
    await device.ask(tiny=NOW)
    async with device.running():
        await device.until(lambda: len(device.hub.got) == 1)
    assert len({one.sha256 for one in device.hub.offers}) == 1


async def test_a_damaged_sample_is_passed_over(tmp_path: Path) -> None:
    device = Device(tmp_path)
    damaged, good = device.keep(), device.keep()
    (tmp_path / "capture" / damaged).write_bytes(b"no header")
    await device.ask(tiny=NOW)
    async with device.running():
        await device.until(lambda: len(device.hub.got) == 1)
    assert device.sent() == [good.removesuffix(".sealed")]


def test_a_note_of_what_was_sent_that_is_damaged_begins_anew_and_a_clock_that_falls_back_frees_no_budget(
    tmp_path: Path,
) -> None:
    path, days = tmp_path / "sent.json", [START]
    sent = SentFile(path, lambda: days[0])
    sent.note("a", "tiny", 10, ["a", "b"])
    sent.note("b", "tiny", 10, ["b"])
    assert (set(sent.names), sent.spent_bytes, sent.spent("tiny").samples) == ({"b"}, 20, 2)
    days[0] = START - timedelta(days=2)
    assert SentFile(path, lambda: days[0]).spent_bytes == 20
    days[0] = START + timedelta(days=1)
    assert SentFile(path, lambda: days[0]).spent_bytes == 0
    path.write_text("{")
    assert SentFile(path, lambda: days[0]).names == frozenset()
