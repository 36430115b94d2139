"""The progress bar: silent for short loops, on stderr for long ones, transparent for both."""

from __future__ import annotations

import pytest

from lft_validation.progress import track


def test_items_pass_through_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), 3, "Counting")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_long_loops_show_a_bar_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), 3, "Counting", patience=-1.0)) == [0, 1, 2]
    assert capsys.readouterr().out == ""


def test_the_bar_goes_when_the_loop_breaks() -> None:
    loop = track(range(3), 3, "Counting", patience=-1.0)
    assert next(loop) == 0
    loop.close()
