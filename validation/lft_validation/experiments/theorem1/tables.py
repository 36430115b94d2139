"""Theorem 1's results as text: table.md, and what is shown in the terminal."""

from __future__ import annotations

from typing import Any

from lft_validation.experiments.theorem1.config import Config
from lft_validation.report import markdown_table

HOW_TO_READ = (
    "Gap: ‖∇F − ∇F̂‖ with its 95 % Monte-Carlo interval; “< x” where 0 lies inside. Single draws: "
    "root mean square over draws of (D_tr, D_val) and tasks. Bound: (11) with the smallest G and "
    "σ that A2 and A3 allow at that point (largest mean over tasks and steps). Ratio: bound over "
    "gap, or over the gap's upper limit. G and σ apart: (11) with a pair of them for ∇_θ f and "
    "another for ∂θ/∂Φ, as (S22) and (S26) use them. An asterisk: one draw has more than half of "
    "the variance, so that the interval cannot be trusted. Found: a length (its interval) in units "
    "of what stands after ×, the length of the mean ∇_θ f for A1 and of L2O's ∇_Φ for the proof. "
    "Not contradicted: 0 lies inside. By construction: means over finite populations are finite, "
    "so the number alone says something. One draw dominates: as the asterisk."
)


def markdown(config: Config, summary: dict[str, Any]) -> str:
    """Return table.md: the grid, the exponents, the checks, the conclusion."""
    head = (
        f"{config.tasks} tasks of each family, {config.draws} draws of (D_tr, D_val) for each task "
        f"and point, ∂θ/∂Φ in full for {config.jacobian_draws} of them; K = {config.unroll}, "
        f"w_k = 1/K, mean losses, {config.lstm_units} LSTM units, float64."
    )
    parts = ["# Theorem 1: both sides of (11)", head, conclusion(summary)]
    for series in summary["series"]:
        parts += [f"## {title(series)}", *_series(series)]
    return "\n\n".join([*parts, HOW_TO_READ]) + "\n"


def title(series: dict[str, Any]) -> str:
    """Name a series."""
    return f"{series['family']}, {series['phi']} Φ, seed {series['seed']}"


def _series(series: dict[str, Any]) -> list[str]:
    rows = [("D_tr", "D_val", "gap", "single draws", "bound (11)", "ratio", "G and σ apart")]
    for row in series["grid"]:
        rows.append(
            (
                str(row["D_tr"]),
                str(row["D_val"]),
                told(row["gap"]),
                f"{row['single']['value']:.3g}",
                f"{row['bound']:.3g}",
                f"{'' if row['gap']['resolved'] else '> '}{row['ratio']:.3g}",
                f"{row['bound_of_parts']:.3g}",
            )
        )
    exact = [("D_tr", "gap, expectation over D_val taken", "G_rms σ / √D_tr")]
    proved = {row["D_tr"]: row["proved"] for row in series["grid"]}
    for row in series["gap_by_train_size"]:
        exact.append((str(row["D_tr"]), told(row), f"{proved[row['D_tr']]:.3g}"))
    fits = [("exponent of", "fitted", "95 % interval", "points")]
    for name, fit in series["exponents"].items():
        fits.append((name, *fitted(fit)))
    return [markdown_table(rows), markdown_table(exact), markdown_table(fits), _checks(series)]


def told(gap: dict[str, Any]) -> str:
    """Return a gap with its interval, or its upper limit; an asterisk for a dominated error."""
    mark = "*" if gap["top_share"] >= 0.5 else ""
    if gap["low"] <= 0.0:
        return f"< {gap['high']:.2g}{mark}"
    return f"{gap['value']:.3g} ({gap['low']:.2g} … {gap['high']:.2g}){mark}"


def fitted(fit: dict[str, Any] | None) -> tuple[str, str, str]:
    """Return exponent, interval and number of points of a fit."""
    if fit is None:
        return "–", "fewer than three points told from 0", "–"
    return (
        f"{fit['exponent']:.2f}",
        f"{fit['low']:.2f} … {fit['high']:.2f}",
        str(fit["points"]),
    )


def _checks(series: dict[str, Any]) -> str:
    D_tr = few_shot(series)
    rows = [("where", "what", f"found at D_tr = {D_tr}", "verdict")]
    for check in series["checks"][str(D_tr)] + series["checks_over_sizes"]:
        rows.append((check["where"], check["what"], check["found"], check["verdict"]))
    return markdown_table([tuple(cell.replace("|", "\\|") for cell in row) for row in rows])


def few_shot(series: dict[str, Any]) -> int:
    """Return the |D_tr| nearest to ten shots."""
    return min((int(D) for D in series["checks"]), key=lambda D: abs(D - 10))


def conclusion(summary: dict[str, Any]) -> str:
    """Say in sentences what the numbers say: is (11) true here, is it tight, has it the shape?"""
    rows = [row for series in summary["series"] for row in series["grid"]]
    above = sum(row["above_bound"] for row in rows)
    resolved = [row["ratio"] for row in rows if row["gap"]["resolved"]]
    sentences = [
        f"The gap is above the bound at {above} of {len(rows)} points."
        if above
        else f"The gap is below the bound at all {len(rows)} points."
    ]
    if resolved:
        sentences.append(
            f"Where the gap is told from 0 ({len(resolved)} points), the bound is "
            f"{min(resolved):.3g} to {max(resolved):.3g} times the gap."
        )
    sentences += _shape(summary)
    return " ".join(sentences)


def _shape(summary: dict[str, Any]) -> list[str]:
    """Exponents over all series: the range of each, beside what (11) has."""
    names = {
        "gap in D_tr": "In |D_tr| the gap goes like a power between {low:.2f} and {high:.2f}; (11) "
        "has −1/2 at best.",
        "gap in D_val": "In |D_val| its exponent lies between {low:.2f} and {high:.2f}: D_val is "
        "independent of θ^(k), so its size cannot matter.",
        "single in D_tr = D_val": "The root mean square gap of single draws has exponents between "
        "{low:.2f} and {high:.2f} along D_tr = D_val, where (11) has −1/2.",
    }
    sentences = []
    for start, text in names.items():
        fits = [
            fit["exponent"]
            for series in summary["series"]
            for name, fit in series["exponents"].items()
            if fit is not None and name.startswith(start)
        ]
        if fits:
            sentences.append(text.format(low=min(fits), high=max(fits)))
    return sentences


def show(config: Config, summary: dict[str, Any]) -> None:
    """Print the few-shot corner of each series and the conclusion, readable in 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    table = Table(title="Theorem 1: both sides of (11)", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("tasks", "Φ"):
        table.add_column(name)
    for name in ("D_tr", "D_val", "gap", "± 95 %", "single", "bound", "ratio"):
        table.add_column(name, justify="right")
    wide = max(config.val_sizes)
    for series in summary["series"]:
        for row in series["grid"]:
            if row["D_val"] == wide:
                table.add_row(series["family"], series["phi"], *_shown(row))
    out.print(table)
    out.print(conclusion(summary))


def show_details(summary: dict[str, Any]) -> None:
    """Print exponents, checks at the few-shot size, and how the estimator did where it is known."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    for series in summary["series"]:
        fits = Table(title="Exponents", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("of", "fitted", "95 % interval", "points"):
            fits.add_column(name)
        for name, fit in series["exponents"].items():
            fits.add_row(name, *fitted(fit))
        found = Table(title="Does it hold?", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("where", "what", "found", "verdict"):
            found.add_column(name)
        for check in series["checks"][str(few_shot(series))] + series["checks_over_sizes"]:
            found.add_row(check["where"], check["what"], check["found"], check["verdict"])
        out.print(fits, found)
    e = summary["estimator"]
    out.print(
        f"The estimator on the closed-form case: {e['value']:.3g} ({e['low']:.3g} … "
        f"{e['high']:.3g}), true {e['truth']:.3g}."
    )


def _shown(row: dict[str, Any]) -> list[str]:
    gap = row["gap"]
    half = (gap["high"] - gap["low"]) / 2
    return [
        str(row["D_tr"]),
        str(row["D_val"]),
        f"{gap['value']:.2g}",
        f"{half:.1g}",
        f"{row['single']['value']:.2g}",
        f"{row['bound']:.2g}",
        f"{'' if gap['resolved'] else '>'}{row['ratio']:.2g}",
    ]
