"""``lft finetune``: a network of one's own on few labelled images."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")  # the digits
pytest.importorskip("PIL")

from lft_ref import adam
from lft_validation.cli import main
from lft_validation.files import read_arrays
from lft_validation.finetuning import draw, fine_tune_all, initial_networks, make_network, only
from lft_validation.finetuning import read_images as read
from lft_validation.tuners import shipped

SMALL = ("--draws", "2", "--steps", "5", "--shots", "3", "--query", "4")


def lft(*arguments: str):
    return CliRunner().invoke(main, ["finetune", *arguments], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path):
    """Two classes of 9 × 9 pictures: bright above, and bright below."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, rows in (("above", slice(0, 4)), ("below", slice(5, 9))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 60, (9, 9, 3)).astype(np.uint8)
            pixels[rows] += 180
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


def test_pictures_in_a_folder_are_learned_from_few_of_them(folder, tmp_path):
    out, report = tmp_path / "networks.npz", tmp_path / "report.json"
    found = lft(str(folder), *SMALL, "--steps", "20", "--network", "cnn2", "--out", str(out),
                "--json", str(report))  # fmt: skip
    assert found.exit_code == 0, found.output
    result = json.loads(report.read_text())
    assert len(result["data"]["sha256"]) == 64
    assert "numpy" in result["versions"]
    assert result["classes"] == ["above", "below"]
    assert set(result["results"]) == {"LFT", "SGD", "Adam"}
    assert len(result["results"]["LFT"]["accuracy"]) == 21
    assert max(r["accuracy"][-1] for r in result["results"].values()) > 0.9
    starts = {r["accuracy"][0] for r in result["results"].values()}
    assert len(starts) == 1  # the same images and networks for all
    arrays = read_arrays(out, "lft-finetuned-1")
    assert arrays["classes"].tolist() == ["above", "below"]
    assert arrays["theta_lft"].shape == arrays["theta_adam"].shape
    seen = " parameters; 9 × 9 pixels, colour; 4 unseen images of each class; mean of 2 draws"
    assert seen in " ".join(found.output.split())
    assert max(len(line) for line in found.output.splitlines() if "written" not in line) <= 80


def test_an_npz_file_and_a_network_of_the_users_own(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 255, (20, 6, 6)).astype(np.uint8)
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(20) % 2)
    code = "from lft_ref import Network, mlp\nfrom lft_ref.pooling import Flatten\n"
    code += "net = Network((Flatten(), *mlp((36, 4, 2), 'tanh').layers))\nthree = 3\n"
    code += "wide = mlp((36, 2))\nfive = Network((Flatten(), *mlp((36, 5)).layers))\n"
    (tmp_path / "mine.py").write_text(code)
    own = str(tmp_path / "own.npz")
    found = lft(own, *SMALL, "--network", f"{tmp_path / 'mine.py'}:net", "--json", "-")
    assert found.exit_code == 0, found.output
    assert len(json.loads(found.output)["results"]["LFT"]["last"]) == 2
    for name, message in (
        ("three", "must name an lft_ref.Network, found an object of type int"),
        ("wide", "--network does not take images of shape (1, 6, 6)"),
        ("five", "one output for each of 2 classes, found outputs of shape (5,)"),
    ):
        found = lft(own, *SMALL, "--network", f"{tmp_path / 'mine.py'}:{name}")
        assert found.exit_code == 2
        assert message in " ".join(found.output.split())


def test_a_class_whose_name_has_a_comma_is_to_be_renamed(folder):
    (folder / "above").rename(folder / "up,above")
    result = lft(str(folder), *SMALL, "--classes", "up,above,below")
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "rename 'up,above': commas and spaces beside them separate names" in said
    assert lft(str(folder), *SMALL).exit_code == 0
    assert "rename" not in lft("digits", "--classes", "3,x").output


def test_the_query_size_that_is_told_is_the_one_that_was_used(tmp_path):
    np.savez(tmp_path / "few.npz", x=np.zeros((16, 6, 6), np.uint8), y=np.arange(16) % 2)
    few, file = [str(tmp_path / "few.npz"), *SMALL[:6], "--query"], tmp_path / "report.json"
    assert lft(*few, "9", "--json", str(file)).exit_code == 0
    assert json.loads(file.read_text())["query"] == 5  # 8 of each class, less 3 shots
    alone = lft(*few, "9", "--json", "-")
    assert json.loads(alone.stdout)["query"] == 5
    assert "measured on 5 unseen images of each class, not 9: there are no more" in alone.stderr
    assert not lft(*few, "5", "--json", "-").stderr.count("there are no more")


def test_the_shipped_tuner_is_the_default_and_beats_its_start():
    sources = ("digits", "mnist", "cifar10", "mnist+cifar10")
    assert {f"{source}-classes" for source in sources} <= set(shipped())
    found = lft("digits", "--classes", "3,8", "--draws", "4", "--json", "-")
    assert found.exit_code == 0, found.output
    accuracy = json.loads(found.output)["results"]["LFT"]["accuracy"]
    assert accuracy[-1] > 0.8 > accuracy[0]


def test_the_same_seed_gives_the_same_bits():
    one, same, other = (lft("digits", *SMALL, "--json", "-", "--seed", s).output for s in "001")
    assert one == same
    assert one != other


def test_classes_keep_their_names_and_the_sets_share_no_image():
    images = only(read("digits"), ["7", "2"])
    pixels, labels = images.dataset.images
    assert sorted(set(labels.tolist())) == [0, 1]
    train, val = draw(images, 4, 10**6, 3, seed=0)
    assert train.x.shape == (3, 8, 1, 8, 8)
    assert train.y[0].tolist() == [0] * 4 + [1] * 4
    least = min(np.bincount(labels))
    assert val.x.shape[1] == 2 * (least - 4)  # as many as there are
    for i in range(3):
        seen = {x.tobytes() for x in train.x[i]}
        assert not seen & {x.tobytes() for x in val.x[i]}
    sevens = pixels[labels == 0].astype("float32") / 16 - 0.5
    assert all((sevens == x).all(axis=(1, 2, 3)).any() for x in train.x[0, :4])


def test_only_images_that_are_drawn_become_floats(monkeypatch):
    images = read("digits")
    every = images.dataset.scaled()
    before, made = type(images.dataset).scaled, list[int]()
    monkeypatch.setattr(
        "lft_validation.datasets.Dataset.scaled",
        lambda self: (made.append(self.images.number), before(self))[1],
    )
    train, _ = draw(images, shots=2, query=3, draws=3, seed=0)
    assert max(made) == 30
    for x in train.x.reshape(-1, 1, 8, 8):
        assert (x == every).all(axis=(1, 2, 3)).any()


def test_fine_tuning_all_draws_at_once_is_fine_tuning_each():
    from lft_backends.backend import get_backend

    backend, images = get_backend("numpy", "float64"), only(read("digits"), ["0", "1", "9"])
    network = make_network("cnn2", images, filters=3)
    sets, theta = draw(images, 2, 3, 2, seed=1), initial_networks(network, 2, seed=1)
    both = fine_tune_all(adam(0.01), network, backend, sets, theta, 4)
    for i in range(2):
        alone = tuple(type(s)(s.x[i : i + 1], s.y[i : i + 1]) for s in sets)
        one = fine_tune_all(adam(0.01), network, backend, alone, theta[i : i + 1], 4)
        np.testing.assert_allclose(both.theta[i], one.theta[0], rtol=1e-9)
        np.testing.assert_allclose(both.loss[i], one.loss[0], rtol=1e-9)


def test_a_folder_with_a_sources_name_is_read_if_it_holds_classes(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "digits").mkdir()
    assert read("digits").shape == (1, 8, 8)  # an empty folder hides no source
    folder.rename("mnist")
    assert read("mnist").names == ["above", "below"]
    assert lft("mnist", *SMALL, "--size", "8", "--grey").exit_code == 0


def test_hidden_files_are_no_classes_and_no_pictures(folder):
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / "above" / "._0.png").write_bytes(b"of another system")
    assert read(str(folder)).names == ["above", "below"]


def test_a_rule_that_runs_away_is_named():
    result = lft("digits", *SMALL, "--sgd-rate", "1e38")
    assert result.exit_code == 0, result.output
    assert re.search(r"SGD ran away in \d of \d draws; use a smaller --sgd-rate", result.output)
    assert "Adam ran away" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no images 'nowhere'; give a folder with a subfolder"),
        (["digits", "--tuner", "none"], "no tuner 'none'"),
        (["digits", "--network", "rnn"], "--network must be one of mlp, cnn2, cnn4"),
        (["digits", "--network", "none.py:net"], "none.py is no file"),
        (["digits", "--classes", "3"], "--classes must be at least two of 0, 1"),
        (["digits", "--classes", "3,x"], "found '3, x'"),
        (["digits", "--shots", "0"], "--shots must be at least 1, found 0"),
        (["digits", "--shots", "900"], "900 to fine-tune on and at least one to judge by"),
        (["few.npz", "--classes", "1,2"], "class '2' has 1 image; 5 to fine-tune on"),
        (["few.npz", "--classes", "1,2"], "or choose other --classes"),
        (["digits", "--steps", "0"], "--steps must be at least 1"),
        (["digits", "--steps", "1000000000000"], "--steps must be at most 1,000,000, found 10000"),
        (["digits", "--seed", "-1"], "--seed must be at least 0, found -1"),
        ([""], "IMAGES is empty; give a folder, an .npz file or a source"),
        (["digits", "--tuner", ""], "no tuner ''; give a file, or one of: "),
        (["digits", "--size", "2"], "--size must be at least 4"),
        (["digits", "--data-dir", "."], "found --data-dir . and digits, which comes with scikit-l"),
        (["few.npz", "--data-dir", "."], "found --data-dir . and IMAGES few.npz; leave it out"),
        (["digits", "--grey"], "--grey needs --size"),
        (["digits", "--adam-rate", "-1"], "--adam-rate must be positive and finite, found -1"),
        (["digits", "--sgd-rate", "inf"], "--sgd-rate must be positive and finite, found inf"),
        (["digits", "--device", "gpu"], "numpy backend has one device, 'cpu', found 'gpu'"),
        (["digits", "--backend", "fortran"], "unknown backend 'fortran'"),
        (
            ["digits", "--out", "/proc/none/x.npz", *SMALL],
            "--out /proc/none/x.npz cannot be written",
        ),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("few.npz", x=np.zeros((21, 8, 8), np.uint8), y=[1] * 20 + [2])
    result = lft(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("free", "query", "images"),
    [(2**20, 15, 150), (2**23, 9000, 360)],  # the networks alone are too large, or the images
)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_drawn(
    monkeypatch, free, query, images
):
    monkeypatch.setattr("lft_validation.experiments.usable.free_memory", lambda: free)
    more = ["--draws", "9", "--query", str(query)]
    result = CliRunner().invoke(main, ["finetune", "digits", *more])
    assert result.exit_code == 2
    sentence = " ".join(result.output.split())
    about = f"9 networks of 3466 parameters, with {images} images each, need about 0.0 GiB"
    assert about in sentence
    assert sentence.endswith("use a smaller --size or --network, or fewer --draws or --query")
