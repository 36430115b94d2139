"""One Φ measured at once, without a run folder: what ``lft theorem1`` does."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lft_backends.draws import Stage
from lft_ref import FineTuner, LSTMParams
from lft_validation.errors import UserError
from lft_validation.experiments.theorem1.config import TRAINED, Config
from lft_validation.experiments.theorem1.gap import reference
from lft_validation.experiments.theorem1.needs import check_units
from lft_validation.experiments.theorem1.phi import make_phi, tuner_of
from lft_validation.experiments.theorem1.point import Point, measure_point
from lft_validation.experiments.theorem1.problems import make_tasks
from lft_validation.jobs import map_here
from lft_validation.progress import track
from lft_validation.tuners import load_tuner, shipped


class Quiet:
    """A job's monitor where nobody looks: Ctrl-C ends the command."""

    map = staticmethod(map_here)

    def report(self, done: float) -> None:
        """Say nothing."""

    def check(self) -> bool:
        """Never stop."""
        return False


def measure_all(config: Config, family: str, phi: str, seed: int) -> dict[int, Point]:
    """Measure one Φ, a name or a file, at every |D_tr|; a progress bar shows after two seconds.

    Raises:
        UserError: if there is no such Φ, or no memory for it.
    """
    params, tuner = _phi(config, family, phi, seed)
    check_units(config, params.n)
    stages = (Stage.THEOREM1_TASK, Stage.THEOREM1_INIT)
    tasks = make_tasks(config, family, seed, stages, range(config.tasks))
    at = reference(params, tuner, tasks, config.unroll)
    sizes = config.train_sizes
    return {
        D: measure_point(config, params, tuner, tasks, at, seed, D)
        for D in track(sizes, len(sizes), "Measuring")
    }


def _phi(config: Config, family: str, phi: str, seed: int) -> tuple[LSTMParams, FineTuner]:
    if phi in TRAINED:
        with tempfile.TemporaryDirectory() as folder:
            params = make_phi(config, family, seed, phi, Path(folder), "", Quiet())
        return params, tuner_of(config, phi)
    if phi not in shipped() and not Path(phi).exists():
        known = ", ".join((*TRAINED, *shipped()))
        raise UserError(f"--phi must be a file or one of {known}, found {phi!r}")
    params, cell = load_tuner(phi)
    return params, tuner_of(config, "random")._replace(cell=cell)
