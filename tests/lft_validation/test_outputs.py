"""What cannot be written is refused before anything is computed."""

from __future__ import annotations

import os

import numpy as np
import pytest
from click.testing import CliRunner

from lft_validation.cli import main
from lft_validation.commands.outputs import check_file
from lft_validation.errors import UserError
from lft_validation.files import write_bytes

COMMANDS = {  # with what is to be written last
    "finetune": ("finetune", "digits", "--out"),
    "victims": ("victims", "train", "digits", "--out"),
    "json": ("doctor", "--json"),
    "figure": ("gradcheck", "--plot"),
    "folder": ("attack", "--out"),
    "bench": ("bench", "--out"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_below_a_file_is_refused_at_once(name, tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / ("inside.png" if name == "figure" else "inside")
    result = CliRunner().invoke(main, [*COMMANDS[name], str(place)])
    assert result.exit_code == 2
    assert "cannot be written" in result.output
    assert "choose another place" in result.output


@pytest.mark.parametrize("name", ["finetune", "victims", "json"])
def test_a_folder_is_no_file(name, tmp_path):
    result = CliRunner().invoke(main, [*COMMANDS[name], str(tmp_path)])
    assert result.exit_code == 2
    assert "is a folder; give a file in it" in result.output


@pytest.mark.parametrize("name", ["finetune", "victims", "folder", "bench"])
def test_only_json_is_written_to_stdout(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [*COMMANDS[name], "-"])
    assert result.exit_code == 2
    assert "--out takes no - for stdout, as --json does; give a name" in result.output
    assert not [*tmp_path.iterdir()]


def test_a_figure_has_a_known_form(tmp_path):
    result = CliRunner().invoke(main, ["gradcheck", "--plot", str(tmp_path / "x.xyz")])
    assert result.exit_code == 2
    assert "--plot must end in .png, .svg, .pdf" in result.output


def test_a_file_in_a_folder_that_will_be_made_is_fine_and_nothing_is_left(tmp_path):
    check_file("--out", tmp_path / "a" / "b" / "c.npz")
    assert not [*tmp_path.iterdir()]
    (tmp_path / "old.npz").write_text("kept")
    check_file("--out", tmp_path / "old.npz")
    assert (tmp_path / "old.npz").read_text() == "kept"
    with pytest.raises(UserError, match="is a folder"):
        check_file("--out", tmp_path)


FILES = ("finetune", "json")


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_not_replaced_by_a_file(name, tmp_path):
    os.mkfifo(tmp_path / "pipe")  # devices such as /dev/null are told in the same way
    result = CliRunner().invoke(main, [*COMMANDS[name], str(tmp_path / "pipe")])
    assert result.exit_code == 2
    assert "a link, a pipe or a device, which would be replaced; give a plain file" in result.output
    with pytest.raises(OSError, match="no plain file"):
        write_bytes(tmp_path / "pipe", b"{}")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("target", ["there.json", "nowhere.json"])
@pytest.mark.parametrize("name", FILES)
def test_a_link_is_not_replaced_by_a_file(name, target, tmp_path):
    (tmp_path / "there.json").write_text("{}")
    (tmp_path / "link").symlink_to(target)
    result = CliRunner().invoke(main, [*COMMANDS[name], str(tmp_path / "link")])
    assert result.exit_code == 2
    assert "is a link, a pipe or a device" in result.output
    assert ("- for stdout" in result.output) == (name == "json")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("content", [b"import numpy", b"{no json", b"[1]", b"{" * 9999, b"{\xff}"])
def test_json_is_not_written_over_what_is_no_report(content, tmp_path):
    (tmp_path / "mine.py").write_bytes(content)
    result = CliRunner().invoke(main, ["doctor", "--json", str(tmp_path / "mine.py")])
    assert result.exit_code == 2
    assert "is there and is no earlier report; choose another file" in result.output
    assert (tmp_path / "mine.py").read_bytes() == content


@pytest.mark.parametrize("content", [None, "", '{"an": "earlier report"}\n'])
def test_json_is_written_over_an_earlier_report_or_nothing(content, tmp_path):
    file = tmp_path / "report.json"
    if content is not None:
        file.write_text(content)
    assert "report.json" not in CliRunner().invoke(main, ["doctor", "--json", str(file)]).output
    assert file.read_text().startswith("{")
    assert "earlier" not in file.read_text()


def test_the_users_images_and_the_networks_stay_where_json_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", x=np.zeros((20, 4, 4), np.uint8), y=np.arange(20) % 2)
    before = (tmp_path / "mine.npz").read_bytes()
    result = CliRunner().invoke(main, ["finetune", "mine.npz", "--json", "mine.npz"])
    assert result.exit_code == 2
    assert "--json mine.npz is there and is no earlier report" in result.output
    assert (tmp_path / "mine.npz").read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        ("finetune", "digits", "--out", "a.svg", "--json"),
        ("gradcheck", "--plot", "a.svg", "--json"),
        ("bench", "--figure", "a.svg", "--json"),
    ],
)
@pytest.mark.parametrize("same", ["a.svg", "./a.svg", "b/../a.svg"])
def test_two_files_do_not_replace_each_other(options, same, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [*options, same])
    assert result.exit_code == 2
    assert f"{options[-3]} and --json are both" in result.output
    assert not [*tmp_path.iterdir()]
