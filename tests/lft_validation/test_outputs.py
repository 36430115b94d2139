"""What cannot be written is refused before anything is computed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from lft_validation.cli import main
from lft_validation.commands.outputs import check_file
from lft_validation.errors import UserError

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
