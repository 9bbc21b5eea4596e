"""Whatever bytes a file holds, data come out of it or the request is refused; nothing else."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.dataset import Dataset

X = np.random.default_rng(0).integers(0, 256, (5, 6, 6), dtype=np.uint8)
QUICK = settings(
    max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, X.astype(np.float64))
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, images=X, labels=np.arange(5), classes=np.array(list("abcde")))
    return file.getvalue()


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(X[0].repeat(3).reshape(6, 6, 3)).save(file, form)
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in {"a.png": picture("PNG"), "a.cls": b"1", "b.jpg": picture("JPEG"), "b.cls": b"0"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def h5() -> bytes:
    h5py = pytest.importorskip("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as archive:
        archive["images"] = X
        archive.create_dataset("group/packed", data=X, compression="gzip", chunks=(2, 6, 6))
    return file.getvalue()


def csv() -> bytes:
    return b"a,b,kind\n" + b"".join(b"%d,%d.5,w%d\n" % (i, -i, i % 3) for i in range(9)) + b'"1","2","w0"\n'


WHOLE: dict[str, Callable[[], bytes]] = {
    "x.npy": npy,
    "x.npz": npz,
    "x.csv": csv,
    "x.tar": tar,
    "x.h5": h5,
    "images/x.png": lambda: picture("PNG"),
    "images/x.jpg": lambda: picture("JPEG"),
    "images/x.gif": lambda: picture("GIF"),
    "images/x.tif": lambda: picture("TIFF"),
    "images/x.webp": lambda: picture("WEBP"),
}


def refused_or_data(folder: Path, name: str, content: bytes) -> Dataset | None:
    """The data of a file of these bytes, or None where it is refused; any other error is an error of the test."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    fields = {"label": "kind"} if name == "x.csv" else {}
    try:
        data = resolve.open(str(path.parent if "images" in name else path), **fields)
        data.describe()
    except Refused:
        return None
    return data


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_file_is_data(tmp_path: Path, name: str):
    assert refused_or_data(tmp_path, name, WHOLE[name]()) is not None


@pytest.mark.parametrize("name", WHOLE)
def test_changed_bytes_are_data_or_refused(tmp_path: Path, name: str):
    whole = WHOLE[name]()
    places = st.integers(0, len(whole) - 1)
    early = st.integers(0, min(len(whole) - 1, 200))  # headers lie at the beginning
    changes = st.lists(st.tuples(early | places, st.integers(0, 255)), min_size=1, max_size=8)

    @QUICK
    @given(changes, st.integers(0, len(whole)) | st.just(len(whole)), st.binary(max_size=20))
    def check(changed: list[tuple[int, int]], kept: int, more: bytes) -> None:
        content = bytearray(whole)
        for place, value in changed:
            content[place] = value
        refused_or_data(tmp_path, name, bytes(content[:kept]) + more)

    check()


@pytest.mark.parametrize("name", WHOLE)
def test_random_bytes_are_data_or_refused(tmp_path: Path, name: str):
    start = WHOLE[name]()[:16]

    @QUICK
    @given(st.binary(max_size=300), st.booleans())
    def check(content: bytes, head: bool) -> None:
        refused_or_data(tmp_path, name, start * head + content)

    check()


@QUICK
@given(text=st.text(alphabet='0123456789.-+eEnaif,;\t"\n\r _x\x0b\x1c\u2028', max_size=120))
def test_any_text_is_a_table_or_refused(tmp_path: Path, text: str):
    refused_or_data(tmp_path, "x.csv", b"a,kind\n1,x\n" + text.encode())
