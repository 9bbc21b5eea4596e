"""The components of the documentation, each in a file of its own outside the package, do the main job."""

import re
from collections.abc import Callable
from pathlib import Path

import pages
import pytest
import tomli_w

from undiffuse.cli.main import main
from undiffuse.core import plugins, registry
from undiffuse.recipes.recipe import Recipe

pytestmark = pytest.mark.usefixtures("quick_evaluation")

SETTINGS = {
    "data": "ring",
    "codec": "principal",
    "schedule": "power",
    "network": "tiny",
    "parameterization": "residual",
    "sampler": "momentum",
}
SMALL = [
    "train.batch=64",
    "train.warmup=0",
    "train.preview_every=0",
    "train.snapshots=0",
    "train.checkpoint_every=50",
    "train.log_every=50",
]
Run = Callable[..., str]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command as a process of its own would find it, without files in use; returns what it prints."""

    def run(*words: str | Path, code: int = 0) -> str:
        for path in plugins.in_use():
            plugins.forget(path)
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        assert (stop.value.code or 0) == code, out + err
        return out + err

    return run


def test_files_outside_the_package_train_sample_evaluate_show_and_resume(run: Run, tmp_path: Path):
    uses, folder = pages.write(tmp_path / "own"), tmp_path / "run"
    names = [f"{table}.name={name}" for table, name in SETTINGS.items()]
    said = run("train", "toy-2d", *uses, "--set", *names, *SMALL, "train.steps=100", "--out", folder)
    assert re.search(r"next: .*undiffuse --use \S+/power.py --use .* sample", said)
    assert "150 steps" in run("train", "--resume", folder, "--set", "train.steps=150", *uses)
    run(*uses, "sample", folder, "-n", "50", "-o", tmp_path / "samples.csv")
    assert len((tmp_path / "samples.csv").read_text(encoding="utf-8").splitlines()) == 51
    said = run("evaluate", folder, *uses, "-n", "100", "--metrics", "mean-gap,energy")
    assert float(re.findall(r"Mean gap +(\S+)", said)[0]) < 1
    shown = run("show", *uses, folder)
    assert all(f'name = "{name}"' in shown for name in SETTINGS.values())


def test_a_run_says_which_component_it_needs_and_loads_no_file_by_itself(run: Run, tmp_path: Path):
    uses, folder = pages.write(tmp_path), tmp_path / "run"
    run("train", "toy-2d", *uses, "--set", "network.name=tiny", *SMALL, "train.steps=2", "--out", folder)
    for words in (["sample", folder], ["evaluate", folder], ["show", folder], ["train", folder, "--resume"]):
        said = run(*words, code=2)
        assert "networks has no 'tiny'" in said
        assert "if it is your own, name its file: --use FILE.py" in said
    assert "sample" in run("sample", folder, "--use", tmp_path / "tiny" / "tiny.py", "-n", "4")


def test_a_persons_own_objective_has_a_teacher(run: Run, tmp_path: Path):
    uses, teacher, folder = pages.write(tmp_path / "own"), tmp_path / "teacher", tmp_path / "run"
    run("train", "toy-2d", *uses, "--set", *SMALL, "network.name=tiny", "train.steps=20", "--out", teacher)
    settings = ["objective.name=distill", f"objective.teacher={teacher}", "train.lr=0.01", *SMALL]
    run("train", "toy-2d", *uses, "--set", *settings, "train.steps=20", "--out", folder)
    run("train", "--resume", folder, "--set", "train.steps=150", *uses)
    shown = run("show", *uses, folder)
    assert "objective.teacher" in shown
    assert 'name = "distill"' in shown
    run("sample", folder, "-n", "4", "--use", tmp_path / "own" / "distill" / "distill.py")


def test_a_persons_own_kind_of_run_is_trained_resumed_shown_and_judged(run: Run, tmp_path: Path):
    uses, folder = pages.write(tmp_path / "own"), tmp_path / "run"
    recipe = Recipe.find("toy-2d").override([*SMALL, "train.steps=100"])
    (tmp_path / "my.toml").write_text(tomli_w.dumps({"kind": "restorer", **recipe.tables}), encoding="utf-8")
    assert "next: " in run("train", tmp_path / "my.toml", *uses, "--out", folder)
    run("train", "--resume", folder, "--set", "train.steps=150", *uses)
    noisy, restored = re.findall(
        r"squared error: (\S+) of noisy items, (\S+) of restored", run("evaluate", folder, *uses)
    )[0]
    assert float(restored) < float(noisy)
    assert "items with noise of any level" in run("show", folder, *uses)
    assert "holds a restorer, which draws none" in run("sample", folder, *uses, code=2)
    assert "models has no 'restorer'" in run("evaluate", folder, code=2)


def test_every_file_of_the_page_says_what_it_is_and_has_its_name(run: Run, tmp_path: Path):
    said = " ".join(run("list", *pages.write(tmp_path)).split())  # a line may end between a name and its file
    assert re.findall(r"(\w+) \((\w+)\.py\)", said)
    assert {f"{name} ({name}.py)" for name in map(str, [Path(f).stem for f in pages.FILES])} <= set(
        re.findall(r"\w+ \(\w+\.py\)", said)
    )
    for kind in registry.KINDS:
        assert all(each.load().__doc__ for each in plugins.plugins(kind).values())
