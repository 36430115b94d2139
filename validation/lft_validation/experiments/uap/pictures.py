"""Figure A4: the perturbations of every method, and what the victim makes of images with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lft_backends.draws import Stage
from lft_validation.attack_picture import CIFAR10, Sheet, Strip, draw
from lft_validation.experiments.uap.config import HAND, Config, applicable
from lft_validation.experiments.uap.methods import Setup, make_setup
from lft_validation.experiments.uap.run import JobKey, job_key, learned_flat, perturbations
from lft_validation.experiments.unions import NONE, parts
from lft_validation.files import write_arrays
from lft_validation.victims import logits

TASKS = 3
KIND = "lft-perturbations-1"


def picture(config: Config, jobs: Path, file: Path, methods: tuple[str, ...]) -> list[Path]:
    """Draw the first test tasks of the first seed, after ``table_step`` steps; keep every θ.

    The source is the first that something is trained and tested on. What is trained is read from
    the jobs; fine-tuning is done again, since only its curves are kept.
    """
    setting, seed, source = config.settings[0], config.seeds[0], shown_source(config)
    tasks = range(min(TASKS, config.test_tasks))
    training = source if source in config.training else config.training[0]
    keys = [
        JobKey(setting, NONE if method in HAND else training, method, seed)
        for method in config.methods
        if method in methods and applicable(NONE if method in HAND else training, method, source)
    ]
    setup = make_setup(config, setting, seed, NONE)
    thetas = {key.method: _thetas(setup, key, jobs, source, tasks) for key in keys}
    write_arrays(file.with_suffix(".npz"), KIND, "", thetas)
    sheets = [_sheet(setup, source, thetas, task) for task in tasks]
    return draw(sheets, file, ("png", "svg"))


def shown_source(config: Config) -> str:
    """Return the first source that is trained on and tested on, or else the first tested on."""
    tested = [source for union in config.testing for source in parts(union)]
    both = [source for source in config.training if source in tested]
    return (both or tested)[0]


def _thetas(setup: Setup, key: JobKey, jobs: Path, source: str, tasks: range) -> np.ndarray:
    """θ of each task after ``table_step`` steps, (tasks, C, H, W)."""
    config = setup.config
    flat = learned_flat(config, key, jobs / key.name, job_key(config, key))
    with np.errstate(over="ignore", invalid="ignore"):
        *_, theta = perturbations(setup, key.method, flat, source, tasks, config.table_step)
    shape = setup.problems[source].victim.about["shape"]
    host = np.nan_to_num(setup.backend.to_host(theta))
    return np.asarray(host.reshape(len(tasks), *shape))


def _sheet(setup: Setup, source: str, thetas: dict[str, np.ndarray], task: int) -> Sheet:
    """The images of one task's D_val, as they are and with each method's θ."""
    problem, host = setup.problems[source], setup.backend.to_host
    _, val = problem.data(setup.seed, Stage.UAP_TEST_TASK, [task])
    x, y = host(val.x)[0], host(val.y)[0]

    def said(theta: np.ndarray | float) -> np.ndarray:
        victim, moved = problem.victim, np.clip(x + theta, *problem.loss.box)
        z = logits(victim.network, victim.weights, moved.astype(x.dtype))
        return np.asarray(np.argmax(z, axis=-1))

    strips = [Strip("images\nof D_val", None, said(0.0))]
    strips += [
        Strip(f"{method}, {np.abs(all_[task]).mean():.3f}", all_[task], said(all_[task]))
        for method, all_ in thetas.items()
    ]
    names = CIFAR10 if source == "cifar10" else tuple("0123456789")
    title = f"task {task + 1}: classes {names[y[0]]} and {names[y[-1]]}"
    return Sheet(x, y, 0, strips, names, title)
