"""Trained fine-tuners as files: Φ, preprocessing, output scale. Some are in the package."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from lft_ref import Cell, Identity, LogSign, LSTMParams
from lft_ref.params import shapes
from lft_validation.errors import UserError
from lft_validation.experiments.settings import OF_A_CELL
from lft_validation.files import read_arrays, require, require_finite, write_arrays

KIND = "lft-tuner-1"
REMEDY = "give another file, or train the tuner again"
PURPOSES = {  # the experiments that train tuners, in words
    "figure4": "sine regression",
    "uap": "universal perturbations",
    "fewshot": "few-shot classification",
}


def save_tuner(
    path: Path,
    params: LSTMParams,
    cell: Cell,
    origin: str = "",
    about: dict[str, Any] | None = None,
) -> None:
    """Write Φ and the cell that it belongs to.

    Args:
        path: the file.
        params: Φ.
        cell: its fixed choices.
        origin: the fingerprint of the job that trained it.
        about: how it was trained: JSON values, which :func:`tuner_about` returns.
    """
    is_log = isinstance(cell.preprocess, LogSign)
    arrays = {name: np.asarray(a) for name, a in params._asdict().items()}
    arrays |= {
        "preprocess": np.asarray("log_sign" if is_log else "identity"),
        "p": np.asarray(cell.preprocess.p if isinstance(cell.preprocess, LogSign) else 0.0),
        "output_scale": np.asarray(float(cell.output_scale)),
        "about": np.asarray(json.dumps(about or {}, sort_keys=True)),
    }
    write_arrays(path, KIND, origin, arrays)


def load_tuner(name: str | Path) -> tuple[LSTMParams, Cell]:
    """Return Φ (float64) and the cell's fixed choices.

    Args:
        name: a name from :func:`shipped`, or the path of a file that :func:`save_tuner` wrote,
            such as ``phi.npz`` in a run folder.

    Raises:
        UserError: if there is no such tuner, or the file is damaged, foreign or not finite.

    Example:
        >>> params, cell = load_tuner("sine")
        >>> params.n, cell.output_scale
        (10, 0.1)
    """
    path = _find(name)
    return _checked(path, read_arrays(path, KIND))


def tuner_about(name: str | Path) -> dict[str, Any]:
    """Return how a tuner was trained, as far as its file says.

    Raises:
        UserError: if there is no such tuner, or its file is damaged or foreign.
    """
    path = _find(name)
    text = str(read_arrays(path, KIND).get("about", "{}"))
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise UserError(f"{path}: about must be a JSON object, found {text[:40]!r}; train it again")
    return about


def other_purpose(name: str | Path, experiment: str) -> str | None:
    """Return a sentence for the user if a tuner was trained for something else; None if not.

    Args:
        name: as in :func:`load_tuner`.
        experiment: one of :data:`PURPOSES`, what the tuner is about to be used for.

    Raises:
        UserError: if there is no such tuner, or its file is damaged or foreign.

    Example:
        >>> other_purpose("sine", "uap")
        'tuner sine was trained for sine regression, and is used here for universal perturbations'
        >>> other_purpose("mnist", "uap") is None
        True
    """
    trained = tuner_about(name).get("experiment")
    if not isinstance(trained, str) or trained == experiment or trained not in PURPOSES:
        return None
    return (
        f"tuner {name} was trained for {PURPOSES[trained]}, and is used here for "
        f"{PURPOSES[experiment]}"
    )


def _find(name: str | Path) -> Path:
    path = Path(str(files("lft_validation").joinpath("trained", f"{name}.npz")))
    if path.exists():
        return path
    if not str(name) or not Path(name).exists():
        known = ", ".join(shipped())
        raise UserError(f"no tuner {str(name)!r}; give a file, or one of: {known}")
    return Path(name)


def shipped() -> list[str]:
    """Return the names of the tuners in the package."""
    folder = files("lft_validation").joinpath("trained")
    return sorted(p.name.removesuffix(".npz") for p in folder.iterdir() if p.name.endswith(".npz"))


def _checked(path: Path, a: dict[str, np.ndarray]) -> tuple[LSTMParams, Cell]:
    require(path, a, {"preprocess": (), "p": (), "output_scale": ()}, REMEDY)
    for name, most in OF_A_CELL.items():
        value = a[name]
        if value.dtype.kind not in "fiu" or not 0.0 <= float(value) <= most:
            raise UserError(f"{path}: {name} must be a number from 0 to {most:g}, found {value}")
    kind = str(a["preprocess"])
    if kind not in ("log_sign", "identity"):
        raise UserError(f"{path}: preprocess must be log_sign or identity, found {kind!r}")
    if kind == "log_sign" and not float(a["p"]) > 0.0:
        raise UserError(f"{path}: p of log_sign must be positive, found {a['p']}")
    preprocess = LogSign(float(a["p"])) if kind == "log_sign" else Identity()
    n = a["w_o"].size if "w_o" in a else 0
    wanted = {"w_o": (n,)} | shapes(preprocess.m, n)._asdict()  # n comes from w_o: it is first
    require(path, a, wanted, REMEDY)
    if not n:
        raise UserError(f"{path}: Φ has no hidden unit, expected at least 1; train the tuner again")
    with np.errstate(over="ignore"):  # of numbers that float64 does not have
        double = {name: a[name].astype(np.float64) for name in wanted if a[name].dtype.kind == "f"}
    for name in wanted:
        require_finite(path, name, double.get(name, a[name]), REMEDY)
    params = LSTMParams(*(double[name] for name in LSTMParams._fields))
    return params, Cell(preprocess, float(a["output_scale"]))
