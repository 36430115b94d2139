"""Every random draw of the project: on the host, in float64, from a keyed counter-based stream.

A draw depends on (seed, stage, task, step) alone. So results do not depend on the backend, on the
number of workers, or on the order in which tasks are worked on.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stage(IntEnum):
    """What a stream is for; each has streams of its own.

    But that Figure 4's MAML draws its first θ as Φ is drawn: no method uses both, and reported
    results depend on it.
    """

    PHI = 0  # initial Φ
    META_TASK = 1  # meta-training tasks
    META_INIT = 2  # θ^(0) of meta-training tasks
    META_DIRECTIONS = 3  # directions of (6) during meta-training
    TEST_TASK = 4
    TEST_INIT = 5
    TEST_DIRECTIONS = 6
    BOOTSTRAP = 7
    CASE = 8  # random cases of test vectors and gradient checks
    VICTIM = 9  # training of attacked classifiers: task is the epoch (0 the start), step what for
    VALIDATION_TASK = 10  # tasks that choose among what was learned
    VALIDATION_INIT = 11  # their θ^(0)
    VALIDATION_DIRECTIONS = 12  # their directions of (6)
    THEOREM1_TASK = 20  # tasks that Theorem 1 is measured on
    THEOREM1_INIT = 21  # their θ^(0)
    THEOREM1_TRAIN = 22  # draws of D_tr
    THEOREM1_VAL = 23  # draws of D_val
    THEOREM1_BOOTSTRAP = 24
    UAP_META_TASK = 30  # universal perturbations: classes and images of meta-training tasks
    UAP_META_INIT = 31  # their θ^(0)
    UAP_META_DIRECTIONS = 32  # their directions of (6)
    UAP_TEST_TASK = 33
    UAP_TEST_INIT = 34
    UAP_TEST_DIRECTIONS = 35
    UAP_MAML_INIT = 36  # where MAML's shared θ starts from
    ATTACK_IMAGES = 40  # lft attack: classes and images
    ATTACK_INIT = 41  # its θ^(0)
    ATTACK_DIRECTIONS = 42  # its directions of (6)
    FEWSHOT_META_TASK = 50  # few-shot classification: classes and images of meta-training tasks
    FEWSHOT_META_INIT = 51  # their θ^(0)
    FEWSHOT_META_DIRECTIONS = 52  # their directions of (6)
    FEWSHOT_TEST_TASK = 53
    FEWSHOT_TEST_INIT = 54
    FEWSHOT_TEST_DIRECTIONS = 55
    FEWSHOT_MAML_INIT = 56  # where MAML's shared θ starts from
    FEWSHOT_VALIDATION_TASK = 57  # tasks that choose among what was learned
    FEWSHOT_VALIDATION_INIT = 58  # their θ^(0)
    FINETUNE_TASK = 60  # lft finetune: images to tune on and to judge by
    FINETUNE_INIT = 61  # initial networks
    BENCH = 70  # problems that are timed


def stream(seed: int, stage: Stage, task: int = 0, step: int = 0) -> np.random.Generator:
    """Return the generator that belongs to (seed, stage, task, step).

    Raises:
        ValueError: if one of the numbers is negative.

    Example:
        >>> a = stream(0, Stage.META_TASK, task=3).standard_normal(2)
        >>> b = stream(0, Stage.META_TASK, task=3).standard_normal(2)
        >>> bool((a == b).all())
        True
    """
    if min(seed, task, step) < 0:
        raise ValueError(f"seed, task and step must be >= 0, found {seed}, {task}, {step}")
    key = np.random.SeedSequence(seed, spawn_key=(int(stage), task, step))
    return np.random.Generator(np.random.Philox(key))


def directions(
    seed: int, stage: Stage, task: int, step: int, q: int, d: int, scaling: str = "gaussian"
) -> np.ndarray:
    """Return q directions (q, d) for eq. (6), float64.

    ``gaussian``: entries N(0, 1), the paper's; ``sphere``: the same, each scaled to length 1;
    ``coordinate``: the d unit vectors, for which q must be d.

    Raises:
        ValueError: for another scaling, q or d below 1, or q other than d with ``coordinate``.
    """
    if q < 1 or d < 1:
        raise ValueError(f"q and d must be at least 1, found q={q}, d={d}")
    if scaling == "coordinate":
        if q != d:
            raise ValueError(f"coordinate directions need q = d = {d}, found q={q}")
        return np.eye(d)
    if scaling not in ("gaussian", "sphere"):
        raise ValueError(f"scaling must be 'gaussian', 'sphere' or 'coordinate', found {scaling!r}")
    u = stream(seed, stage, task, step).standard_normal((q, d))
    return u / np.linalg.norm(u, axis=-1, keepdims=True) if scaling == "sphere" else u
