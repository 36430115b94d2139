"""A run folder belongs to one configuration."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lft_validation import in_common, runs
from lft_validation.errors import UserError

CONFIG = {"seeds": [0], "unroll": 20}


def test_a_run_is_resumed_only_when_asked(tmp_path):
    runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=False)
    with pytest.raises(UserError, match="already holds this run; add --resume"):
        runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=False)
    runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=True)


def test_another_configuration_is_refused_by_the_setting_that_differs(tmp_path):
    runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=False)
    with pytest.raises(UserError, match="holds a run with unroll = 20, now unroll = 10"):
        runs.open_run(tmp_path / "r", "figure4", CONFIG | {"unroll": 10}, resume=True)
    with pytest.raises(UserError, match="a run of 'figure4', not 'table1'"):
        runs.open_run(tmp_path / "r", "table1", CONFIG, resume=True)


def test_other_versions_are_refused_since_bits_could_differ(tmp_path, monkeypatch):
    runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=False)
    monkeypatch.setattr(runs.platform, "python_version", lambda: "3.99.0")
    with pytest.raises(UserError, match=r"now python = 3\.99\.0"):
        runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=True)


def test_other_sources_are_refused_since_numbers_could_differ(tmp_path, monkeypatch):
    runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=False)
    monkeypatch.setattr(runs, "sources", lambda experiment: "edited")
    with pytest.raises(UserError, match="now sources = edited"):
        runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=True)


def test_the_hash_covers_what_computes_and_not_what_presents(tmp_path, monkeypatch):
    copy = tmp_path / "lft_validation"
    shutil.copytree(Path(runs.__file__).parent / "experiments", copy / "experiments")
    monkeypatch.setattr(runs, "__file__", str(copy / "runs.py"))
    hash_of = runs.sources.__wrapped__
    before = hash_of("figure4")
    (copy / "experiments/figure4/plot.py").write_text("")
    assert hash_of("figure4") == before == runs.sources("figure4")
    (copy / "experiments/figure4/run.py").write_text("")
    changed = hash_of("figure4")
    (copy / "experiments/sine.py").write_text("")
    assert len({before, changed, hash_of("figure4")}) == 3


# How jobs are run, read, written and reported. Where that changes numbers, files change their kind.
WORKINGS = {
    "__init__", "errors", "files", "in_common", "jobs", "progress", "resources", "runs", "slices",
    "stopping", "tuners",
}  # fmt: skip
# Reads images and victims only to compare their checksums: no number comes through it.
COMPARES = Path(in_common.__file__)


def _imported(file):
    """The modules of this package that a file imports."""
    root, names = Path(runs.__file__).parent, set[str]()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{a.name}" for a in node.names)}
    inner = (name.split(".")[1:] for name in names if name.split(".")[0] == "lft_validation")
    paths = [root.joinpath(*name) for name in inner]
    files = [file for p in paths for file in (p.with_suffix(".py"), p / "__init__.py")]
    return {file for file in files if file.exists()}


@pytest.mark.parametrize("experiment", ["figure4", "theorem1", "uap", "fewshot"])
def test_the_hash_covers_all_that_an_experiment_imports(experiment):
    shared = Path(runs.__file__).parent / "experiments"
    own = set((shared / experiment).glob("*.py"))
    todo = seen = {file for file in own if file.name not in runs.PRESENTATION}
    while todo:
        todo = set().union(*map(_imported, todo - {COMPARES})) - seen
        seen = seen | todo
    others = {file for file in seen if file.parent not in (shared, shared / experiment)}
    covered = set(runs.ALSO.get(experiment, ()))
    assert {file.stem for file in others if file.name not in covered} <= WORKINGS


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not a run folder"):
        runs.open_run(tmp_path, "figure4", CONFIG, resume=False)
    with pytest.raises(UserError, match="is not a run folder"):
        runs.open_run(tmp_path / "thesis.tex", "figure4", CONFIG, resume=False)


@pytest.mark.parametrize(
    "content", ["[1]", '{"experiment": "figure4", "config": [], "versions": null}']
)
def test_a_configuration_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="is not a run's configuration"):
        runs.open_run(tmp_path, "figure4", CONFIG, resume=True)


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(UserError, match="there is no run in"):
        runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=True)


def test_a_folder_is_one_process_alone_until_it_ends_or_is_killed(tmp_path):
    folder = tmp_path / "r"
    holds = (
        f"from pathlib import Path; from lft_validation.runs import opened_run\n"
        f"with opened_run(Path({str(folder)!r}), 'figure4', {CONFIG}, resume=False):\n"
        f"    print('in', flush=True); input()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", holds],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout.readline() == b"in\n"
    for resume in (True, False):
        with (
            pytest.raises(UserError, match=r"another lft works in --out .*r; wait until it has"),
            runs.opened_run(folder, "figure4", CONFIG, resume),
        ):
            pass
    holder.kill()
    holder.communicate()
    for _ in range(2):  # and one that has ended is not in the way either
        with runs.opened_run(folder, "figure4", CONFIG, resume=True):
            assert (folder / "config.json").exists()


def test_a_process_killed_before_it_wrote_anything_leaves_an_empty_folder(tmp_path):
    (tmp_path / "run.lock").touch()
    with runs.opened_run(tmp_path, "figure4", CONFIG, resume=False):
        assert (tmp_path / "config.json").exists()


def test_no_lock_is_put_into_a_folder_that_is_not_a_runs(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with (
        pytest.raises(UserError, match="is not a run folder"),
        runs.opened_run(tmp_path, "figure4", CONFIG, resume=False),
    ):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_log_grows_by_lines(tmp_path):
    runs.open_run(tmp_path / "r", "figure4", CONFIG, resume=False)
    runs.log(tmp_path / "r", "one")
    runs.log(tmp_path / "r", "two")
    lines = (tmp_path / "r" / "log.txt").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["one", "two"]


def test_new_folders_differ_and_go_if_they_stay_empty(tmp_path, monkeypatch, noon):
    monkeypatch.chdir(tmp_path)
    with runs.new_folder("figure4-quick") as kept:
        with runs.new_folder("figure4-quick") as second, runs.new_folder("figure4-quick") as third:
            assert [f.name for f in (kept, second, third)] == [
                f"figure4-quick-{noon}{ending}" for ending in ("", "-2", "-3")
            ]
        (kept / "config.json").touch()
    assert [*Path("runs").iterdir()] == [kept]


def test_nothing_stays_of_a_new_folder_that_nothing_was_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with runs.new_folder("figure4-quick") as folder:
        assert folder.is_dir()
    assert not [*tmp_path.iterdir()]


def test_a_new_folder_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("mine")
    message = r"^cannot make the folder runs/figure4.* \(.*\); choose another one with --out$"
    with pytest.raises(UserError, match=message), runs.new_folder("figure4"):
        pass
