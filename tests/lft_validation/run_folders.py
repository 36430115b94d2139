"""What tests of several experiments look for in a run's folder and in what it says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np


def changed(run: Path, file: str, arrays, copy: Path) -> Path:
    """Copy a run and change the arrays of one of its files: a function of them; None drops one."""
    shutil.copytree(run, copy)
    with np.load(run / file) as loaded:
        found = {name: loaded[name] for name in loaded.files}
    new = found | arrays(found)
    np.savez(copy / file, **{name: array for name, array in new.items() if array is not None})
    return copy


def told_divergence(result, folder: Path) -> str:
    """The sentence about training that diverged; the checkpoint that it names is there and good."""
    text = " ".join(result.output.split())
    file = re.search(r"the last good checkpoint, from before this batch, is (\S+);", text)
    assert file, text
    assert Path(file[1]).is_relative_to(folder)
    checkpoint = np.load(file[1])
    assert np.isfinite(checkpoint["flat"]).all()
    assert np.isfinite(checkpoint["losses"]).all()
    (log,) = folder.rglob("log.txt")
    assert "failed: meta-training diverged" in log.read_text(encoding="utf-8")
    return text
