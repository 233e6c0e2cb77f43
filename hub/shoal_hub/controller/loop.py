"""The controller's loop: wait for a word or the clock, then reconcile everything by level.

Each step is persisted before its effects at the broker, so a kill at any point resumes. One thread; the connection
to the broker has its own.
"""

import logging
import math
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from shoal_contract import topics
from shoal_contract.errors import ContractError
from shoal_hub.audit.anchor import AuditSigner
from shoal_hub.audit.record import WAKE as AUDIT_WAKE
from shoal_hub.captures.asking import follow_captures
from shoal_hub.compositions.placing import follow_compositions
from shoal_hub.controller.compose_desired import DesiredComposer
from shoal_hub.controller.election import Election, FencedError
from shoal_hub.controller.pace import LEASING_NOTHING, Pace, Speaker, SweepPace, Turn
from shoal_hub.controller.publish_desired import DesiredPublisher
from shoal_hub.controller.publish_trust import TrustPublisher
from shoal_hub.controller.revocations import Revocations
from shoal_hub.database import Database, utc_now
from shoal_hub.devices.desired import due_devices, mark_due, new_devices, out_of_step
from shoal_hub.devices.desired_tables import ENROLLED
from shoal_hub.devices.lost import note_lost
from shoal_hub.devices.resign import BATCH, sign_states, states_to_sign
from shoal_hub.devices.silence import note_silence
from shoal_hub.errors import HubError
from shoal_hub.features.placing import follow_features
from shoal_hub.federation.close import close_orphans
from shoal_hub.jobs.runner import JobRunner
from shoal_hub.meters import CONTROLLER_FAILURES, CONTROLLER_LAST_PASS, CONTROLLER_PASS_SECONDS
from shoal_hub.monitoring.prune import WindowPruner
from shoal_hub.monitoring.settle import settle_signals
from shoal_hub.mqtt import Connected, Connection, Disconnected, Endpoint, Event, Message, MqttError, Subscription
from shoal_hub.rollouts.reconcile import pass_rollouts
from shoal_hub.transfer.deltas import end_unwanted_deltas
from shoal_hub.transfer.leases import LEASES
from shoal_hub.transfer.needs import drop_settled_leases
from shoal_hub.transfer.publishing import Transfers
from shoal_hub.trials.settle import settle_trials
from shoal_hub.trials.tell import tell_trials
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.version_keys import VersionKeys
from shoal_hub.wake import INGEST, Wake, read_wake, wake

log = logging.getLogger(__name__)

_MAX_ROLLOUT_STEPS: Final = 100
_LONGEST_DRAIN_S: Final = 0.2
"""How long, amid work, words are read before it goes on."""
_TRUST_PREFIX: Final = topics.TRUST_FILTER.removesuffix("#")
_STAND_S: Final = 1.0
"""Between two tries to be elected."""
_JOBS_TICK_S: Final = 2.0
"""Between two looks at most while jobs are at work, whose processes say no word of what they have come to."""


class ControllerError(HubError):
    """The controller cannot go on; the supervisor starts it again."""

    code = "controller"


class Chore(Protocol):
    """What is done beside, tick by tick: lets go what was kept for its time, looks at alerts, tells of them."""

    def step(self, now: datetime) -> int:
        """Do some of it, and return how much."""


class Controller:
    """Runs until it is stopped, or until another controller has taken over."""

    def __init__(
        self,
        database: Database,
        director: Director,
        version_keys: VersionKeys,
        trust: HubTrust,
        election: Election,
        transfers: Transfers,
        runner: JobRunner,
        revocations: Revocations,
        endpoint: Endpoint,
        signer: AuditSigner,
        chores: Sequence[Chore],
        *,
        tick_s: float,
        presence_grace: timedelta,
        desired_life: timedelta,
        window_retention: timedelta,
        delta_wait: timedelta,
        longest_rest_s: float,
        longest_sweep_rest_s: float,
    ) -> None:
        self._database = database
        self._director = director
        self._trust = trust
        self._election = election
        self._transfers = transfers
        self._runner = runner
        self._revocations = revocations
        self._signer = signer
        self._tick_s = tick_s
        self._presence_grace = presence_grace
        self._desired_life = desired_life
        self._window_pruner = WindowPruner(database, window_retention)
        self._chores = chores
        self._delta_wait = delta_wait
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        subscriptions = [
            Subscription(topics.HUB_WAKE, qos=0),
            Subscription(topics.HUB_WATERMARK),
            Subscription(topics.TRUST_FILTER),
            Subscription(topics.HUB_AUDIT),
        ]
        self._connection = Connection(endpoint, subscriptions, self._events)
        self._composer = DesiredComposer(database, director, version_keys, desired_life)
        self._desired = DesiredPublisher(database, director.epoch)
        self._metadata = TrustPublisher(database, trust)
        self._stopping = threading.Event()
        self._pace = Pace(longest_rest_s)
        self._sweep_pace = SweepPace(longest_sweep_rest_s)
        self._at_it = 0
        self._name = f"controller-{secrets.token_hex(8)}"
        self._began_at = utc_now()
        self._retained_mark: bytes | None = None
        self._retained_anchor: bytes | None = None
        self._probe = ""
        self._is_told = self._is_busy = self._has_artifacts_to_move = False

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until `stop`; `on_ready` is called once the broker has been compared with the database.

        A second controller is ready as soon as it waits for the first to go: only the one in charge connects.

        Raises:
            FencedError: Another controller has taken over.
            ControllerError: The thread that follows revocations has ended.
        """
        if not self._stand(on_ready):
            return
        self._connection.start()
        self._revocations.start()
        next_tick = 0.0
        is_ready = False
        try:
            while not self._stopping.is_set():
                if self._revocations.has_ended:
                    raise ControllerError("the thread that follows revocations has ended; its error is above")
                what = self._wait(next_tick)
                began_s, began_cpu_s = time.monotonic(), time.thread_time()
                turn = self._turn(what, began_s, is_tick=began_s >= next_tick)
                if not (turn.what or turn.is_tick or self._is_busy):
                    continue
                if turn.is_tick:
                    next_tick = began_s + self._tick_s
                with CONTROLLER_PASS_SECONDS.labels(turn.kind).time():
                    self._reconcile_safely(utc_now(), turn)
                CONTROLLER_LAST_PASS.set_to_current_time()
                next_tick = min(next_tick, began_s + self._until_next_tick_s())  # it may have started a job
                if turn.passes:
                    self._pace.rest(time.thread_time() - began_cpu_s, time.monotonic(), self._at_it)
                if self._is_told and not is_ready:
                    is_ready = True
                    on_ready()
        finally:
            self._end()

    def stop(self) -> None:
        """Have `run` end; safe to call from another thread."""
        self._stopping.set()
        self._events.put(Disconnected("the controller stops"))

    def wake(self, what: frozenset[str]) -> None:
        """Tell the hub's other processes, and this one, what changed."""
        self._revocations.hear(what)
        self._has_artifacts_to_move |= LEASES in what
        wake(self._connection, what, self._name)

    def _end(self) -> None:
        with ExitStack() as ending:  # each of them, whatever one raises
            ending.callback(self._election.resign)
            ending.callback(self._connection.stop)
            ending.callback(self._revocations.stop)
            ending.callback(self._runner.stop)

    def _stand(self, on_ready: Callable[[], None]) -> bool:
        """Wait until this controller is in charge; return whether it is, or was stopped before."""
        if self._election.stand():
            return True
        log.info("another controller is in charge; this one waits")
        on_ready()
        while not self._stopping.wait(_STAND_S):
            if self._election.stand():
                log.info("this controller is in charge now")
                return True
        return False

    def _wait(self, next_tick: float) -> frozenset[str]:
        """Wait until words are to be followed or the next tick, amid work only to read what there is; return words."""
        latest_s = time.monotonic() + _LONGEST_DRAIN_S if self._is_busy else math.inf
        while not self._stopping.is_set():
            due_s, now_s = min(next_tick, self._pace.due_s, latest_s), time.monotonic()
            if now_s >= due_s:
                break
            try:
                self._take(self._events.get(timeout=0.0 if self._is_busy else due_s - now_s))
            except queue.Empty:
                break
        return self._pace.take() if time.monotonic() >= self._pace.due_s else frozenset()

    def _until_next_tick_s(self) -> float:
        return min(self._tick_s, _JOBS_TICK_S) if self._runner.is_busy else self._tick_s

    def _turn(self, what: frozenset[str], now_s: float, *, is_tick: bool) -> Turn:
        is_sweep = is_tick and self._sweep_pace.is_due(now_s)
        return Turn(
            what,
            is_tick,
            is_sweep,
            is_check=is_sweep or (is_tick and (self._runner.is_busy or not self._is_told)),
            passes=bool(what) or (is_tick and not self._pace.is_resting(now_s)),
        )

    def _take(self, event: Event) -> None:
        match event:
            case Connected():
                self._begin_comparison()
            case Disconnected(reason):
                log.info("%s", reason)
                self._is_told = False
            case Message(topic, payload, is_retained) if topic == topics.HUB_WATERMARK:
                if is_retained:
                    self._retained_mark = payload
                event.acknowledge()
            case Message(topic, payload) if topic.startswith(_TRUST_PREFIX):
                self._metadata.hear(topic, payload)
                event.acknowledge()
                self._pace.hear(frozenset({"trust"}), time.monotonic(), Speaker.OPERATOR)
            case Message(topic, payload, is_retained) if topic == topics.HUB_AUDIT:
                if is_retained:
                    self._retained_anchor = payload
                event.acknowledge()
            case Message(_, payload):
                self._hear(read_wake(payload))

    def _begin_comparison(self) -> None:
        """Send a word to ourselves: retained messages come before it, so that silence then means that there is none."""
        self._retained_mark, self._retained_anchor, self._is_told = None, None, False
        self._metadata.forget()
        self._probe = f"probe-{secrets.token_hex(8)}"
        wake(self._connection, frozenset({self._probe}))

    def _hear(self, word: Wake) -> None:
        if self._probe not in word.what:
            self._revocations.hear(word.what)
            what = frozenset(one for one in word.what if not one.startswith("probe-"))
            said_by = {self._name: Speaker.CONTROLLER, INGEST: Speaker.DEVICES}.get(word.by, Speaker.OPERATOR)
            self._pace.hear(what, time.monotonic(), said_by)
            return
        self._probe = ""
        if not self._desired.compare(self._retained_mark):
            log.info("the broker does not have what it was told: everything is published again")
            self._transfers.assert_all()
        self._signer.compare(self._retained_anchor)
        self._is_told = True
        self._pace.hear(frozenset({"broker"}), time.monotonic(), Speaker.OPERATOR)

    def _reconcile_safely(self, now: datetime, turn: Turn) -> None:
        """Reconcile part by part; one that fails holds up no other and is tried again, since all goes by level."""
        self._is_busy = False
        for part in self._parts(now, turn):
            try:
                part()
            except FencedError:
                raise
            except MqttError as error:
                log.info("%s", error)
            except (SQLAlchemyError, HubError, ContractError, OSError, ValueError):
                CONTROLLER_FAILURES.inc()
                log.exception("a step of the controller failed; it is tried again")

    def _parts(self, now: datetime, turn: Turn) -> Iterator[Callable[[], object]]:
        if turn.what or turn.is_tick:
            yield from self._looks(now, turn)
        if self._is_told:
            yield lambda: self._signer.publish(self._connection)
            yield lambda: self._publish(now, looks_at_leases=turn.is_check or not turn.what <= LEASING_NOTHING)

    def _looks(self, now: datetime, turn: Turn) -> Iterator[Callable[[], object]]:
        """Yield what brings the database in line; amid the publication of many messages there is nothing to look at."""
        if turn.is_tick:
            yield self._election.confirm
        if turn.is_check or "jobs" in turn.what:
            yield self._runner.tick
        if turn.is_tick or "trust" in turn.what:
            yield self._follow_director
            yield self._metadata.look
        if turn.is_sweep or "trust" in turn.what:
            yield lambda: self._trust.mend_ca_bundle(self._database)
            yield lambda: self._metadata.renew(now)
        if turn.passes:
            yield lambda: self._advance_rollouts(now)
        if turn.is_sweep:
            yield from self._sweep(now)
        else:
            yield from self._told(now, turn.what)
        yield lambda: self._refresh_desired(now)
        if turn.is_tick or AUDIT_WAKE in turn.what:
            yield lambda: self._anchor(now, is_urgent=AUDIT_WAKE in turn.what)
        if turn.is_tick:
            yield lambda: settle_trials(self._database, now)
            yield lambda: tell_trials(self._database, now, self._delta_wait)
            yield lambda: note_lost(self._database, now, self._began_at, self._presence_grace)
            yield lambda: self._window_pruner.step(now)
            yield from (partial(one.step, now) for one in self._chores)

    def _told(self, now: datetime, what: frozenset[str]) -> Iterator[Callable[[], object]]:
        """Yield what of a sweep words ask for at once."""
        if "trust" in what:
            yield lambda: self._sign_again(now)
        if ENROLLED in what:
            yield lambda: self._mark(new_devices, now)

    def _sweep(self, now: datetime) -> Iterator[Callable[[], object]]:
        """Yield what goes through all devices or all that is wanted of them, and note what it took altogether."""
        began_cpu_s = time.thread_time()
        yield lambda: self._sign_again(now)
        yield lambda: self._mark(lambda session: self._compare(session, now), now)
        yield lambda: drop_settled_leases(self._database)
        yield lambda: end_unwanted_deltas(self._database)
        yield lambda: close_orphans(self._database)
        yield lambda: follow_features(self._database, now)
        yield lambda: follow_captures(self._database, now)
        yield lambda: follow_compositions(self._database, now)
        yield lambda: settle_signals(self._database, now)
        yield lambda: note_silence(self._database, now, self._began_at)
        self._sweep_pace.rest(time.thread_time() - began_cpu_s, time.monotonic())

    def _advance_rollouts(self, now: datetime) -> None:
        """Take rollouts as far as they go, with one look at a gate: what it comes to is told before the next one."""
        found = pass_rollouts(self._database, now)
        if found.has_looks:
            self._pace.hear(frozenset({"rollouts"}), time.monotonic(), Speaker.CONTROLLER)
        for _ in range(_MAX_ROLLOUT_STEPS):
            self._at_it = found.at_it
            if not found.has_more:
                return
            found = pass_rollouts(self._database, now, looks=False)

    def _follow_director(self) -> None:
        with self._database.session() as session:
            if self._trust.follow(session, self._director):
                log.info("%s signs from now on", self._director.key_id)
        self._desired.epoch = self._director.epoch

    def _sign_again(self, now: datetime) -> None:
        """Sign states again that are half through their life or of an earlier director key, in batches."""
        with self._database.session() as session:
            due = states_to_sign(session, self._director.epoch, now, self._desired_life)
        for start in range(0, len(due), BATCH):
            batch = due[start : start + BATCH]
            with self._database.transaction() as session:
                sign_states(session, self._director, batch, now, self._desired_life)
            self._desired.add(batch)

    def _anchor(self, now: datetime, *, is_urgent: bool) -> None:
        self._signer.step(now, is_urgent=is_urgent)

    def _publish(self, now: datetime, *, looks_at_leases: bool) -> None:
        """Publish metadata before what it vouches for, desired states before artifacts, one of those at a time."""
        self._metadata.step(self._connection, now)
        self._is_busy = self._desired.step(self._connection)
        if looks_at_leases or self._has_artifacts_to_move:
            self._has_artifacts_to_move = True  # until it has looked: the connection may go
            self._has_artifacts_to_move = self._transfers.step(self._connection, now)
            self._is_busy |= self._has_artifacts_to_move

    def _mark(self, find: Callable[[Session], set[str]], now: datetime) -> None:
        """Have the states of the devices that are found composed again."""
        with self._database.session() as session:
            due = find(session)
        if due:
            with self._database.transaction() as session:
                mark_due(session, due, now)

    def _compare(self, session: Session, now: datetime) -> set[str]:
        """Return whose state is to be composed again; to those that are behind with theirs it is told again."""
        found = out_of_step(session)
        self._desired.repeat_for_those_behind(found.behind, now)
        return found.to_compose | due_devices(session, now, self._desired_life)

    def _refresh_desired(self, now: datetime) -> None:
        for new in self._composer.step(now, self._stopping.is_set):
            self._desired.add(new)
