"""Table 1 as text: the paper beside our numbers, then the claims."""

from __future__ import annotations

from typing import Any

from lft_validation.experiments.uap.config import ZEROTH, Config, make_config
from lft_validation.report import markdown_table, number
from lft_validation.stats import RULE

HOW_TO_READ = (
    "Success is the share of a task's unseen images (D_val), among those that the victim "
    "classifies correctly without θ, that it classifies wrongly with θ; then the mean over tasks. "
    'Mean |θ| is per pixel, with pixels from -0.5 to 0.5. "100 % at" is the first step at which '
    "the mean success is 100 %. n/a: MAML's shared θ has the size of the images that it was "
    "trained on, and cannot be added to others.\n\n"
    "Differences are paired over tasks. Intervals are 95 % bootstrap intervals over the pooled "
    "tasks, of a union over those of each source by themselves: they speak of new tasks for the "
    f"fine-tuners trained here. {RULE} "
    "Beside the paper's numbers or words stand our means over "
    "tasks. Steps: the paper's are the first at which the mean over tasks is 100 %, ours the mean "
    "of each task's own first step; a task that is never fooled counts one step more than were "
    "made. All steps: the mean of the curve. The loss is (12) on D_tr. Less mean |θ| is a merit "
    "only beside the same success. Tasks of two sources are paired by their number. No correction "
    "is made for the number of claims."
)
HEAD = (
    "setting", "training", "testing", "method", "success: paper", "ours ± sd", "mean abs θ: paper",
    "ours", "100 % at: paper", "ours", "on D_tr", "on all of D_val", "of each seed", "queries",
)  # fmt: skip


def percent(share: float | None) -> str:
    """Return a share as a percentage; of nothing there is none.

    Example:
        >>> percent(0.257), percent(None)
        ('26 %', 'none counts')
    """
    return "none counts" if share is None else f"{100.0 * share:.0f} %"


def _success(at: dict[str, Any]) -> str:
    spread = "" if at["val"] is None else f" ± {percent(at['val_sd'])}"
    return percent(at["val"]) + spread


def _step(row: dict[str, Any], at: dict[str, Any]) -> str:
    if at["val"] is None:
        return "–"
    return "never" if row["first_step"] is None else str(row["first_step"])


def markdown(config: Config, summary: dict[str, Any]) -> str:
    """Return table.md."""
    paper = make_config("paper", {})
    counts = ("meta_tasks", "steps", "unroll", "test_tasks", "classes", "shots", "val_shots")
    same = all(getattr(config, name) == getattr(paper, name) for name in counts)
    text = (
        f"{config.meta_tasks} meta-training tasks, {config.test_tasks} test tasks for each of "
        f"{len(config.seeds)} seeds, backend {config.backend}, {config.dtype}: "
        f"{'' if same else 'not '}the counts of the paper. λ = {config.l1}, κ = {config.kappa}, "
        f"w_k: {config.weighting}, images cut off in the loss: {config.clip_images}."
    )
    return (
        f"# Table 1: universal perturbations after {config.table_step} fine-tuning steps\n\n"
        f"{text}\n\n{_results(config, summary)}\n{_claims(summary)}\n{HOW_TO_READ}\n"
    )


def _results(config: Config, summary: dict[str, Any]) -> str:
    rows = [HEAD]
    for row in summary["rows"]:
        at, paper = row["at"][str(config.table_step)], row["paper"]
        queries = row["queries_per_step"]
        rows.append((
            row["setting"], row["training"], row["testing"], row["method"],
            percent(paper["success"]) if paper else "–",
            _success(at),
            f"{paper['strength']}" if paper else "–",
            number(at["strength"]),
            (str(paper["step"]) if "step" in paper else "N/A") if paper else "–",
            _step(row, at),
            percent(at["train"]), percent(at["val_all"]),
            ", ".join(percent(x) for x in row["success_by_seed"]),
            "–" if queries is None else f"{queries} a step",
        ))  # fmt: skip
    for row in summary["not_applicable"]:
        empty = ("n/a",) * (len(HEAD) - 4)
        rows.append(("any", row["training"], row["testing"], row["method"], *empty))
    return markdown_table(rows)


def _claims(summary: dict[str, Any]) -> str:
    rows = [("claim", "has", "setting", "training", "testing", "paper", "ours",
             "paired difference", "95 % interval", "of each seed", "verdict")]  # fmt: skip
    for claim in summary["claims"]:
        d = claim["difference"]
        whose = "" if claim["of_the_paper"] else " (not claimed by the paper)"
        rows.append((
            claim["claim"] + whose, claim["measure"].replace("|θ|", "abs θ"),
            claim["setting"], claim["training"], claim["testing"],
            claim["paper"], " vs ".join(_mean(claim["measure"], x) for x in claim["ours"]),
            number(d["mean"]), _interval(d),
            " ".join(number(x) for x in d["by_seed"]), claim["verdict"],
        ))  # fmt: skip
    return markdown_table(rows)


def _interval(difference: dict[str, Any]) -> str:
    ends = [difference[end] for end in ("low", "high")]
    return "too few tasks count" if None in ends else " … ".join(map(number, ends))


def _mean(measure: str, value: float | None) -> str:
    if value is None:
        return "none counts"
    if "success" in measure:
        return f"{100.0 * value:.1f} %"
    return f"{value:.1f}" if "steps to" in measure else number(value)


def show(config: Config, summary: dict[str, Any]) -> None:
    """Print the table and the claims, readable in 80 columns."""
    from rich.console import Console

    out = Console()
    for setting in config.settings:
        out.print(_shown_results(config, summary, setting))
        claims = [c for c in summary["claims"] if c["setting"] == setting and c["of_the_paper"]]
        if claims:
            out.print(_shown_claims(claims, setting))
    if summary["claims"]:
        out.print(RULE, style="dim")


def _shown_results(config: Config, summary: dict[str, Any], setting: str) -> Any:
    from rich import box
    from rich.table import Table

    title = f"Table 1, {setting}: after {config.table_step} steps, ours (paper)"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for name in ("training → testing", "method"):
        table.add_column(name)
    for name in ("success", "mean |θ|", "100 % at"):
        table.add_column(name, justify="right")
    for row in (r for r in summary["rows"] if r["setting"] == setting):
        at, paper = row["at"][str(config.table_step)], row["paper"]
        cells = [percent(at["val"]), number(at["strength"]), _step(row, at)]
        if paper:
            printed = [percent(paper["success"]), str(paper["strength"])]
            printed.append(str(paper.get("step", "N/A")))
            cells = [f"{ours} ({theirs})" for ours, theirs in zip(cells, printed, strict=True)]
        table.add_row(f"{row['training']} → {row['testing']}", row["method"], *cells)
    for row in summary["not_applicable"] if setting != ZEROTH else ():
        where = f"{row['training']} → {row['testing']}"
        table.add_row(where, row["method"], "n/a", "n/a", "n/a")
    return table


def _shown_claims(claims: list[dict[str, Any]], setting: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=f"Claims, {setting} (paired over tasks, 95 % bootstrap)",
                  box=box.SIMPLE_HEAD)  # fmt: skip
    for name in ("claim", "has", "interval", "verdict"):
        table.add_column(name)
    where = ""
    for claim in claims:
        if where != (where := f"{claim['training']} → {claim['testing']}"):
            table.add_row(f"[bold]{where}[/bold]")
        interval = _interval(claim["difference"])
        table.add_row(claim["claim"], claim["measure"], interval, claim["verdict"])
    return table
