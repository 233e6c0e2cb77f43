"""A federated run in its job's child process: Flower's strategy over the fleet, then a new version of the model.

The model after each round is kept before the next begins, so that a run that was killed goes on from its last round.
"""

import shutil
from dataclasses import dataclass

from pydantic import BaseModel

from shoal_hub.audit.actor import JOBS
from shoal_hub.audit.record import record
from shoal_hub.database import announce, utc_now
from shoal_hub.errors import HubError, JobError
from shoal_hub.events.record import record_event
from shoal_hub.federation.close import close_run, owner_of
from shoal_hub.federation.rounds import RoundExchange, StoppedError, Weights, from_safetensors, to_safetensors
from shoal_hub.federation.tables import FederatedRun, RunState
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.bundle_files import restore_bundle
from shoal_hub.registry.inspection import inspect_in_child
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.register import RegisterRequest, register
from shoal_hub.registry.versions import find_version

WEIGHTS = "weights.safetensors"


class RunResult(BaseModel):
    """What a run has made."""

    model: str
    version: int


def run(work: JobWork) -> RunResult:
    """Play the rounds of the run that the job names, and register the result.

    Raises:
        HubError: The run has failed or was stopped; its row says why.
    """
    job = FederatedJob(work, str(work.params["run"]))
    exchange = RoundExchange(work.database, work.artifacts, job.run)
    try:
        result = job.execute(exchange)
    except Exception as error:  # whatever stops a run, whoever watches it has to be told
        reason = error.message if isinstance(error, HubError) else str(error) or type(error).__name__
        job.end("stopped" if isinstance(error, StoppedError) else "failed", reason[:2000])
        raise
    finally:
        exchange.end()
    job.end("succeeded", "")
    return result


@dataclass(frozen=True)
class FederatedJob:
    """One run, in the job's process."""

    work: JobWork
    run: str

    def execute(self, exchange: RoundExchange) -> RunResult:
        """Play the rounds that are left and register the result; done already, it does nothing."""
        run, weights = self._load()
        number = run.result_version or self._register(run, self._train(run, weights, exchange))
        return RunResult(model=run.model, version=number)

    def _train(self, run: FederatedRun, weights: Weights, exchange: RoundExchange) -> Weights:
        """Run FedAvg (McMahan et al., arXiv 1602.05629) over the rounds that are left."""
        from flwr.app import ArrayRecord
        from flwr.serverapp.strategy import FedAvg

        from shoal_hub.federation.grid import FleetGrid, to_arrays, to_weights

        left = run.rounds - run.current_round
        if left <= 0:
            return weights
        grid = FleetGrid(run.devices, exchange.play, run.min_devices, first_round=run.current_round)
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=run.min_devices, min_available_nodes=run.min_devices)

        def keep(number: int, arrays: ArrayRecord) -> None:
            if number > 0:
                self._keep(run.current_round + number, to_weights(arrays), run.rounds)

        result = strategy.start(grid, to_arrays(weights), num_rounds=left, evaluate_fn=keep)
        return to_weights(result.arrays)

    def _load(self) -> tuple[FederatedRun, Weights]:
        with self.work.database.session() as session:
            run = session.get(FederatedRun, self.run)
            if run is None:
                raise JobError(f"there is no federated run {self.run}", "start one: shoal federated start")
            version = find_version(session, run.model, str(run.base_version))
            return run, from_safetensors(self.work.artifacts.read(run.weights_sha256 or version.files[WEIGHTS]))

    def _keep(self, number: int, weights: Weights, rounds: int) -> None:
        with self.work.database.transaction() as session:
            run = session.get_one(FederatedRun, self.run)
            run.weights_sha256 = store_artifact(session, self.work.artifacts, to_safetensors(weights)).sha256
            before, run.current_round = {"current_round": run.current_round}, number
            session.add(run)
            after = {"current_round": number, "weights_sha256": run.weights_sha256}
            record(session, JOBS, "federation.close_round", self._subject, before, after)
            record_event(
                session, "round_closed", f"round {number} of {rounds} of {self.run} is in", subject=self._subject
            )
            announce(session, "federated")
        self.work.progress("round", number, rounds)

    def _register(self, run: FederatedRun, weights: Weights) -> int:
        """Make the new version's bundle and register it, with the run as its provenance."""
        from shoal_training.new_version import bundle_from_weights

        parent_dir, bundle_dir = self.work.folder / "parent", self.work.folder / "version"
        for folder in (parent_dir, bundle_dir):
            shutil.rmtree(folder, ignore_errors=True)  # a run that is gone on with makes them anew
        with self.work.database.session() as session:
            parent = find_version(session, run.model, str(run.base_version))
            restore_bundle(self.work.artifacts, parent, parent_dir)
        bundle = bundle_from_weights(
            parent_dir,
            weights,
            bundle_dir,
            author=run.created_by,
            parent_share=run.parent_share,
            algorithm=f"{parent.algorithm}, FedAvg",
            parameters={
                "federated_rounds": run.rounds,
                "federated_devices": len(run.devices),
                "federated_epochs": run.epochs,
                "federated_learning_rate": run.learning_rate,
            },
            tags=("federated",),
            progress=self.work.progress,
        )
        inspection = inspect_in_child(bundle_dir, BundleLimits.of(self.work.settings))
        request = RegisterRequest(parent_version=run.base_version, federated_run=run.id)
        with self.work.database.transaction() as session:
            version = register(
                session, self.work.artifacts, bundle_dir, bundle, inspection, request, by=run.created_by, now=utc_now()
            )
            row = session.get_one(FederatedRun, self.run)
            row.result_version = version.number
            session.add(row)
            subject = f"models/{run.model}/versions/{version.number}"
            record(session, JOBS, "federation.register", subject, {}, {"federated_run": run.id})
        for folder in (parent_dir, bundle_dir):
            shutil.rmtree(folder)
        return version.number

    def end(self, state: RunState, reason: str) -> None:
        """Close the run's row; a stop by an operator stands."""
        with self.work.database.transaction() as session:
            run = session.get(FederatedRun, self.run)
            if run is not None:
                close_run(session, run, state, reason, utc_now(), by=JOBS)

    @property
    def _subject(self) -> str:
        return owner_of(self.run)
