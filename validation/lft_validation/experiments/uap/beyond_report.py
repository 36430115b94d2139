"""What is beyond the paper, as a table, a figure and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.experiments.figures import COLOURS, DASHES, save
from lft_validation.experiments.uap.beyond import EVERY, Measured, seen, steps
from lft_validation.experiments.uap.config import HAND, Config
from lft_validation.experiments.uap.metrics import NAMES, known_mean
from lft_validation.experiments.uap.tables import percent
from lft_validation.report import known, markdown_table, number

Found = dict[tuple[str, str, str, str], list[Measured]]
NOTES = (
    "Success on D_val, mean over the test tasks of all seeds, of images that the victim in "
    "question classifies correctly without θ. Unseen: the fine-tuner has met no image of this "
    "source. Other victim: the same θ is added to the same images, and a perceptron of one hidden "
    "layer looks at them; θ was made against the source's own victim alone."
)


def rows(config: Config, found: Found) -> list[dict[str, Any]]:
    """Return the means at some steps, for results and tables."""
    listed = []
    marks = (config.table_step, config.steps, (config.steps + config.long_steps) // 2,
             config.long_steps)  # fmt: skip
    at = sorted({min(step // EVERY * EVERY, config.long_steps) for step in marks})
    for (setting, training, method, source), seeds in found.items():
        own, other = (np.concatenate([m[i] for m in seeds], axis=1) for i in (0, 1))
        listed.append(
            {
                "setting": setting,
                "training": training,
                "method": method,
                "source": source,
                "unseen": method not in HAND and not seen(training, source),
                "tasks": int(own.shape[1]),
                "success": {str(k): _mean(own, "val", k) for k in at},
                "strength": {str(k): _mean(own, "strength", k) for k in at},
                "success_other": {str(k): _mean(other, "val", k) for k in at},
            }
        )
    return listed


def _mean(curves: np.ndarray, name: str, step: int) -> float | None:
    return known(known_mean(curves[NAMES.index(name), :, step // EVERY]))


def cells(row: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return success by step, and what stands beside it: mean |θ| and the other victim's."""
    first, last = next(iter(row["strength"])), next(reversed(row["strength"]))
    strength = f"{number(row['strength'][first])} … {number(row['strength'][last])}"
    return [percent(s) for s in row["success"].values()], [
        strength, percent(row["success_other"][first]),
    ]  # fmt: skip


def markdown(config: Config, listed: list[dict[str, Any]]) -> str:
    """Return table.md."""
    marks = list(listed[0]["success"])
    head = ("setting", "training", "tested on", "method", *(f"step {k}" for k in marks),
            f"mean abs θ at {marks[0]} … {marks[-1]}",
            f"other victim, step {marks[0]}")  # fmt: skip
    body = []
    for row in listed:
        success, beside = cells(row)
        where = row["source"] + (" (unseen)" if row["unseen"] else "")
        body.append((row["setting"], row["training"], where, row["method"], *success, *beside))
    return (
        f"# Beyond the paper: universal perturbations to {config.long_steps} steps\n\n"
        f"{config.meta_tasks} meta-training tasks of {config.steps} steps, {config.test_tasks} "
        f"test tasks for each of {len(config.seeds)} seeds.\n\n"
        f"{markdown_table([head, *body])}\n{NOTES}\n"
    )


def show(listed: list[dict[str, Any]]) -> None:
    """Print the table, readable in 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    marks = list(listed[0]["success"])
    for setting in dict.fromkeys(row["setting"] for row in listed):
        title = f"Success on D_val by step, {setting} (*: a source that Φ has not seen)"
        table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("training → tested on")
        table.add_column("method")
        for name in (*marks, f"|θ| {marks[0]}…{marks[-1]}", "MLP"):
            table.add_column(name, justify="right")
        for row in (row for row in listed if row["setting"] == setting):
            success, beside = cells(row)
            where = f"{row['training']} → {row['source']}{'*' if row['unseen'] else ''}"
            short = [c.removesuffix(" %") for c in success]
            strength = beside[0].replace(" … ", "…")
            table.add_row(where, row["method"], *short, strength, beside[1])
        console.print(table)
    console.print(f"MLP: the same θ of step {marks[0]} on a victim of another architecture.")


def draw(config: Config, found: Found, folder: Path) -> list[Path]:
    """Draw success to ``long_steps``: on the own victim, and on the other one below."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    written, setting = [], config.settings[0]
    sources = list(dict.fromkeys(source for _, _, _, source in found))
    for training in config.training:
        file = f"beyond-{training.replace('+', '-and-')}"
        with mpl.rc_context({"svg.hashsalt": file, "font.size": 8, "axes.spines.top": False,
                             "axes.spines.right": False}):  # fmt: skip
            size = (max(2.6 * len(sources) + 0.5, 4.6), 4.6)
            figure = Figure(figsize=size, layout="constrained")
            panels = figure.subplots(2, len(sources), sharex=True, sharey=True, squeeze=False)
            lines: dict[str, Any] = {}
            for column, source in zip(panels.T, sources, strict=True):
                for which, panel in enumerate(column):
                    lines |= _panel(panel, config, found, (setting, training, source), which)
                mark = "" if seen(training, source) else " (unseen)"
                column[0].set_title(f"{training} → {source}{mark}", fontsize=8)
                column[1].set_xlabel("fine-tuning step")
            panels[0, 0].set_ylabel("success on D_val, %")
            panels[1, 0].set_ylabel("the same on an MLP, %")
            figure.legend(lines.values(), lines.keys(), loc="outside lower center",
                          ncols=min(len(lines), 7), frameon=False)  # fmt: skip
            written += [save(figure, folder / f"{file}.{kind}", kind) for kind in ("png", "svg")]
    return written


def _panel(
    panel: Any, config: Config, found: Found, where: tuple[str, str, str], which: int
) -> dict[str, Any]:
    setting, training, source = where
    lines = {}
    for method in config.methods:
        seeds = found.get((setting, "none" if method in HAND else training, method, source))
        if seeds is None:
            continue
        curves = np.concatenate([m[which][NAMES.index("val")] for m in seeds])
        (lines[method],) = panel.plot(
            steps(config), 100.0 * known_mean(curves, axis=0), color=COLOURS[method],
            linestyle=DASHES.get(method, "-"), linewidth=1.3,
            zorder=3 if method == "LFT" else 2,
        )  # fmt: skip
    panel.axvline(config.steps, color="0.7", linewidth=0.7, linestyle=":")
    panel.set_ylim(-2.0, 102.0)
    panel.set_xlim(0, config.long_steps)
    return lines
