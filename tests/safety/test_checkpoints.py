"""A run folder may be half-written, damaged, or put together from two: it goes on as it was, or is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from strange import TABLES, bytes_of

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.storage import files
from undiffuse.training import checkpoint

TINY = {
    **TABLES,
    "data": {"name": "moons", "count": 100},
    "train": {"steps": 4, "batch": 8, "checkpoint_every": 2, "validate_every": 2, "preview_every": 0, "keep": 2},
}
ORDER = ("recipe", "metrics", "tensorboard", "ema", "00000002", "model.safetensors", "model.json", "00000004")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    undiffuse.train(TINY, out=folder).run(progress=False)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run of its own for a test to spoil."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def resume(run: Path) -> int:
    """Go on, if only to the end that was reached; returns the step that was found."""
    training = undiffuse.train(run, resume=True)
    step = training.step
    training.run(progress=False)
    return step


def said(use: Callable[[Path], Any], run: Path) -> str:
    """What is refused when a run is used, in its words; nothing if it is used."""
    try:
        use(run)
    except Refused as error:
        return str(error)
    return ""


def last(run: Path) -> Path:
    path = checkpoint.newest(run)
    assert path is not None
    return path


def test_the_run_itself_goes_on_from_its_end(run: Path):
    assert resume(run) == 4
    assert undiffuse.load(run).facts["step"] == 4


def written(run: Path) -> list[Path]:
    """The run's files in the order of their writing."""
    found = [path for path in sorted(run.rglob("*")) if path.is_file() and path.name != ".lock"]
    return sorted(found, key=lambda path: next(i for i, word in enumerate(ORDER) if word in str(path.relative_to(run))))


def test_every_beginning_of_a_run_is_gone_on_with_or_refused(trained: Path, tmp_path: Path):
    everything, refusals = written(trained), []
    for count in range(len(everything) + 1):
        part = tmp_path / str(count)
        part.mkdir()
        for path in everything[:count]:
            target = part / path.relative_to(trained)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        refusals.append(said(resume, part))
        if not refusals[-1]:
            assert undiffuse.load(part).facts["step"] == 4
            assert last(part).name == "00000004"
    assert "has no recipe.toml" in refusals[0]  # no recipe, no run
    assert [(i, text) for i, text in enumerate(refusals) if text and str(tmp_path / str(i)) not in text] == []
    assert refusals[1] == refusals[-1] == ""
    assert (
        len([text for text in refusals if text]) <= 3
    )  # a checkpoint of which one file is there, which no kill leaves


@pytest.mark.parametrize(
    "name", ["model.safetensors", "state.safetensors", "state.json", "recipe.toml", "metrics.jsonl"]
)
def test_a_file_cut_anywhere_is_refused_or_does_no_harm(run: Path, name: str):
    path = next(path for path in reversed(written(run)) if path.name == name)
    content, said_of = path.read_bytes(), []
    for length in sorted({0, 1, 7, 8, 9, 60, len(content) // 2, len(content) - 1}):
        path.write_bytes(content[:length])
        said_of += [said(undiffuse.load, run), said(resume, run)]
    assert max(map(len, said_of)) < 600
    assert any(said_of) or name == "metrics.jsonl"


@pytest.mark.parametrize("field", ["step", "seconds", "pending", "stamp"])
@pytest.mark.parametrize("value", [None, "x", -1, 1.5, [], {}, [[1]], [["a", "b"]], 10**12, True])
def test_a_state_with_wrong_types_is_refused_or_does_no_harm(run: Path, field: str, value: Any):
    path = last(run) / checkpoint.STATE
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, field: value}))
    harmless = (field, value) in [("seconds", 1.5), ("seconds", 10**12), ("pending", [])]
    if harmless:
        assert resume(run) == 4
        return
    with pytest.raises(Refused):
        resume(run)


@pytest.mark.parametrize("field", ["step", "seconds", "pending", "stamp"])
def test_a_state_that_lacks_something_is_refused(run: Path, field: str):
    path = last(run) / checkpoint.STATE
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != field}))
    with pytest.raises(Refused):
        resume(run)


WEIGHT = "weights.network.enter.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: held.pop(WEIGHT), r"checkpoint .* lacks 'network.enter.weight'"),
        (
            lambda held: held.update({WEIGHT: held[WEIGHT].T}),
            r"'network.enter.weight' is \(3, 4\), the model's is \(4, 3\)",
        ),
        (lambda held: held.update({WEIGHT: held[WEIGHT].double()}), "is float64, the model's is float32"),
        (lambda held: held.update({WEIGHT: torch.zeros(2000, 2000)}), r"is \(2000, 2000\), the model's is \(4, 3\)"),
        (lambda held: held.update({"weights.more": torch.zeros(3)}), "holds 'more', which the model does not have"),
        (lambda held: held.update({"average.more": torch.zeros(3)}), "holds 'more', which the model does not have"),
        (lambda held: held.update({"optimiser.exp_avg.more": torch.zeros(3)}), "more"),
        (lambda held: held.update({"optimiser.odd": torch.zeros(3)}), "odd"),
        (lambda held: held.update({"optimiser.odd.network.enter.weight": torch.zeros(3)}), "odd"),
        (lambda held: held.update({"neither": torch.zeros(3)}), "neither"),
        (lambda held: held.clear(), "lacks"),
    ],
)
def test_tensors_that_do_not_fit_are_named(run: Path, change: Callable[[dict[str, Any]], None], message: str):
    path = last(run) / checkpoint.TENSORS
    held, about = files.read_tensors(path, "checkpoint")
    change(held)
    files.write_tensors(path, held, about)
    with pytest.raises(Refused, match=message):
        resume(run)


def test_a_checkpoint_of_another_recipe_is_refused_by_what_differs(run: Path, tmp_path: Path):
    other = tmp_path / "other"
    undiffuse.train(TINY, overrides=["network.width=6"], out=other).run(progress=False)
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(other / "checkpoints", run / "checkpoints")
    with pytest.raises(Refused, match=r"checkpoint .*: 'network\..*' is \(6.*\), the model's is \(4"):
        resume(run)


def test_a_checkpoint_of_two_steps_is_refused_and_the_one_before_is_there(run: Path):
    first, second = sorted((run / "checkpoints").iterdir())
    shutil.copy(first / checkpoint.STATE, second / checkpoint.STATE)
    with pytest.raises(Refused, match="mixes the steps 4 and 2: remove it, and the one before is used"):
        resume(run)
    shutil.rmtree(second)
    assert resume(run) == 2


def test_a_pickle_at_the_place_of_a_checkpoint_is_not_run(run: Path, tmp_path: Path):
    pickled = b"cposix\nsystem\n(S'touch " + str(tmp_path / "sprung").encode() + b"'\ntR."
    for name in (checkpoint.TENSORS, checkpoint.STATE):
        whole = (last(run) / name).read_bytes()
        for content in (pickled, bytes_of(b"[" * 10_000), bytes_of({}, size=2**60)):
            (last(run) / name).write_bytes(content)
            with pytest.raises(Refused, match=r"checkpoint .*00000004"):
                resume(run)
        (last(run) / name).write_bytes(whole)
    assert not (tmp_path / "sprung").exists()


def test_names_that_are_no_step_are_no_checkpoints(run: Path):
    for name in ("1²", "٣", "5x", "00000007.old", "-1"):
        (run / "checkpoints" / name).mkdir()
    assert resume(run) == 4
