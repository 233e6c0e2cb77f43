"""The compositions of a device: each is a section of its own, and follows what its members' updates do.

A composition is made anew, from one set of members, whenever one of them is swapped; requests that have begun end on
the set that they began with.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from logging import getLogger

from shoal_agent.compositions.engines import Asking, CascadeEngine, ComposedEngine, EnsembleEngine
from shoal_agent.compositions.errors import CompositionError, NotReadyError
from shoal_agent.compositions.fit import composed_manifest, fit
from shoal_agent.errors import AgentError
from shoal_agent.sections import Sections
from shoal_agent.serving import ModelServer, Observer, ServedModel
from shoal_agent.serving.models import Absence
from shoal_contract.compositions import DesiredComposition, Ensemble
from shoal_contract.reported import SectionReport

_log = getLogger(__name__)
PREFIX = "compositions/"
_DEFECT_REMEDY = "this is a defect of the agent: report what its log on the device says"


class Compositions:
    """What is served of the sections `compositions/<name>`. Belongs to the event loop.

    Args:
        server: What serves, members and compositions alike; its `on_change` is taken.
        observer: Sees what members answer.
        report: Takes the report of a section.
    """

    def __init__(self, server: ModelServer, observer: Observer, report: Callable[[str, SectionReport], None]) -> None:
        self._server = server
        self._asking = Asking(observer)
        self._report = report
        self._wanted: dict[str, DesiredComposition] = {}
        self._is_placing = False
        server.on_change = self._on_change

    def show(self, observer: Observer) -> None:
        """Have another observer see what members answer."""
        self._asking.observer = observer

    def follow(self, wanted: Mapping[str, DesiredComposition] | None, sections: Sections) -> None:
        """Set every composition on its way, and those that are not wanted any more on theirs."""
        wanted = wanted or {}
        self._wanted.update(wanted)
        for name, body in wanted.items():
            sections.want(PREFIX + name, body, "", partial(self._converge, name))
        asked = {key.removeprefix(PREFIX) for key in sections.keys(PREFIX)}
        for name in (asked | self._wanted.keys()) - wanted.keys():
            sections.want(PREFIX + name, None, "", partial(self._remove, name))

    def close(self) -> None:
        """Serve no composition any more, so that members close as soon as they are swapped out."""
        for name in list(self._wanted):
            self._drop(name)

    async def _converge(self, name: str) -> None:
        """Serve a composition as it is wanted.

        Raises:
            CompositionError: Its members do not fit each other, or its declaration.
            NotReadyError: A member is not served; it is once that is.
        """
        if (problem := self._place(name)) is not None:
            raise problem

    async def _remove(self, name: str) -> None:
        self._drop(name)

    def _drop(self, name: str) -> None:
        if self._wanted.pop(name, None) is not None and not self._is_anothers(name):
            self._put(name, None)

    def _on_change(self, changed: str) -> None:
        """Make those anew that a model is a member of; whatever comes of it, the model's own swap goes on."""
        if self._is_placing:
            return
        for name, wanted in list(self._wanted.items()):
            if changed != name and changed not in wanted.models:
                continue
            try:
                problem = self._place(name)
            except Exception as error:  # noqa: BLE001 - logged with its traceback and reported; all else goes on
                _log.exception("composition %s: a defect of the agent", name)
                problem = AgentError(f"composing {name!r}: {error!r}", _DEFECT_REMEDY)
            self._report(PREFIX + name, _report_of(problem))

    def _place(self, name: str) -> AgentError | None:
        """Have a composition serve with what is served of its members now; return why it does not."""
        if self._is_anothers(name):
            message = f"serving the composition {name!r}: a model of this name is served"
            return CompositionError(message, "give the composition a name of its own")
        wanted = self._wanted[name]
        try:
            served = self._made(name, wanted)
        except AgentError as error:
            self._put(name, None, Absence(str(wanted.version), error, needs=wanted.models))
            return error
        self._put(name, served)
        return None

    def _put(self, name: str, served: ServedModel | None, absence: Absence | None = None) -> None:
        self._is_placing = True
        try:
            self._server.put(name, served, absence)
        finally:
            self._is_placing = False

    def _is_anothers(self, name: str) -> bool:
        served = self._server.get(name)
        return served is not None and not served.members

    def _made(self, name: str, wanted: DesiredComposition) -> ServedModel:
        with ExitStack() as borrowed:
            members = []
            for model in wanted.models:
                if model in self._wanted and not self._is_anothers(model):
                    message = f"serving the composition {name!r}: its member {model!r} is a composition"
                    raise CompositionError(message, "name the models that it is made of instead")
                served = borrowed.enter_context(self._server.borrow(model, is_use=False))
                if served is None:
                    raise self._not_ready(name, model)
                members.append(served)
            fitted = fit(wanted, members)
            manifest = composed_manifest(name, wanted, fitted)
            engine: ComposedEngine
            if isinstance(wanted.form, Ensemble):
                engine = EnsembleEngine(wanted.form, fitted, self._asking, borrowed.pop_all().close)
            else:
                engine = CascadeEngine(wanted.form, fitted, self._asking, borrowed.pop_all().close)
            sha256 = _sha256_of(wanted, members)
            return ServedModel(
                name,
                wanted.version,
                wanted.form.kind,
                manifest,
                sha256,
                engine,
                members=tuple(members),
                combined=fitted.output,
            )

    def _not_ready(self, name: str, model: str) -> NotReadyError:
        absence = self._server.absent().get(model)
        why = f": {absence.why}" if absence is not None else ""
        remedy = absence.why.remedy if absence is not None else None
        return NotReadyError(f"the composition {name!r} is not ready: its member {model!r} is not served{why}", remedy)


def _sha256_of(wanted: DesiredComposition, members: list[ServedModel]) -> str:
    """Return what stands for a manifest's hash: another one for each declaration and each set of members."""
    said = [wanted.model_dump_json(), *(f"{member.manifest_sha256}/{member.target}" for member in members)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _report_of(problem: AgentError | None) -> SectionReport:
    if problem is None:
        return SectionReport(state="applied")
    if isinstance(problem, NotReadyError):
        return SectionReport(state="held", step="wait", problem=problem.to_problem())
    return SectionReport(state="failed", problem=problem.to_problem())
