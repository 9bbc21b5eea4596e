"""A person's mistake ends with one or two lines, exit status 2, and nothing written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import undiffuse

Undiffuse = Callable[..., Any]
Unchanged = Callable[..., Any]


@pytest.fixture
def refused(undiffuse_: Undiffuse, unchanged: Unchanged, tmp_path: Path) -> Callable[..., str]:
    """Calls the command, which has to refuse; returns what it says."""

    def call(*words: object, beside: Path | None = None) -> str:
        with unchanged(tmp_path, *([beside] if beside else [])):
            done = undiffuse_(*words)
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith("error: ")
        assert done.err.count("\n") <= 2
        return done.err

    return call


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "digist"], r"recipes has no 'digist' \(did you mean 'digits'\?\); it has: .*toy-2d"),
        (["show", "runs/missing"], r"there is no run and no recipe at runs/missing"),
        (["train", "missing.toml"], r"cannot read recipe missing.toml: No such file"),
        (["train", "digits", "--set", "train.stesp=3"], r"train has no 'stesp' \(did you mean 'steps'\?\)"),
        (["train", "digits", "--set", "trian.steps=3"], r"has no 'trian' \(did you mean 'train'\?\)"),
        (["train", "digits", "--set", "network.name=unett"], r"networks has no 'unett' \(did you mean 'unet'\?\)"),
        (["train", "digits", "--set", "network.widht=8"], r"has no 'widht' \(did you mean 'width'\?\)"),
        (["train", "digits", "--set", "train.steps=many"], r"steps = 'many' does not fit int"),
        (["train", "digits", "--set", "train.steps=0"], r"train.steps must be at least 1, not 0"),
        (["train", "digits", "--set", "train.batch=-1"], r"train.batch must be at least 1, not -1"),
        (["train", "digits", "--set", "steps"], r"write table.field=value"),
        (["train", "digits", "--set", "parameterization.name=noise", "schedule.name=flow"], r"alpha = 0.*velocity"),
        (["trian"], r"No such command 'trian'"),
        (["train"], r"Missing argument 'RECIPE\|DATA'"),
        (["train", "digits", "--stesp", "3"], r"No such option: --stesp"),
        (["list", "sampler"], r"has no 'sampler' \(did you mean 'samplers'\?\)"),
        (["list", "samplers", "--family", "words"], r"families are mixed, tokens, values, of samplers, guid"),
        (["list", "grids", "--family", "tokens"], r"undiffuse list grids --family tokens: families are mixed, tokens"),
        (
            ["list", "--family", "tokens"],
            r"list --family tokens: families are .*, of samplers, guidance, obj",
        ),
        (["show", "digist"], r"did you mean 'digits'"),
        (["sample", "nowhere"], r"there is no run at nowhere"),
        (["show", "runs/nowhere"], r"runs/nowhere"),
        (["sample", "digits"], r"no run at digits: undiffuse train digits --out runs/digits makes one"),
        (["sample", ""], r"RUN is empty: is a variable of the shell not set\?"),
        (["sample", "nowhere", "--out", ""], r"--out is empty"),
        (["train", "caf\udce9", "--out", "run"], r"'caf\\udce9' is no UTF-8: rename what it names"),
        (["train", ""], r"RECIPE\|DATA is empty"),
        (["train", "digits", "--data", ""], r"--data is empty"),
        (["list", ""], r"KIND is empty"),
        (["train", "digits", "--recipe", "text"], r"codec 'text' is for texts, and these data spell none"),
        (["evaluate", "nowhere"], r"there is no run at nowhere"),
        (["evaluate", "nowhere", "--against", "digits"], r"there is no run and no file of samples at nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_exist_or_makes_no_sense(refused: Callable[..., str], words: list[str], said: str):
    from re import DOTALL, search

    message = refused(*words)
    assert search(said, message, DOTALL), message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-n", "0"], "number of samples must be at least 1, not 0"),
        (["-n", "-5"], "number of samples must be at least 1, not -5"),
        (["-n", "many"], "valid int"),
        (["--steps", "0"], "at least 1 step, not 0"),
        (["--batch", "0"], "batch must be at least 1, not 0"),
        (["--sampler", "dddim"], "samplers has no 'dddim' (did you mean 'ddim'?)"),
        (["--sampler", "ddim", "--set", "etta=1"], "has no 'etta' (did you mean 'eta'?)"),
        (["--sampler", "ddim", "--set", "eta=much"], "eta = 'much' does not fit float"),
        (["--set", "churn"], "cannot read the setting 'churn'"),
        (["--set", "=3"], "cannot read the setting '=3'; write field=value with a field of the sampler"),
        (["--guidance", "=3"], "--guidance is a weight or one by each name"),
        (["--label", "11"], "label 11 is not one of the model's 10 classes"),
        (["--label", "seven"], "label seven is not one of the model's 10 classes"),
        (["--precision", "float8"], "precision 'float8' is unknown"),
        (["--format", "jpeg"], "'jpeg' is not one of"),
        (["--format", "gird"], "(did you mean 'grid'?)"),
        (["--format", "npz", "--trajectory", "gif"], "ask for one of them"),
        (["-o", "picture.xyz"], "there are no .xyz files of samples"),
        (["--format", "png", "-o", "file"], "it is a file"),
        (["--format", "npz", "-o", "folder.npz/a.png"], "a .npz file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_sampling(refused: Callable[..., str], digits: Path, words: list[str], said: str, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert said in refused("sample", digits, *words, beside=digits)


def test_a_label_for_an_unconditional_model(refused: Callable[..., str], plain: Path):
    assert "the model is unconditional" in refused("sample", plain, "--label", "3", beside=plain)


def test_guidance_of_an_unconditional_model(refused: Callable[..., str], plain: Path):
    assert "the model is unconditional" in refused("sample", plain, "--guidance", "3", beside=plain)


def test_a_half_written_run(refused: Callable[..., str], digits: Path, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_bytes((digits / "recipe.toml").read_bytes())
    for command in ("sample", "evaluate", "show"):
        assert "holds no model" in refused(command, run)
    weights = (digits / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    for command in ("sample", "evaluate", "show"):
        assert "incomplete or broken" in refused(command, run)


def test_a_place_that_cannot_be_written(refused: Callable[..., str], digits: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    for words in (
        ["sample", digits, "-o", "file/grid.png"],
        ["evaluate", digits, "-o", "file/there"],
        ["train", "digits", "--out", "file"],
    ):
        message = refused(*words, beside=digits)
        assert "file" in message
        assert "cannot write" in message or "is a file" in message


def test_training_does_not_write_over_another_run(refused: Callable[..., str], digits: Path):
    assert "already holds a run" in refused("train", "digits", "--out", digits, beside=digits)


def own_data(refused: Callable[..., str], *settings: str) -> str:
    return refused("train", "digits", "--out", "run", "--set", *settings)


def test_an_empty_folder_of_images(refused: Callable[..., str], tmp_path: Path):
    (tmp_path / "photos").mkdir()
    assert "photos" in own_data(refused, "data.name=folder", "data.path=photos")


def test_a_broken_image(refused: Callable[..., str], tmp_path: Path):
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    whole = (tmp_path / "photos" / "2.png").read_bytes()
    (tmp_path / "photos" / "2.png").write_bytes(whole[: len(whole) // 2])
    assert "2.png" in own_data(refused, "data.name=folder", "data.path=photos")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"hello"])
def test_a_broken_array_file(refused: Callable[..., str], tmp_path: Path, content: bytes):
    (tmp_path / "broken.npz").write_bytes(content)
    assert "broken.npz" in own_data(refused, "data.name=file", "data.path=broken.npz")


def test_data_to_show(refused: Callable[..., str], tmp_path: Path):
    (tmp_path / "my points.csv").write_text("a,b\n1,2\n")
    assert "is data, no run and no recipe: undiffuse check-data 'my points.csv' shows it" in refused(
        "show", "my points.csv"
    )


def test_data_that_are_not_numbers(refused: Callable[..., str], tmp_path: Path):
    x = np.zeros((20, 8, 8), np.float32)
    x[3, 1, 2] = np.nan
    np.savez(tmp_path / "nan.npz", images=x)
    assert "NaN or infinite" in own_data(refused, "data.name=file", "data.path=nan.npz")


def test_another_number_of_channels(refused: Callable[..., str], tmp_path: Path):
    x = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "colour.npz", images=x, labels=np.arange(20) % 10)
    assert "takes (batch, 1, height, width)" in own_data(
        refused, "data.name=file", "data.path=colour.npz", "network.channels=1"
    )


def test_a_size_that_the_network_cannot_halve(refused: Callable[..., str], tmp_path: Path):
    x = np.random.default_rng(0).integers(0, 255, (20, 9, 9)).astype(np.uint8)
    np.savez(tmp_path / "odd.npz", images=x, labels=np.arange(20) % 10)
    assert "9" in own_data(refused, "data.name=file", "data.path=odd.npz")


def test_labels_that_the_data_does_not_have(refused: Callable[..., str], tmp_path: Path):
    np.savez(tmp_path / "bare.npz", images=np.random.default_rng(0).integers(0, 255, (20, 8, 8)).astype(np.uint8))
    assert "has no 'label'" in own_data(refused, "data.name=file", "data.path=bare.npz")


def test_samples_that_do_not_fit_the_data(refused: Callable[..., str], tmp_path: Path):
    np.savez(tmp_path / "large.npz", images=np.zeros((20, 16, 16), np.uint8))
    assert "cannot be judged against" in refused("evaluate", "large.npz", "--against", "digits")


def test_judging_needs_something_to_judge_against(refused: Callable[..., str], digits: Path, tmp_path: Path):
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 8, 8), np.uint8))
    assert "--against" in refused("evaluate", "a.npz")
    assert "did you mean 'digits'" in refused("evaluate", "a.npz", "--against", "digist")
    assert "every item of moons" not in refused("evaluate", digits, "--against", "moons", beside=digits)
    assert "is for drawing samples from a run" in refused("evaluate", "a.npz", "--against", "digits", "--steps", "3")


def test_debug_shows_where_it_happened(undiffuse_: Undiffuse):
    from undiffuse.cli.main import main

    for words in (["--debug", "sample", "nowhere"], ["sample", "nowhere", "--debug"]):
        with pytest.raises(undiffuse.registry.Refused, match="there is no run at nowhere"):
            main(words)


def test_the_systems_own_errors_are_said_in_one_line(undiffuse_: Undiffuse, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "grid.png")

    monkeypatch.setattr("undiffuse.models.load.generator", full)
    done = undiffuse_("sample", "run")
    assert (done.status, done.err) == (2, "error: no space left on device (grid.png)\n")


def test_an_error_of_the_program_is_not_blamed_on_the_person(undiffuse_: Undiffuse, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undiffuse.models.load.generator", lambda *_, **__: 1 / 0)
    done = undiffuse_("sample", "run")
    assert done.status == 1
    assert "ZeroDivisionError" in done.err
    assert "--debug" in done.err


def test_an_error_in_a_persons_own_code_is_said_to_be_there(
    undiffuse_: Undiffuse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "mine.py").write_text("def load(*_, **__):\n    return len(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("undiffuse.models.load.generator", __import__("mine").load)
    done = undiffuse_("sample", "run")
    assert done.status == 1
    assert "TypeError: object of type 'int' has no len()" in done.err
    assert f"this is in code of your own, {tmp_path / 'mine.py'}:2; `--debug` shows the way there" in done.err


def test_an_error_of_this_program_names_the_line(undiffuse_: Undiffuse, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undiffuse.models.load.held", None)
    done = undiffuse_("show", Path(__file__).parent)
    assert done.status == 2
    monkeypatch.setattr("undiffuse.recipes.recipe.names", None)
    done = undiffuse_("list", "recipes")
    assert "this is a bug in undiffuse, unless listing.py is yours, " in done.err


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_memory_that_ran_out_is_no_bug(undiffuse_: Undiffuse, monkeypatch: pytest.MonkeyPatch, error: Exception):
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("undiffuse.models.load.generator", full)
    assert "error: there is not enough memory for this: ask for fewer" in undiffuse_("sample", "run").err


def test_interrupted(undiffuse_: Undiffuse, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("undiffuse.models.load.generator", interrupt)
    done = undiffuse_("sample", "run")
    assert (done.status, done.err.strip()) == (130, "interrupted")
    monkeypatch.setattr("undiffuse.cli.main._command", interrupt)  # before there is a command
    done = undiffuse_("sample", "run")
    assert (done.status, done.err.strip()) == (130, "interrupted")
