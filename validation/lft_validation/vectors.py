"""Make test vectors, and check them with three engines that share no derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lft_ref
from lft_backends.backend import Backend, get_backend
from lft_ref import LSTMParams, MetaGradient, adjoint, forward_mode, forward_step, size, unroll
from lft_ref.forward_mode import initial_forward_state
from lft_ref.params import all_columns
from lft_validation.cases import Case, margins, random_case
from lft_validation.comparison import gradient_differences, relative_difference
from lft_validation.errors import UserError
from lft_validation.vector_format import GRADIENTS, JACOBIANS, RESULTS, Vector, read, write

TOLERANCE = 1e-9  # relative to each array's own scale
MOST = 10_000  # files at once
LARGEST_JACOBIAN = 1000  # d·P up to which a file holds G and H
ENGINES = ("adjoint", "forward_mode", "autodiff")

Results = dict[str, np.ndarray]


class Report(NamedTuple):
    """What the check of one file found."""

    file: Path
    objective: str = ""
    estimator: str = ""
    errors: dict[str, dict[str, float]] = {}  # noqa: RUF012 - engine -> array -> difference
    near_kink: bool = False
    unreadable: str = ""  # the whole sentence, or empty

    def largest(self, engine: str) -> float:
        """Return the largest relative difference from one engine."""
        return max(self.errors[engine].values())

    def first_wrong(self, tolerance: float = TOLERANCE) -> tuple[str, dict[str, float]] | None:
        """Return the first array that differs, with the differences of the engines that say so."""
        for name in (*RESULTS, *JACOBIANS):
            apart = {
                engine: errors[name]
                for engine, errors in self.errors.items()
                if errors.get(name, 0.0) > tolerance
            }
            if apart:
                return name, apart
        return None


def make(out: Path, count: int, seed: int) -> Iterator[Path]:
    """Write ``case-000.npz`` … into a folder, and yield each path when its file is there.

    Raises:
        UserError: if count or seed make no sense, or the folder holds cases or cannot be written.
    """
    if not 1 <= count <= MOST:
        raise UserError(f"--count must be from 1 to {MOST}, found {count}")
    if seed < 0:
        raise UserError(f"--seed must not be negative, found {seed}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        existing = next(iter(sorted(out.glob("case-*.npz"))), None)
        if existing is not None:
            raise UserError(f"--out {out} already holds {existing.name}; choose another folder")
        for index in range(count):
            case = random_case(seed, index)
            path = out / f"case-{index:03d}.npz"
            write(path, Vector(case, results(case)))
            yield path
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written ({error.strerror}); choose another folder"
        ) from error


def results(case: Case) -> Results:
    """Compute what a file holds: with the adjoint, and G and H by Statement 1."""
    found = by_adjoint(case)
    if case.d * size(case.params.m, case.params.n) <= LARGEST_JACOBIAN:
        found |= jacobians(case)
    return found


def by_adjoint(case: Case, backend: Backend | None = None) -> Results:
    """All results but G and H by backpropagation, with the whole trajectory."""
    backend = backend or get_backend()
    there = _on(case, backend)
    path = unroll(there.params, there.tuner, there.task, case.K, there.state_0)
    return _results(case, adjoint, backend) | {"theta": np.stack(backend.get(path.theta))}


def _on(case: Case, backend: Backend) -> Case:
    """The same case with its arrays on a backend, and the backend's functions."""
    return case._replace(
        params=backend.put(case.params),
        tuner=case.tuner._replace(ops=backend.ops),
        task=backend.put(case.task),
        state_0=backend.put(case.state_0),
    )


def jacobians(case: Case, backend: Backend | None = None) -> Results:
    """G and H after K steps, by (8) and (9)."""
    backend = backend or get_backend()
    case = _on(case, backend)
    columns = all_columns(case.params.m, case.params.n)
    at = initial_forward_state(case.params, case.task.theta_0, case.state_0, columns)
    for k in range(case.K):
        at = forward_step(case.params, case.tuner, case.task, k, at)
    return {"G": backend.to_host(at.G), "H": backend.to_host(at.H)}


def _by_forward_mode(case: Case, with_jacobians: bool, backend: Backend) -> Results:
    found = _results(case, forward_mode, backend)
    return found | (jacobians(case, backend) if with_jacobians else {})


def _by_autodiff(case: Case, with_jacobians: bool) -> Results:
    from lft_validation.autodiff_oracle import oracle, oracle_GH

    found = _results(case, oracle, get_backend())  # autograd differentiates NumPy
    if with_jacobians:
        G, H = oracle_GH(case.params, case.tuner, case.task, case.K, case.state_0)
        found |= {"G": G, "H": H}
    return found


def _results(case: Case, engine: Callable[..., MetaGradient], backend: Backend) -> Results:
    """What one engine says; of the trajectory only its end."""
    there = _on(case, backend)
    got = backend.get(engine(there.params, there.tuner, there.task, case.weights, there.state_0))
    return {
        "theta": got.theta[None, :],
        "val_loss": got.val_loss,
        "meta_loss": got.meta_loss,
        **dict(zip(GRADIENTS, got.grad, strict=True)),
    }


def check(files: Iterable[Path], backend: Backend | None = None) -> Iterator[Report]:
    """Recompute each file with every engine. An unreadable file is reported, not raised.

    Adjoint and forward mode compute on the backend, NumPy if None; autodiff on NumPy always.
    """
    for file in files:
        try:
            vector = read(file)
            _check_memory(file, vector.case)
        except UserError as error:
            yield Report(file, unreadable=error.message)
            continue
        yield _check_one(file, vector, backend or get_backend())


def _check_one(file: Path, vector: Vector, backend: Backend) -> Report:
    case, wanted = vector
    with_jacobians = "G" in wanted
    with np.errstate(all="ignore"):  # a wrong file may overflow: infinite differences say so
        found = {
            "adjoint": by_adjoint(case, backend),
            "forward_mode": _by_forward_mode(case, with_jacobians, backend),
            "autodiff": _by_autodiff(case, with_jacobians),
        }
        near_kink = margins(case).near_kink
    errors = {engine: differences(found[engine], wanted) for engine in ENGINES}
    return Report(file, case.objective, case.estimator, errors, near_kink)


def differences(found: Results, wanted: Results) -> dict[str, float]:
    """Return the relative difference of each array that an engine computed."""
    apart = {}
    for name in found.keys() - set(GRADIENTS):
        expected = wanted[name][-len(found[name]) :] if name == "theta" else wanted[name]
        apart[name] = relative_difference(found[name], expected)
    both = (LSTMParams(*(side[name] for name in GRADIENTS)) for side in (found, wanted))
    return apart | {f"grad_{name}": e for name, e in gradient_differences(*both).items()}


def _check_memory(file: Path, case: Case) -> None:
    """Refuse a case that would not fit into memory, before anything is computed."""
    import psutil

    needed, free = needed_bytes(case), psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"{file}: checking it takes about {needed / 2**30:.1f} GiB of memory, found "
            f"{free / 2**30:.1f} GiB; check it on a larger machine, or make a smaller case"
        )


def needed_bytes(case: Case) -> int:
    """Estimate the memory of a check: Statement 1's, and autograd's record of the unroll."""
    recursion = lft_ref.memory_bytes(case.d, case.params.m, case.params.n)
    examples = max(len(case.task.train.x), len(case.task.val.x))
    numbers = case.d * 4 * case.params.n + examples * max((case.d, *case.layer_sizes))
    return recursion + 8 * 20 * case.K * numbers
