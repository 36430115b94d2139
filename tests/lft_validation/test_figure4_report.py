"""Figure 4's numbers and claims, from made-up curves."""

from __future__ import annotations

import numpy as np
import pytest

from lft_validation.experiments.figure4.config import FIRST, ZEROTH, Config, make_config
from lft_validation.experiments.figure4.report import Curves, Results, claims, summarise

TASKS, STEPS, LONG = 30, 10, 20
SPREAD = np.linspace(0.0, 0.1, TASKS) ** 2  # of the tasks: mean and median differ


def config_of(*methods: str, settings: tuple[str, ...] = (FIRST,)) -> Config:
    changes = {"methods": methods, "settings": settings, "seeds": (0, 1), "test_tasks": TASKS}
    return make_config(
        "smoke", changes | {"long_tasks": TASKS, "steps": STEPS, "unroll": 5, "long_steps": LONG}
    )


def curves(*ends: float) -> Curves:
    """MSE of each seed: about ``end`` at the last trained step, 1 more a step away, and so on."""

    def one(end: float, steps: int) -> np.ndarray:
        return end + SPREAD[:, None] + np.abs(STEPS - np.arange(steps + 1.0))

    return Curves([one(end, STEPS) for end in ends], [one(end, LONG) for end in ends])


def judged(results: Results, *methods: str) -> dict[tuple[str, str], dict]:
    settings = tuple(dict.fromkeys(setting for setting, _ in results))
    found = claims(config_of(*methods, settings=settings), results)
    return {(c["claim"], c["setting"]): c for c in found}


def test_a_row_has_mean_deviation_and_median_over_tasks_and_the_mean_of_each_seed():
    results = {(FIRST, "SGD"): curves(1.0, 3.0)}
    (row,) = summarise(config_of("SGD"), results)["rows"]
    values = np.concatenate([1.0 + SPREAD, 3.0 + SPREAD])
    assert (row["setting"], row["method"]) == (FIRST, "SGD")
    assert (row["tasks"], row["long_tasks"]) == (2 * TASKS, 2 * TASKS)
    assert row["by_seed"] == pytest.approx([1.0 + SPREAD.mean(), 3.0 + SPREAD.mean()])
    for at, later in (*((row["at"][str(s)], STEPS - s) for s in (0, 1, 5, 10)),
                      (row["beyond"][str(LONG)], LONG - STEPS)):  # fmt: skip
        assert at["mean"] == pytest.approx(values.mean() + later)
        middle = np.sort(values)[TASKS - 1 : TASKS + 1]
        assert at["median"] == pytest.approx(middle.mean() + later)
        assert at["sd"] == pytest.approx(np.sqrt(np.mean((values - values.mean()) ** 2)))
    assert abs(at["median"] - at["mean"]) > 1e-3


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [((1.0, 2.0), (1.5, 2.5), "holds"), ((1.5, 2.5), (1.0, 2.0), "fails"),
     ((1.0, 2.0), (1.5, 1.9), "undecided")],
)  # fmt: skip
def test_LFT_is_less_than_another_if_its_mse_at_the_last_trained_step_is(ours, theirs, verdict):
    results = {(FIRST, "LFT"): curves(*ours), (FIRST, "L2O"): curves(*theirs)}
    claim = judged(results, "LFT", "L2O")["LFT < L2O", FIRST]
    by_seed = np.subtract(ours, theirs)
    assert claim["difference"]["by_seed"] == pytest.approx(by_seed)
    assert claim["difference"]["mean"] == pytest.approx(by_seed.mean())
    assert claim["difference"]["low"] <= by_seed.mean() <= claim["difference"]["high"]
    assert claim["verdict"] == verdict


def test_claims_against_rules_by_hand_are_not_the_papers():
    methods = ("LFT", "L2O", "L2O-train", "MAML", "MAML-tuned", "SGD", "Adam")
    results = {(FIRST, m): curves(1.0, 1.0) for m in methods}
    assert [(c["claim"], c["of_the_paper"]) for c in judged(results, *methods).values()] == [
        (f"LFT < {m}", m not in ("SGD", "Adam")) for m in methods[1:]
    ]


@pytest.mark.parametrize(("zeroth", "verdict"), [(2.4, "holds"), (2.6, "fails")])
def test_the_zeroth_order_is_as_effective_if_it_is_at_most_a_quarter_worse(zeroth, verdict):
    results = {(FIRST, "LFT"): curves(2.0, 2.0), (ZEROTH, "LFT"): curves(zeroth, zeroth)}
    claim = judged(results, "LFT")["ZO < 1.25 FO", "both"]
    assert claim["of_the_paper"]
    mean = zeroth - 2.5 - 0.25 * SPREAD.mean()
    assert claim["difference"]["mean"] == pytest.approx(mean)
    assert claim["verdict"] == verdict
    swapped = {(FIRST, "LFT"): results[ZEROTH, "LFT"], (ZEROTH, "LFT"): results[FIRST, "LFT"]}
    assert judged(swapped, "LFT")["ZO < 1.25 FO", "both"]["verdict"] == "holds"
