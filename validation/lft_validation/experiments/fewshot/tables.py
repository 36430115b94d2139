"""Tables 2, A1 and A2 and Figure 3 as text: the paper beside our numbers, then the claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lft_validation.experiments.fewshot.claims import EARLY
from lft_validation.experiments.fewshot.config import PAPER, Config
from lft_validation.report import markdown_table
from lft_validation.stats import RULE

TITLES = {
    "table2": "Table 2: few-shot classifiers of different architecture",
    "figure3": "Figure 3: accuracy against fine-tuning steps",
    "tableA1": "Table A1: few-shot classifiers with 1 to 10 shots",
    "tableA2": "Table A2: few-shot classifiers with two and four convolutions",
}
HOW_TO_READ = (
    "Accuracy and loss (cross-entropy, in nats) are measured on images of the task that "
    "fine-tuning did not see; ± is the standard deviation over tasks (of a union, those of all its "
    "sources; the paper does not say over what its own is, and it is too small for tasks). The "
    "intervals are 95 %: of tasks, a bootstrap over the tasks of all seeds, source by source, for "
    "the fine-tuners trained here; of seeds, Student's over the means of seeds, for new trainings "
    "as well. Every method but MAML and FOMAML starts from a random network, the same for all of "
    "them. n/a, in the table and in the figure: MAML and FOMAML do not apply to incongruous tasks, "
    "as their shared θ belongs to one network and cannot start another.\n\n"
    "Differences are paired over tasks, in percentage points, of losses in nats; the paper's are "
    "those of two numbers that it prints, its L2O beside both readings of it. "
    f"{RULE} LFT matches MAML if it is less than a point worse. Only the direction of a claim "
    "is judged, not its size. No correction is made for the number of claims."
)


def percent(share: float) -> str:
    """Return a share as a percentage.

    Example:
        >>> percent(0.2571)
        '25.7 %'
    """
    return f"{100.0 * share:.1f} %"


def points(share: float) -> str:
    """Return a difference of shares in percentage points.

    Example:
        >>> points(-0.0123)
        '-1.2'
    """
    return f"{100.0 * share:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")


def nats(loss: float) -> str:
    """Return a loss, or a difference of two with its sign.

    Example:
        >>> nats(0.64361), nats(26.967)
        ('0.644', '27.0')
    """
    return f"{loss:.3f}" if abs(loss) < 10.0 else f"{loss:.1f}"


def stand_ins(summary: dict[str, Any]) -> list[str]:
    """Say which source stands in another's place."""
    return [
        f"{other} stands in the place of {name}, which was not found; the paper's numbers beside "
        f"it are those of {name}."
        for name, other in summary["stand_in"].items()
    ]


def about_data(summary: dict[str, Any]) -> list[str]:
    """Say which sources are not the official files."""
    return [
        f"{name}'s {split} images: {number:,}, not the official file. Tasks are drawn from these, "
        "and intervals are of such tasks."
        for name, split, number in summary["not_official"]
    ]


def markdown(config: Config, summary: dict[str, Any]) -> str:
    """Return table.md."""
    paper = PAPER[config.table]
    counts = ("meta_tasks", "test_tasks", "ways", "shots")
    same = all(getattr(config, name) == getattr(paper, name) for name in counts)
    text = (
        f"{config.ways}-way, {config.meta_tasks} meta-training tasks, {config.test_tasks} test "
        f"tasks for each of {len(config.seeds)} seeds, backend {config.backend}, {config.dtype}: "
        f"{'' if same else 'not '}the counts of the paper."
    )
    text = " ".join([text, *stand_ins(summary), *about_data(summary)])
    parts = [f"# {TITLES[config.table]}", text, _results(config, summary), _early(config, summary),
             _claims(summary), HOW_TO_READ]  # fmt: skip
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _results(config: Config, summary: dict[str, Any]) -> str:
    ours = f"ours after {config.table_step} steps"
    head = ("training", "testing", "shots", "method", "paper", ours, "interval of tasks",
            "of seeds", "of each seed", "on D_tr", "loss")  # fmt: skip
    rows: list[tuple[str, ...]] = [head]
    for row in summary["rows"]:
        at, seeds = row["at"][str(config.table_step)], row["interval_seeds"]
        rows.append((
            row["training"], row["testing"], str(row["shots"]), row["method"],
            _paper(row["paper"]), f"{percent(at['accuracy'])} ± {percent(at['sd'])}",
            _interval(row["interval_tasks"]), "–" if seeds is None else _interval(seeds),
            ", ".join(percent(x) for x in row["by_seed"]), percent(at["train_accuracy"]),
            nats(at["loss"]),
        ))  # fmt: skip
    for row in summary["not_applicable"]:
        empty = ("n/a",) * (len(head) - 4)
        rows.append((row["training"], row["testing"], "any", row["method"], *empty))
    return markdown_table(rows)


def _early(config: Config, summary: dict[str, Any]) -> str:
    """Accuracy after few steps: what Figure 3 shows."""
    steps = [s for s in EARLY if s < config.table_step] + [config.table_step]
    rows: list[tuple[str, ...]] = [
        ("training", "testing", "shots", "method", *(f"step {s}" for s in steps))
    ]
    for row in summary["rows"]:
        found = (percent(row["at"][str(s)]["accuracy"]) for s in steps)
        rows.append((row["training"], row["testing"], str(row["shots"]), row["method"], *found))
    return markdown_table(rows)


def _paper(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    sd = f" ± {100.0 * row['sd']:.1f} %" if "sd" in row else ""
    return f"{100.0 * row['accuracy']:.0f} %{sd}"


def _interval(ends: list[float]) -> str:
    return f"{100.0 * ends[0]:.1f} … {100.0 * ends[1]:.1f}"


def _claims(summary: dict[str, Any]) -> str:
    rows = [("claim", "training", "testing", "shots", "step", "difference: paper", "ours",
             "95 % interval", "of each seed", "verdict")]  # fmt: skip
    for claim in summary["claims"]:
        d, number = claim["difference"], _number(claim)
        whose = "" if claim["of_the_paper"] else " (not claimed by the paper)"
        rows.append((
            claim["claim"] + _within(claim) + whose, claim["training"], claim["testing"],
            str(claim["shots"] or "all"), str(claim["step"]),
            "–" if claim["paper"] is None else points(claim["paper"]), number(d["mean"]),
            f"{number(d['low'])} … {number(d['high'])}",
            " ".join(number(x) for x in d["by_seed"]), claim["verdict"],
        ))  # fmt: skip
    return markdown_table(rows) if len(rows) > 1 else ""


def _number(claim: dict[str, Any]) -> Callable[[float], str]:
    """How a claim's differences are written."""
    if claim["metric"] == "accuracy":
        return points
    return lambda loss: nats(loss) if loss < 0.0 else f"+{nats(loss)}"


def _within(claim: dict[str, Any]) -> str:
    return f" within {points(claim['margin'])[1:]}" if claim["margin"] else ""


def show(config: Config, summary: dict[str, Any]) -> None:
    """Print the table and the paper's claims, readable in 80 columns."""
    from rich.console import Console

    out = Console()
    out.print(_shown_results(config, summary))
    for sentence in [*stand_ins(summary), *about_data(summary)]:
        out.print(sentence)
    if any(claim["of_the_paper"] for claim in summary["claims"]):
        out.print(_shown_claims(config, summary))
        out.print(RULE, style="dim")
    elif summary["claims"]:
        out.print("The paper has no claim about these tasks; other differences are in table.md.")


def _where(config: Config, row: dict[str, Any]) -> str:
    shots = row["shots"] if len(config.shots) > 1 else None  # None for a claim on all of them
    return f"{row['training']} → {row['testing']}{'' if shots is None else ', ' + images(shots)}"


def images(shots: int) -> str:
    """Return the number of shots in words.

    Example:
        >>> images(1), images(5)
        ('1 shot', '5 shots')
    """
    return f"{shots} shot{'s' * (shots > 1)}"


def _shown_results(config: Config, summary: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    title = f"{TITLES[config.table]}, {config.ways}-way, after {config.table_step} steps"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("method")
    for name in ("ours ± sd", "95 % of tasks", "paper", "loss"):
        table.add_column(name, justify="right")
    where = ""
    for row in summary["rows"]:
        at, before = row["at"][str(config.table_step)], where
        if (where := _where(config, row)) != before:
            table.add_row(f"[bold]{where}[/bold]")
        ours = f"{percent(at['accuracy'])[:-2]} ± {percent(at['sd'])[:-2]}"
        numbers = _interval(row["interval_tasks"]), _paper(row["paper"]), nats(at["loss"])
        table.add_row(row["method"], ours, *numbers)
    if summary["not_applicable"]:
        methods = ", ".join(dict.fromkeys(row["method"] for row in summary["not_applicable"]))
        table.caption = f"{methods}: not applicable across networks"
    return table


def _shown_claims(config: Config, summary: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    title = "Claims (points, paired over tasks, 95 % bootstrap)"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for name in ("claim", "difference", "interval", "verdict"):
        table.add_column(name)
    where = ""
    for claim in (c for c in summary["claims"] if c["of_the_paper"]):
        d, before = claim["difference"], where
        if (where := _where(config, claim)) != before:
            table.add_row(f"[bold]{where}[/bold]")
        step = f", step {claim['step']}" if claim["step"] != config.table_step else ""
        interval = f"{points(d['low'])} … {points(d['high'])}"
        name = claim["claim"] + _within(claim) + step
        table.add_row(name, points(d["mean"]), interval, claim["verdict"])
    return table
