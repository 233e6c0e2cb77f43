"""Takes in what devices have measured; part of ingest. What they say is checked against what they were asked."""

from datetime import datetime

from sqlmodel import Session

from shoal_contract.benchmarks import BenchmarkResult, misfit
from shoal_hub.benchmarks.offer import close_device
from shoal_hub.benchmarks.tables import Benchmark, BenchmarkDevice
from shoal_hub.database import announce
from shoal_hub.events.record import record_event


def take_benchmark_result(session: Session, device_id: str, result: BenchmarkResult, now: datetime) -> None:
    """Keep what a device has measured, once; what it was not asked is dropped with an event.

    What comes late of a device that was given up counts, while its benchmark runs: it has been measured.
    """
    session.flush()
    # In this order: who offers the benchmark holds it while devices are given up, and what is read before is old then.
    benchmark = session.get(Benchmark, result.benchmark, with_for_update=True, populate_existing=True)
    row = session.get(BenchmarkDevice, (result.benchmark, device_id), populate_existing=True)
    if row is None or benchmark is None:
        _refuse(session, device_id, result, "which it was not given")
        return
    is_late = row.outcome in {"expired", "gone"} and row.result is None and result.outcome in {"done", "expired"}
    if benchmark.state != "running" or not (row.outcome == "open" or is_late):
        return
    files = {one["name"]: one["sha256"] for one in benchmark.body["candidates"]}
    if problem := misfit(result, files, benchmark.samples):
        _refuse(session, device_id, result, f"but {problem}")
        close_device(session, row, "failed", now)
        row.problem = {"code": "benchmark", "message": problem, "remedy": "update the device's agent"}
        return
    close_device(session, row, result.outcome, now)
    row.result = result.model_dump(mode="json")
    row.problem = None if result.problem is None else result.problem.model_dump(mode="json")
    session.add(row)
    announce(session, "compression")


def _refuse(session: Session, device_id: str, result: BenchmarkResult, why: str) -> None:
    text = f"{device_id} told the end of a benchmark {result.benchmark}, {why}"
    record_event(session, "benchmark_uninvited", text[:1000], device_id=device_id, severity="warning")
