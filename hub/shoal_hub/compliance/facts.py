"""What evidence says, as lines of text that sections of several frameworks ask for. Pure."""

from collections.abc import Iterator

from shoal_hub.compliance.evidence import Evidence
from shoal_hub.compliance.report import ReportField, filled

_CARD = "say it in `card` of the pipeline file, or in model-card.json of the bundle"
_EVALUATION = "ask for it in `model_evaluation` of the pipeline file, and register what it makes"


def said(evidence: Evidence, name: str, field: str) -> ReportField:
    """Return what the makers wrote in a field of the model card."""
    return filled(name, "model card", str(getattr(evidence.card.card, field)), f"{_CARD}: `{field}`")


def makers(evidence: Evidence) -> ReportField:
    """Return who made it, owns it and can be asked."""
    card = evidence.card
    named = {"author": card.author, "owner": card.card.owner, "contact": card.card.contact}
    lines = [f"{name}: {value}" for name, value in named.items() if value]
    return filled("People who answer for it", "model card", lines if card.card.owner else [], f"{_CARD}: `owner`")


def identity(evidence: Evidence) -> ReportField:
    """Return which model, version and files it is."""
    version = evidence.version
    lines = [
        f"model {version.model}, version {version.number}, stage {version.stage}",
        f"registered {version.created_at:%Y-%m-%d %H:%M} UTC by {version.created_by}",
        f"algorithm {version.algorithm}, framework {version.framework}",
        *(f"file {name}: SHA-256 {sha256}" for name, sha256 in sorted(version.files.items())),
    ]
    return filled("Identity", "registry", lines, "")


def interface(evidence: Evidence) -> ReportField:
    """Return what goes in and comes out."""
    version = evidence.version
    lines = [f"input {one['name']}: {one['datatype']} {one['shape']}" for one in version.inputs]
    lines += [f"output {one['name']}: {one['datatype']} {one['shape']}" for one in version.outputs]
    lines += [f"labels: {', '.join(version.labels[:50])}"] if version.labels else []
    return filled("Inputs and outputs", "registry", lines, "")


def origin(evidence: Evidence) -> ReportField:
    """Return the signed statements of where it is from."""
    lines = [f"statement on {one.target or 'the version'}: SHA-256 {one.sha256}" for one in evidence.statements]
    lines += [f"training data: SHA-256 {evidence.card.data_sha256}"] if lines else []
    code = evidence.version.code
    lines += [f"code: commit {code['commit']}{', with changes' if code['is_dirty'] else ''}"] if code else []
    remedy = f"read it once: shoal models provenance {evidence.version.model} {evidence.version.number}"
    return filled("Signed provenance", "provenance", lines, remedy)


def training(evidence: Evidence) -> ReportField:
    """Return how it was trained."""
    recipe = evidence.version.provenance["recipe"]
    lines = [f"{name}: {value}" for name, value in sorted(evidence.version.parameters.items())]
    lines += [f"{name}: {value}" for name, value in sorted(recipe.items())]
    return filled("Training settings and tools", "provenance", lines, "register the version from a pipeline")


def variants(evidence: Evidence) -> ReportField:
    """Return the forms in which it goes to devices."""
    lines = [
        f"{one.target}: {one.precision}, {one.technique}, {one.size_bytes} bytes, accuracy {one.accuracy}"
        for one in evidence.card.variants
    ]
    version = evidence.version
    return filled(
        "Variants for devices", "registry", lines, f"make them: shoal models compress {version.model} {version.number}"
    )


def metrics(evidence: Evidence) -> ReportField:
    """Return what was measured on held-out samples."""
    within = {one.metric: one for one in evidence.card.card.metric_intervals}
    lines = []
    for name, value in evidence.card.metrics.items():
        one = within.get(name)
        known = one is not None and one.low is not None and one.high is not None
        lines.append(f"{name}: {value:.4g}" + (f" ({one.low:.4g} to {one.high:.4g})" if one and known else ""))
    return filled("Metrics with 95 % intervals", "model card", lines, _EVALUATION)


def validation(evidence: Evidence) -> ReportField:
    """Return by which scheme samples were held out."""
    return filled("Validation scheme", "model card", evidence.card.card.validation, _EVALUATION)


def slices(evidence: Evidence) -> ReportField:
    """Return what was measured by slice."""
    lines = [
        f"{one.slice}: {one.metric} {one.value:.4g}"
        + ("" if one.samples is None else f", {one.samples} samples")
        + (", few samples" if one.is_small else "")
        for one in evidence.card.card.metrics_by_slice
    ]
    return filled("Metrics by slice", "model card", lines, f"{_EVALUATION}: `slices`")


def fairness(evidence: Evidence) -> ReportField:
    """Return what was measured between protected groups."""
    lines = [
        f"{one.measure} by {one.slice}: {one.value:.4g}"
        + ("" if one.limit is None else f", limit {one.limit:g}, {'kept' if one.is_within else 'not kept'}")
        for one in evidence.card.card.fairness
    ]
    return filled("Fairness by protected group", "model card", lines, f"{_EVALUATION}: `fairness`")


def explained(evidence: Evidence) -> ReportField:
    """Return what its answers depend on."""
    found = evidence.card.card.explained
    lines = [] if found is None else [
        f"{one.feature}: permutation {one.permutation}, SHAP {one.shap}" for one in found.importances[:20]
    ]  # fmt: skip
    return filled("What its answers depend on", "model card", lines, f"{_EVALUATION}: `explanation`")


def champion(evidence: Evidence) -> ReportField:
    """Return how it fared beside the version that was in use."""
    one = evidence.card.card.champion
    lines = [] if one is None else [
        f"{one.verdict} than {one.champion} in {one.metric}: {one.value:.4g} beside {one.champion_value:.4g}"
    ]  # fmt: skip
    return filled("Beside the version in use", "model card", lines, f"{_EVALUATION}: `champion`")


def watched(evidence: Evidence) -> ReportField:
    """Return what devices have told of it."""
    found = evidence.watched
    lines = [
        f"{found.windows} windows of {found.devices} devices",
        f"{found.requests} requests, {found.samples} samples, {found.errors} errors",
        f"{found.labelled} samples whose truth came back, {found.correct} right",
        f"{found.quarantined} windows that were set aside",
    ]
    return filled("In operation", "monitoring", lines if found.windows else [], "roll it out, and devices tell of it")


def drift(evidence: Evidence) -> ReportField:
    """Return the drift signals that were raised."""
    lines = [
        f"{one.raised_at:%Y-%m-%d %H:%M} UTC: {one.state}, {len(one.devices)} devices, {one.samples} samples"
        for one in evidence.signals
    ]
    if not lines and evidence.watched.windows:
        lines = ["none was raised"]
    return filled("Drift signals", "monitoring", lines, "roll it out, and devices tell of it")


def deployments(evidence: Evidence) -> ReportField:
    """Return the rollouts that brought it to devices."""
    lines = [
        f"{one.id}: {one.state}, {len(one.waves)} waves, from {one.created_at:%Y-%m-%d %H:%M} UTC by {one.created_by}"
        + (f", {one.reason}" if one.reason else "")
        for one in evidence.rollouts
    ]
    return filled("Rollouts", "rollouts", lines, f"start one: shoal rollouts start {evidence.version.model} VERSION")


def stages(evidence: Evidence) -> ReportField:
    """Return its moves through the stages."""
    lines = [
        f"{one.at:%Y-%m-%d %H:%M} UTC: {one.from_stage} to {one.to_stage} by {one.by}"
        + (f", {one.comment}" if one.comment else "")
        for one in evidence.history
    ]
    return filled("Moves through the stages", "registry", lines, "move it: shoal models promote MODEL VERSION STAGE")


def approvals(evidence: Evidence) -> ReportField:
    """Return how many people have to agree to what."""
    lines = [f"{name}: {count}" for name, count in evidence.approvals.items() if count]
    return filled("Approvals that are asked for", "registry", lines, "set them: shoal approvals policy MODEL")


def trail(evidence: Evidence) -> ReportField:
    """Return what the audit trail says of the model."""
    return filled("Changes in the audit trail", "audit trail", list(_changes(evidence)), "look: shoal audit list")


def _changes(evidence: Evidence) -> Iterator[str]:
    for one in evidence.entries[-50:]:
        yield f"{one.sequence}, {one.at:%Y-%m-%d %H:%M} UTC: {one.action} by {one.actor_name or one.actor_role}"
