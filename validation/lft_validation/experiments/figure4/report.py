"""What the jobs of Figure 4 add up to: numbers, claims with verdicts, table paper | ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_validation.experiments.figure4.config import (
    FIRST,
    MAML,
    ZEROTH,
    Config,
    make_config,
)
from lft_validation.experiments.figure4.run import CURVES, JobKey, job_key
from lft_validation.experiments.learners import LEARNED
from lft_validation.experiments.method_jobs import RESULT
from lft_validation.files import read_arrays, require, require_numbers
from lft_validation.report import markdown_table, number, read_paper
from lft_validation.stats import RULE, paired_difference, verdict_less

MARGIN = 1.25
RAN_AWAY = 1e12  # what a task that diverged counts as
HOW_TO_READ = (
    "Differences are paired over tasks. Intervals are 95 % bootstrap intervals over the pooled "
    f"tasks: they speak of new tasks for the fine-tuners trained here. {RULE} No correction "
    "is made for the number of claims."
)


class Curves(NamedTuple):
    """Test MSE of one method in one setting, one array per seed."""

    short: list[np.ndarray]  # (test_tasks, steps + 1)
    long: list[np.ndarray]  # (long_tasks, long_steps + 1)


Results = dict[tuple[str, str], Curves]


def collect(config: Config, folder: Path) -> Results:
    """Read the results of all jobs."""
    results: Results = {}
    for setting in config.settings:
        for method in config.methods:
            keys = [JobKey(setting, method, seed) for seed in config.seeds]
            parts = [_result(config, folder / key.name / RESULT, key) for key in keys]
            short, long = ([capped(p[name]) for p in parts] for name in ("short", "long"))
            results[setting, method] = Curves(short, long)
    return results


def _result(config: Config, path: Path, key: JobKey) -> dict[str, np.ndarray]:
    arrays = read_arrays(path, CURVES, job_key(config, key))
    short_shape = (config.test_tasks, config.steps + 1)
    long_shape = (config.long_tasks, config.long_steps + 1)
    require(path, arrays, {"short": short_shape, "long": long_shape})
    require_numbers(path, arrays, ("short", "long"))
    return arrays


def capped(mse: np.ndarray) -> np.ndarray:
    """Let a diverged task count as a very large error: it is reported, and sums stay finite."""
    finite: np.ndarray = np.nan_to_num(mse, nan=RAN_AWAY, posinf=RAN_AWAY)
    return np.where(finite < RAN_AWAY, finite, RAN_AWAY)


def summarise(config: Config, results: Results) -> dict[str, Any]:
    """Return everything that goes into results.json."""
    return {
        "rows": [_row(config, key, curves) for key, curves in results.items()],
        "claims": claims(config, results),
        "paper": read_paper("figure4"),
    }


def _row(config: Config, key: tuple[str, str], curves: Curves) -> dict[str, Any]:
    """Mean, standard deviation and median over tasks (all seeds) at some steps; means by seed."""
    short, long = np.concatenate(curves.short), np.concatenate(curves.long)
    steps = sorted(
        {s for s in (0, 1, 5, 10, 20, 50, 100, 150, 200) if s < config.steps} | {config.steps}
    )
    later = [s for s in (300, 500, 700, 1000) if config.steps < s < config.long_steps]
    later = sorted({*later, config.long_steps} - {config.steps})
    return {
        "setting": key[0],
        "method": key[1],
        "tasks": int(short.shape[0]),
        "at": {str(s): _moments(short[:, s]) for s in steps},
        "long_tasks": int(long.shape[0]),
        "beyond": {str(s): _moments(long[:, s]) for s in later},
        "by_seed": [float(c[:, config.steps].mean()) for c in curves.short],
    }


def _moments(values: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "median": float(np.median(values)),
    }


def claims(config: Config, results: Results) -> list[dict[str, Any]]:
    """Judge the paper's claims, and LFT against every other method, at the last trained step."""
    judged = []
    for setting in config.settings:
        for other in config.methods:
            if other != "LFT" and (setting, "LFT") in results:
                judged.append(_less(config, results, setting, other))
    if {(FIRST, "LFT"), (ZEROTH, "LFT")} <= set(results):
        judged.append(_as_effective(config, results))
    return judged


def _last(config: Config, results: Results, setting: str, method: str) -> list[np.ndarray]:
    return [c[:, config.steps] for c in results[setting, method].short]


def _less(config: Config, results: Results, setting: str, other: str) -> dict[str, Any]:
    ours, theirs = (_last(config, results, setting, name) for name in ("LFT", other))
    difference = paired_difference(ours, theirs)
    return {
        "claim": f"LFT < {other}",
        "setting": setting,
        "of_the_paper": other in (*LEARNED, *MAML),
        "difference": difference._asdict(),
        "verdict": verdict_less(difference),
    }


def _as_effective(config: Config, results: Results) -> dict[str, Any]:
    """ZO-LFT counts as "as effective" if its MSE is below 1.25 times FO-LFT's, task by task."""
    zeroth, first = (_last(config, results, setting, "LFT") for setting in (ZEROTH, FIRST))
    difference = paired_difference(zeroth, [MARGIN * mse for mse in first])
    return {
        "claim": f"ZO < {MARGIN} FO",
        "setting": "both",
        "of_the_paper": True,
        "difference": difference._asdict(),
        "verdict": verdict_less(difference),
    }


def markdown(config: Config, summary: dict[str, Any]) -> str:
    """Return table.md: what was run, the paper beside our numbers, then the claims."""
    paper = make_config("paper", {})
    counts = ("meta_tasks", "steps", "unroll", "test_tasks")
    same = all(getattr(config, name) == getattr(paper, name) for name in counts)
    text = (
        f"{config.meta_tasks} meta-training tasks, {config.test_tasks} test tasks for each of "
        f"{len(config.seeds)} seeds, {config.shots} shots, backend {config.backend}, "
        f"{config.dtype}: {'' if same else 'not '}the counts of the paper. "
        "The paper prints curves and no numbers."
    )
    return (
        f"# Figure 4: test MSE after {config.steps} fine-tuning steps\n\n{text}\n\n"
        f"{_methods_table(config, summary)}\n{_claims_table(summary)}\n{HOW_TO_READ}\n"
    )


def _methods_table(config: Config, summary: dict[str, Any]) -> str:
    last, long = str(config.steps), str(config.long_steps)
    head = ["setting", "method", "paper", "ours: mean ± sd", "median", "mean of each seed"]
    if long != last:
        head.append(f"median (mean) at {long}, tasks")
    rows: list[list[str]] = [head]
    for row in summary["rows"]:
        at, seeds = row["at"][last], " ".join(number(x) for x in row["by_seed"])
        mean = f"{number(at['mean'])} ± {number(at['sd'])}"
        rows.append([row["setting"], row["method"], "curve", mean, number(at["median"]), seeds])
        if long != last:
            far = row["beyond"][long]
            tasks = row["long_tasks"]
            rows[-1].append(f"{number(far['median'])} ({number(far['mean'])}), {tasks}")
    return markdown_table(rows)


def _claims_table(summary: dict[str, Any]) -> str:
    rows = [("claim", "setting", "paired difference", "95 % interval", "of each seed", "verdict")]
    for claim in summary["claims"]:
        d = claim["difference"]
        whose = "" if claim["of_the_paper"] else " (not claimed by the paper)"
        interval = f"{number(d['low'])} … {number(d['high'])}"
        seeds = " ".join(number(x) for x in d["by_seed"])
        name = claim["claim"] + whose, claim["setting"]
        rows.append((*name, number(d["mean"]), interval, seeds, claim["verdict"]))
    return markdown_table(rows)
