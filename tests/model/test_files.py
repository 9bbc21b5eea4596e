"""Files are whole or absent, and reading them runs no code and says what is wrong."""

import json
import os
from pathlib import Path

import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.storage import files
from undiffuse.storage.tensor_file import held


def test_a_file_that_fails_half_way_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "a.json"
    files.write_json(path, {"step": 1})
    with pytest.raises(TypeError, match="not JSON serializable"), files.whole(path) as temporary:
        temporary.write_text("{half" + json.dumps(object()))
    assert files.read_json(path, "file") == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_at_once_and_leftovers_of_a_kill_are_swept(tmp_path: Path):
    path = tmp_path / "00000005"
    with files.whole(path) as temporary:
        temporary.mkdir()
        (temporary / "x").write_text("1")
        assert not path.exists()
        assert temporary.name.startswith(files.PARTIAL)
    assert (path / "x").read_text() == "1"
    (tmp_path / f"{files.PARTIAL}77-00000006").mkdir()
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["00000005"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"cannot write .*file/below/a.json"):
        files.write_json(tmp_path / "file" / "below" / "a.json", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is broken"),
        (b"[1]", "holds no JSON object"),
        (b"\xff\xfe\x00", "it is not UTF-8 text"),
        (b"[" * 100_000, "is broken"),
        (b" " * 200, "larger than 100 bytes"),
    ],
)
def test_bad_json_is_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(Refused, match=message):
        files.read_json(path, "file", limit=100 if len(content) == 200 else files.JSON_LIMIT)
    with pytest.raises(Refused, match=r"cannot read file .*No such file"):
        files.read_json(tmp_path / "absent", "file")


def test_tensors_come_back_with_what_is_said_about_them(tmp_path: Path):
    held = {"a": torch.randn(3, 4).T, "b": torch.tensor(7), "c": torch.zeros(2, dtype=torch.bfloat16)}
    held |= {"d": torch.tensor([True, False]), "e": torch.zeros(0, 3), "f": torch.arange(3, dtype=torch.int16)}
    files.write_tensors(tmp_path / "t", held, {"step": 3})
    back, about = files.read_tensors(tmp_path / "t", "model")
    assert about == {"step": 3}
    assert all(torch.equal(back[name], held[name]) and back[name].dtype == held[name].dtype for name in held)


def test_a_cut_or_strange_tensor_file_is_refused(tmp_path: Path):
    path = tmp_path / "t"
    files.write_tensors(path, {"a": torch.zeros(1000)})
    whole = path.read_bytes()
    for content in (whole[:-100], whole[:5], b"", b"\x80\x04pickle" * 10):
        path.write_bytes(content)
        with pytest.raises(Refused, match=r"cannot read model .*incomplete or broken"):
            files.read_tensors(path, "model")
    with pytest.raises(Refused, match=r"no such file"):
        files.read_tensors(tmp_path / "absent", "model")


def test_a_file_that_is_cut_while_it_is_read_is_refused(tmp_path: Path):
    """A mapped file would end the process then."""
    path = tmp_path / "t"
    files.write_tensors(path, {"a": torch.ones(3), "b": torch.zeros(100_000)})
    with held(path, "model") as found:
        assert found["a"].tolist() == [1, 1, 1]
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(Refused, match=r"cannot read model .*incomplete or broken \(it ends too soon\)"):
            _ = found["b"]


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"wieght": torch.zeros(2)}, r"model lacks 'weight'; it has 'wieght' \(did you mean 'weight'\?\)"),
        ({"weight": torch.zeros(2), "more": torch.zeros(1)}, "holds 'more', which the model does not have"),
        ({"weight": torch.zeros(3)}, r"'weight' is \(3,\), the model's is \(2,\)"),
        ({"weight": torch.zeros(2).half()}, "'weight' is float16, the model's is float32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(held: dict[str, torch.Tensor], message: str):
    with pytest.raises(Refused, match=message):
        files.fit(held, {"weight": torch.zeros(2)}, "model")


def test_numbers_that_are_not_finite_are_named():
    with pytest.raises(Refused, match=r"'a' holds numbers that are infinite or not numbers"):
        files.finite({"n": torch.tensor(1), "a": torch.tensor([1.0, float("nan")])}, "model")


def test_a_model_is_as_readable_as_any_other_file(tmp_path: Path):
    (tmp_path / "other").write_text("")
    files.write_tensors(tmp_path / "a.safetensors", {"w": torch.zeros(2)})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
