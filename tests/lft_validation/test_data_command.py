"""`lft data` says what is there, and downloads what is not."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from lft_validation import datasets_fetch
from lft_validation.cli import main
from lft_validation.datasets import CIFAR10, MNIST, load
from lft_validation.datasets_fetch import fetch
from lft_validation.errors import UserError
from tests.lft_validation.image_files import write_cifar, write_mnist

pytest.importorskip("pooch", reason="downloads need pooch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")


pytestmark = pytest.mark.usefixtures("nowhere")


def lft(*arguments):
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def test_list_says_what_is_there_within_80_columns(tmp_path):
    write_mnist(tmp_path / "mnist")
    result = lft("list", "--data-dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert "not official" in result.output
    assert "not found" in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80
    entries = json.loads(lft("list", "--data-dir", tmp_path, "--json", "-").output)["data"]
    found = {(entry["name"], entry["split"]): entry for entry in entries}
    assert found["mnist", "train"]["images"] == 5
    assert found["mnist", "test"]["place"] == "--data-dir"
    assert found["digits", "train"]["state"] == "official"
    assert found["svhn", "train"]["state"] == "not found"


def test_verify_reads_every_image(tmp_path):
    write_cifar(tmp_path / "cifar-10-batches-bin")
    assert lft("verify", "cifar10", "--data-dir", tmp_path).exit_code == 0
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    path.write_bytes(bytes([77]) + path.read_bytes()[1:])  # headers and sizes do not show it
    assert lft("list", "--data-dir", tmp_path).exit_code == 0
    result = lft("verify", "cifar10", "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert "has a label 77, expected 0 to 9" in result.output


def test_what_was_named_must_be_there(tmp_path):
    result = lft("verify", "svhn", "--data-dir", tmp_path)
    assert result.exit_code == 2
    assert "not found: svhn" in result.output
    assert lft("list", "--data-dir", tmp_path / "no").exit_code == 2


# Downloads ----------------------------------------------------------------------------------------


@pytest.fixture
def server():
    """A server of ``files`` that answers ranges; it can be told to break off, and keeps a log."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = self.server.files.get(self.path)
            self.server.log.append((self.path, self.headers.get("Range")))
            if content is None:
                self.send_error(404)
                return
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = self.server.breaks.pop(self.path, len(content))
            self.wfile.write(content[start:stop])

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.breaks, server.log = {}, {}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def offered(server, tmp_path, *mirrors):
    """MNIST as the server has it, with small files."""
    write_mnist(tmp_path / "there")
    contents = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    server.files |= {f"/good/{name}": content for name, content in contents.items()}
    base = f"http://127.0.0.1:{server.server_port}/"
    return MNIST._replace(
        train={name: md5(contents[name]) for name in MNIST.train},
        test={name: md5(contents[name]) for name in MNIST.test},
        mirrors=tuple(base + mirror for mirror in mirrors),
    )


def test_files_come_from_the_first_mirror_that_has_them_right(server, tmp_path):
    wanted = offered(server, tmp_path, "gone/", "wrong/", "good/")
    server.files |= {f"/wrong/{name}": b"something else" for name in wanted.train}
    said = fetch(wanted, tmp_path / "here")
    assert said.startswith("mnist: 4 files written to ")
    for name, checksum in {**wanted.train, **wanted.test}.items():
        assert md5((tmp_path / "here" / "mnist" / name).read_bytes()) == checksum
    assert load("mnist", "train", tmp_path / "here").images.number == 5
    assert len(list((tmp_path / "here" / "mnist").iterdir())) == 4  # nothing is left behind
    asked = len(server.log)
    assert "complete" in fetch(wanted, tmp_path / "here")
    assert len(server.log) == asked


def test_a_download_that_broke_off_goes_on_where_it_was(server, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets_fetch, "PIECE", 100)  # what is lost is less than one piece
    wanted = offered(server, tmp_path, "good/")
    name = next(iter(wanted.train))
    server.breaks[f"/good/{name}"] = 1000
    with pytest.raises(UserError, match=f"no mirror has {name} .*try again later to go on"):
        fetch(wanted, tmp_path / "here")
    fetch(wanted, tmp_path / "here")
    assert [asked for path, asked in server.log if path == f"/good/{name}"] == [
        None,
        "bytes=1000-",
    ]


def test_a_file_of_ones_own_is_not_overwritten(server, tmp_path):
    wanted = offered(server, tmp_path, "good/")
    write_mnist(tmp_path / "here" / "mnist", train=9)
    with pytest.raises(UserError, match="is not the official file, and is not overwritten"):
        fetch(wanted, tmp_path / "here")
    assert load("mnist", "train", tmp_path / "here").images.number == 9


def test_an_archive_gives_its_wanted_files_and_nothing_else(server, tmp_path):
    write_cifar(tmp_path / "there")
    contents = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        members = {f"cifar-10-batches-bin/{name}": data for name, data in contents.items()}
        for name, data in {**members, "../evil.bin": b"evil", "other.txt": b"other"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    server.files["/cifar-10-binary.tar.gz"] = buffer.getvalue()
    wanted = CIFAR10._replace(
        mirrors=(f"http://127.0.0.1:{server.server_port}/",),
        archive=("cifar-10-binary.tar.gz", md5(buffer.getvalue())),
    )
    fetch(wanted, tmp_path / "here")
    left = sorted(path.name for path in (tmp_path / "here").rglob("*") if path.is_file())
    assert left == sorted(contents)
    assert not (tmp_path / "evil.bin").exists()


def test_a_server_that_never_ends_is_stopped(server, tmp_path, monkeypatch):
    wanted = offered(server, tmp_path, "good/")
    monkeypatch.setattr(datasets_fetch, "LARGEST", 100)
    with pytest.raises(UserError, match="sends more than any such file has"):
        fetch(wanted, tmp_path / "here")


def test_the_digits_need_no_download():
    result = lft("fetch", "digits")
    assert result.exit_code == 0
    assert "nothing to download" in result.output


def test_downloads_need_pooch(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    result = lft("fetch", "mnist", "--data-dir", tmp_path)
    assert result.exit_code == 2
    assert "pip install 'lft-ref[images]'" in result.output
