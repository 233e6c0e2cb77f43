"""Writes what checks have found as one HTML page, whole in itself: what failed first, then each column drawn."""

import html
from collections.abc import Iterator, Sequence
from typing import Any, Final

from shoal_training.validation.pictures import missing_bars, spread
from shoal_training.validation.profile import MAX_COLUMNS, ColumnProfile

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1f2933}"
    "table{border-collapse:collapse;margin:1rem 0;width:100%}th,td{padding:.3rem .8rem;border-bottom:1px solid #d9dee3;"
    "text-align:left;vertical-align:top}.fail{color:#b42318;font-weight:600}.warn{color:#a15c07;font-weight:600}"
    ".holds{color:#1b7f4b}.columns{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:1.2rem}"
    ".column{border:1px solid #d9dee3;border-radius:6px;padding:.6rem .8rem;overflow:hidden}h3{margin:0;font-size:1em}"
    "p{margin:.3rem 0}code{font-size:.85em;overflow-wrap:anywhere}svg{max-width:100%;height:auto}"
)
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Whatever a name or a text of the data says, nothing is loaded and nothing runs."""
_ORDER: Final = {"fail": 0, "quarantine": 1, "warn": 2}


def report_page(
    title: str, described: dict[str, Any], profiles: Sequence[ColumnProfile], quarantined: str | None = None
) -> str:
    """Return the page.

    Args:
        title: Of the pipeline.
        described: What the checks came to, see `ValidationResult.described`.
        profiles: Of the columns.
        quarantined: Name of the file with the rows that were left out; None: there are none.
    """
    body = [f"<h1>{html.escape(title)}: its data</h1>", *_summary(described, quarantined), _checks(described["checks"])]
    bars = missing_bars(profiles)
    body.append(f"<h2>Missing values</h2>{bars or '<p>None.</p>'}")
    note = "; the line is of the version before" if any(one.before for one in profiles) else ""
    more = f"<p>The first {MAX_COLUMNS} are shown.</p>" if len(profiles) == MAX_COLUMNS else ""
    body.append(f"<h2>Columns</h2><p>How values are spread{note}.</p>{more}")
    body.append(f'<div class="columns">{"".join(_column(one) for one in profiles)}</div>')
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    head = f'<meta charset="utf-8">{policy}<title>{html.escape(title)}: its data</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _summary(described: dict[str, Any], quarantined: str | None) -> Iterator[str]:
    checks = described["checks"]
    failed = [one for one in checks if not one["passed"]]
    ends = [one for one in failed if one["action"] == "fail"]
    verdict = "The run was ended" if ends or not described["kept"] else "The run went on"
    yield f"<p>{verdict}: {len(failed)} of {len(checks)} checks do not hold.</p>"
    left_out = described["rows"] - described["kept"]
    told = f", which are in <code>{html.escape(quarantined)}</code>" if quarantined else ""
    yield f"<p>{described['rows']:,} rows; {left_out:,} left out{told}.</p>"


def _checks(checks: Sequence[dict[str, Any]]) -> str:
    """Return the table of checks, those that end a run first and those that hold last."""
    if not checks:
        return "<p>No check is asked for.</p>"
    ordered = sorted(checks, key=lambda one: (one["passed"], _ORDER[one["action"]]))
    rows = "".join(_check_row(one) for one in ordered)
    return f"<h2>Checks</h2><table><tr><th></th><th>check</th><th>found</th><th>asked</th></tr>{rows}</table>"


def _check_row(one: dict[str, Any]) -> str:
    state = "holds" if one["passed"] else "warn" if one["action"] == "warn" else "fail"
    told = "holds" if one["passed"] else {"fail": "fails", "quarantine": "left out", "warn": "warns"}[one["action"]]
    fields = ", ".join(f"{name}: {_short(value)}" for name, value in one["fields"].items() if name != "action")
    return (
        f'<tr><td class="{state}">{told}</td><td>{html.escape(one["check"])}</td>'
        f"<td>{html.escape(one['message'])}</td><td><code>{html.escape(fields)}</code></td></tr>"
    )


def _column(one: ColumnProfile) -> str:
    facts = [one.type, f"{one.missing_ratio:.2%} missing"]
    facts += [] if one.distinct is None else [f"{one.distinct:,} different values"]
    about = html.escape("; ".join(facts))
    return f'<div class="column"><h3>{html.escape(one.name)}</h3><p>{about}</p>{spread(one)}</div>'


def _short(value: Any) -> str:  # noqa: ANN401 - what JSON has
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 200 else text[:199] + "…"  # noqa: PLR2004 - what a cell takes
