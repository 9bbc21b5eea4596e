"""Where `undiffuse sample` writes, and in which format: suffixes, folders, the standard output, devices and pipes."""

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.cli.main import main
from undiffuse.core.errors import Refused
from undiffuse.storage import output_paths

Undiffuse = Callable[..., Any]


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def decoded(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def test_the_suffix_says_the_format(undiffuse_: Undiffuse, digits: Path):
    undiffuse_("sample", digits, "-n", 3, "-o", "a.npz")
    for name in ("a.npy", "a.png", "a.jpg", "a.JPEG", "a.webp", "a.gif"):
        assert undiffuse_("sample", digits, "-n", 3, "-o", name).status == 0
    np.testing.assert_array_equal(np.load("a.npy"), arrays(Path("a.npz"))["images"])
    kinds = {}
    for name in ("a.png", "a.jpg", "a.JPEG", "a.webp", "a.gif"):
        with Image.open(name) as picture:
            kinds[name] = picture.format
            assert getattr(picture, "n_frames", 1) == (4 if name == "a.gif" else 1)  # the way, animated
    assert kinds == {"a.png": "PNG", "a.jpg": "JPEG", "a.JPEG": "JPEG", "a.webp": "WEBP", "a.gif": "GIF"}
    np.testing.assert_array_equal(np.asarray(Image.open("a.webp").convert("L")), np.asarray(Image.open("a.png")))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["-o", "x.xyz"],
            ".webp, .gif, .npz, .npy, .csv, .txt, .jsonl, .wav, .mp4, .obj, .ply, or a folder",
        ),
        (["-o", "x.tar.gz"], "there are no .gz files of samples"),
        (["--format", "npz", "-o", "x.png"], "--format npz makes a .npz file, and x.png is another"),
        (["--format", "png", "-o", "x.png"], "--format png makes a folder of one file an image"),
        (["--trajectory", "gif", "-o", "x.png"], "--trajectory gif makes a .gif file, and x.png is another"),
        (["--format", "png", "-o", "-"], "name a folder"),
    ],
)
def test_a_suffix_that_contradicts_or_that_nobody_knows_is_refused(
    undiffuse_: Undiffuse, digits: Path, words: list[str], says: str
):
    done = undiffuse_("sample", digits, "-n", 2, *words)
    assert (done.status, list(Path().iterdir())) == (2, [])
    assert says in done.err


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_the_standard_output_is_written_and_never_replaced(
    digits: Path, points: Path, name: str, capfdbinary: pytest.CaptureFixture[bytes]
):
    before = os.path.realpath("/dev/stdout"), os.path.islink("/dev/stdout")
    from undiffuse.cli.main import main

    def out(*words: object) -> bytes:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["sample", *map(str, words)])
        assert not stop.value.code
        return capfdbinary.readouterr().out

    assert decoded(out(digits, "-n", 2, "-o", name)).format == "PNG"
    assert out(points, "-n", 3, "--format", "csv", "-o", name).splitlines()[0] == b"x0,x1"
    assert np.load(io.BytesIO(out(digits, "-n", 2, "--format", "npy", "-o", name))).shape == (2, 8, 8)
    assert (os.path.realpath("/dev/stdout"), os.path.islink("/dev/stdout")) == before


def test_a_device_or_a_pipe_is_written_to_and_never_replaced(tmp_path: Path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    output_paths.put(output_paths.file(pipe, tmp_path, "samples.png"), b"abc")
    reader.join()
    assert heard == [b"abc"]
    assert pipe.is_fifo()
    output_paths.put(output_paths.file(Path(os.devnull), tmp_path, "samples.png"), b"abc")
    assert Path(os.devnull).is_char_device()
    assert os.listdir(tmp_path) == ["pipe.png"]


def test_closed_outputs_are_nowhere_and_no_place_for_data(monkeypatch: pytest.MonkeyPatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)  # as in `undiffuse list >&- 2>&-`
    for words, status in ((["list"], 0), (["list", "nothing"], 2)):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert (stop.value.code or 0) == status
    for made in (sys.stdout, sys.stderr):
        made.close()
    monkeypatch.setattr(sys, "__stdout__", None)
    with pytest.raises(Refused, match="the standard output is closed: name a file with -o"):
        output_paths.put(output_paths.STDOUT, b"a,b\n")


def test_a_terminal_gets_text_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    output_paths.put(output_paths.STDOUT, "größer\n".encode())
    with pytest.raises(Refused, match="a terminal shows text"):
        output_paths.put(output_paths.STDOUT, b"\x89PNG")
