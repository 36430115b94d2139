"""The cases of ``lft bench``: which unroll, by whom, in which order."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from lft_backends.backend import OLDEST
from lft_backends.libraries import Unavailable, import_library
from lft_validation.bench import ours
from lft_validation.bench.contestant import Field, Missing, does_not_run
from lft_validation.bench.problems import (
    HUGE,
    STEPS,
    TRAINING_STEPS,
    Problem,
    attack,
    cnn_task,
    quadratic,
    sine,
)

PEERS = {"jax": "JAX", "torch": "PyTorch"}
MODULES = {name: f"lft_validation.bench.peers_{name}" for name in PEERS}
INSTALL = "pip install 'lft-ref[bench]'"
BIG = {"cpu": (784, 20_000, 200_000), "gpu": (20_000, 100_000, 200_000, HUGE)}
TIMED = ("quadratic", "sine", "cnn", "attack", "training", "forward")
COMPILED = ("quadratic", "sine")  # where torch.compile takes part: it takes a minute each time
MEASURED = ("growth", "memory", "startup")


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    cases: tuple[str, ...] = (*TIMED, *MEASURED)
    dtypes: tuple[str, ...] = ("float32", "float64")
    d: tuple[int, ...] = ()  # if none, BIG of the device
    steps: int = STEPS
    tasks: int = 8  # sine tasks at once
    source: str = "mnist"  # of the images that are attacked
    threads: int = 1
    peers: tuple[str, ...] = tuple(PEERS)
    device: str = "cpu"
    seconds: float = 20.0  # of timing for each case and dtype
    repeats: int = 50
    compile_seconds: float = 120.0


class Case(NamedTuple):
    """One table: a problem, and what of it is measured."""

    name: str
    title: str
    measure: str
    make: Callable[[], Problem]


def timed_cases(options: Options) -> list[Case]:
    """Return the cases with contestants, as the options choose and size them."""
    K, source = options.steps, options.source
    updates = max(1, TRAINING_STEPS // K)
    made = [
        Case("quadratic", f"diagonal quadratic, d = {d:,}", "adjoint", lambda d=d: quadratic(d, K))  # type: ignore[misc]
        for d in options.d or BIG[options.device]
    ]
    made += [
        Case("sine", f"{options.tasks} sine tasks at once, d = 1,761", "adjoint",
             lambda: sine(options.tasks, K)),
        Case("cnn", "one CNN, 2-way 5-shot, d = 7,538", "adjoint", lambda: cnn_task(K)),
        Case("attack", f"one perturbation, {source}", "adjoint", lambda: attack(source, K)),
        Case("training", f"meta-training, 1 {source} task of {updates * K} steps",
             "training", lambda: attack(source, K, updates)),
        Case("forward", "forward mode, diagonal quadratic, d = 64", "forward",
             lambda: quadratic(64, K)),
    ]  # fmt: skip
    return [case for case in made if case.name in options.cases]


def contestants(case: Case, problem: Problem, dtype: str, options: Options) -> Field:
    """Everybody who takes part in a case, and a sentence for everybody who cannot."""
    field = ours.contestants(problem, dtype, case.measure, options.device)
    for name in options.peers:
        module = load_peer(name)
        if isinstance(module, Missing):
            field.append(module)
            continue
        extra: dict[str, Any] = {}
        if name == "torch" and case.name in COMPILED:
            extra["compile_seconds"] = options.compile_seconds
        try:
            field += module.contestants(problem, dtype, case.measure, options.device, **extra)
        except Exception as error:  # noqa: BLE001 - a peer's failure must not end the others' race
            field.append(does_not_run(PEERS[name], error))
    return field


def load_peer(name: str) -> Any:
    """Import a peer's contestants, or say in one sentence what mends it."""
    try:
        import_library(name, INSTALL, OLDEST[name])
        return importlib.import_module(MODULES[name])
    except Unavailable as error:
        return Missing(PEERS[name], str(error))
    except Exception as error:  # noqa: BLE001 - a part of a broken library may raise anything
        return does_not_run(PEERS[name], error)
