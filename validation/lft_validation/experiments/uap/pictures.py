"""Figure A4: the perturbations of every method, and what the victim makes of images with them."""

from __future__ import annotations

from collections.abc import Sequence
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
    the jobs; fine-tuning is done again, since only its curves are kept. Without any θ to show there
    is no picture.
    """
    setting, seed, source = config.settings[0], config.seeds[0], shown_source(config)
    tasks = range(min(TASKS, config.test_tasks))
    keys = pictured(config, methods)
    if not keys:
        return []
    setup = make_setup(config, setting, seed, NONE)
    thetas = {key.method: _thetas(setup, key, jobs, source, tasks) for key in keys}
    write_arrays(file.with_suffix(".npz"), KIND, "", thetas)
    sheets = [_sheet(setup, source, thetas, task) for task in tasks]
    return draw(sheets, file, ("png", "svg"))


def pictured(config: Config, methods: tuple[str, ...]) -> list[JobKey]:
    """Return the jobs whose perturbations are shown: those of some methods, where they fit."""
    source = shown_source(config)
    training = source if source in config.training else config.training[0]
    of = {method: NONE if method in HAND else training for method in config.methods}
    return [
        JobKey(config.settings[0], of[method], method, config.seeds[0])
        for method in config.methods
        if method in methods and applicable(of[method], method, source)
    ]


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
    return Sheet(x, y, 0, strips, names, f"task {task + 1}: {named([names[c] for c in y])}")


def named(classes: Sequence[str]) -> str:
    """Return the classes of some images in words, each once.

    Example:
        >>> named(["3", "3"]), named(["3", "8", "8"]), named(["cat", "dog", "car"])
        ('class 3', 'classes 3 and 8', 'classes cat, dog and car')
    """
    *others, last = dict.fromkeys(classes)
    return f"classes {', '.join(others)} and {last}" if others else f"class {last}"
