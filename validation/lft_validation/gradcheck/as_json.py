"""Reports for programs: what the tables say, with all digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lft_validation.gradcheck.derivatives import Derivatives
from lft_validation.gradcheck.rows import Row
from lft_validation.runs import installed


def as_json(
    rows: Sequence[Row], seed: int, derivatives: Sequence[Derivatives] = ()
) -> dict[str, Any]:
    """Return all reports; what is no finite number is null."""
    return {
        "seed": seed,
        "versions": installed(),
        "passed": all(row.report.passed for row in rows) and all(d.passed for d in derivatives),
        "rows": [_row(row) for row in rows],
        "networks": [plain(d._asdict() | {"passed": d.passed}) for d in derivatives],
    }


def _row(row: Row) -> dict[str, Any]:
    report, first = row.report, row.report.first
    return row.setting._asdict() | {
        "passed": report.passed,
        "conclusion": report.conclusion(),
        "tolerance": report.tolerance,
        "judge": report.judge,
        "first_wrong": None if first is None else plain(first._asdict()),
        "worst_term": _number(report.worst),
        "relative_error": _number(report.relative_error),
        "cosine": _number(report.cosine),
        "methods": plain(
            report.methods._asdict()
            | {
                name: None if curve is None else curve._asdict()
                for name, curve in (
                    ("central", report.methods.central),
                    ("taylor", report.methods.taylor),
                )
            }
        ),
        "kinks": [plain(kink._asdict()) for kink in report.kinks],
        "terms": [plain(finding._asdict()) for finding in report.findings],
    }


def plain(value: Any) -> Any:
    """Return a value without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
