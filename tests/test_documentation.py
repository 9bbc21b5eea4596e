"""What the documentation shows is what happens: its code runs, its commands parse, its names exist."""

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer.main
from latent_spaces import named as run_named
from once import once

import undiffuse
from undiffuse.cli.main import app
from undiffuse.core import plugins, registry
from undiffuse.recipes import build
from undiffuse.recipes import recipe as recipes
from undiffuse.recipes.uses import Uses
from undiffuse.training import nested
from undiffuse.training.base_run import standing

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
WHOLE = "".join(TEXT.values())


def placed(title: str, code: str) -> str:
    """Where in the package a file of the documentation stands: in the first folder of its component's kind."""
    if "/" in title:
        return title
    with TemporaryDirectory() as folder:
        file = Path(folder, title)
        file.write_text(code, encoding="utf-8")
        plugins.use(file)
        kind = next(kind for kind in registry.KINDS if plugins.plugins(kind))
        plugins.forget(file)
    return f"src/undiffuse/{registry.KINDS[kind].packages[0].replace('.', '/')}/{title}"


FILES = {placed(title, code): code for text in TEXT.values() for _, title, code in FENCE.findall(text) if title}
GROUP: Any = typer.main.get_command(app)
TINY = [
    "train.steps=2",
    "train.batch=4",
    "train.preview_every=0",
    "train.validate_every=0",
    "train.snapshots=0",
    "train.precision=float32",
    "network.width=16",
    "network.multipliers=[1]",
    "network.attention=[]",
    "network.blocks=1",
]


ORDER = """
import torch, undiffuse
process = undiffuse.Gaussian(undiffuse.schedules.VP())
c = 0.5
denoiser = undiffuse.oracles.GaussianOracle(process, cov=c**2)
std = lambda t: float((process.schedule.alpha(t) ** 2 * c**2 + process.schedule.sigma(t) ** 2).sqrt())
for steps in (16, 32, 64):
    times = undiffuse.grids.LogSNR()(process.schedule, steps)[:-1]  # without the last step, which lands on the guess
    x = torch.ones(1, 1, dtype=torch.float64)
    *_, y = undiffuse.trajectory(denoiser, undiffuse.samplers.Midpoint(), x, times, random=undiffuse.Random(0))
    print(abs(float(y) - std(times[-1]) / std(times[0])))
"""


def fences(language: str) -> list:
    """The code blocks of a language that are no files, each named after its page."""
    return [
        pytest.param(code, id=f"{page.stem}-{i}")
        for page, text in TEXT.items()
        for i, (fence, title, code) in enumerate(FENCE.findall(text))
        if fence == language and not title
    ]


def commands() -> list[str]:
    """Every `undiffuse ...` line that the documentation tells people to type."""
    lines = [line for param in fences("sh") for line in param.values[0].splitlines()]
    return sorted({line.partition("  #")[0].strip() for line in lines if line.startswith("undiffuse ")})


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What one process with the extended package prints: of the laws of the example samplers, and of each file the
    component and its kind's list.
    """
    said = (once(tmp_path_factory, "documentation", extend) / "said.txt").read_text(encoding="utf-8")
    parts = re.split(r"^@@ ", said, flags=re.MULTILINE)[1:]
    return {place: lines for place, *lines in (part.splitlines() for part in parts)}


def extend(folder: Path) -> None:
    """Add every file of the documentation to (a copy of) the package, and write what a process with it prints."""
    shutil.copytree(ROOT / "src", folder / "src")  # with what was compiled
    for place, code in FILES.items():
        assert not (ROOT / place).exists(), f"{place} is no example any more: it is there"
        (folder / place).write_text(code, encoding="utf-8")
    script = f"""
import sys
import pytest
print("@@ laws")
some = ["-k", "midpoint or momentum", "tests/laws/test_sampler_laws.py"]
assert pytest.main(["-p", "no:cacheprovider", "-v", *some]) == 0
from undiffuse.cli.main import main
from undiffuse.core import plugins, registry
for place, kind, stem in {[(place, *named(place)) for place in FILES]}:
    print("@@", place)
    print(registry.get(kind, stem))
    try:
        main(["list", kind])
    except SystemExit as stop:
        assert not stop.code
print("@@ order")
{ORDER}"""
    words = [sys.executable, "-W", "error", "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stdout, encoding="utf-8")


def named(place: str) -> tuple[str, str]:
    """The kind and the name of the component in a file of the documentation."""
    folder = Path(place).parent
    kind = next(
        name
        for name, kind in registry.KINDS.items()
        for package in kind.packages
        if Path("src", "undiffuse", *package.split(".")) == folder
    )
    return kind, Path(place).stem


@pytest.mark.slow
@pytest.mark.parametrize("place", FILES)
def test_a_file_of_the_documentation_is_a_component_as_it_stands(place: str, tried: dict[str, list[str]]):
    built, *names = tried[place]
    assert named(place)[1].replace("_", "") in built.lower()
    assert re.search(rf"\b{named(place)[1]}\b", "\n".join(names))


def test_the_example_samplers_pass_the_laws_of_samplers_without_being_named_in_them(tried: dict[str, list[str]]):
    laws = "\n".join(tried["laws"]).lower()
    for name in ("midpoint", "momentum"):
        assert len(re.findall(rf"{name}.* passed", laws)) >= 2, name


def test_the_example_sampler_is_of_second_order_as_its_page_says(tried: dict[str, list[str]]):
    errors = [float(line) for line in tried["order"]]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("code", fences("python"))
def test_python_of_the_documentation_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    train = undiffuse.train

    def small(recipe: str, *, overrides: tuple[str, ...] = (), **options):
        return train(recipe, overrides=[*overrides, *TINY], **options)

    monkeypatch.setattr(undiffuse, "train", small)
    namespace: dict = {"undiffuse": undiffuse}
    exec(compile(code, "documentation", "exec"), namespace)  # noqa: S102 - the documentation's own code is what is tested
    if "digits" in namespace:
        assert namespace["digits"].shape == (10, 1, 8, 8)
    if "x" in namespace:
        assert namespace["x"].std() == pytest.approx(0.5, abs=0.03)


@pytest.mark.each("line", commands())
def test_a_command_of_the_documentation_is_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for place, code in FILES.items():
        (tmp_path / Path(place).name).write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    _, name, *words = shlex.split(line)
    command = GROUP.commands[name]
    parent = GROUP.make_context("undiffuse", [name])
    context = command.make_context(name, words, parent=parent)  # raises for an unknown option
    if found := getattr(command, "commands", {}):  # tune: what to tune stands behind the run
        found[words[1]].make_context(words[1], words[2:], parent=context)
    options = context.params
    if name == "train" and not str(options["recipe"]).startswith(("runs/", "my-")):
        recipe = recipes.Recipe.find(options["recipe"]).override(options.get("set") or options.get("settings") or [])
        if recipe["data"]["name"] in registry.names("data"):  # the others are files of the documentation
            found, _ = standing(replace(recipe, uses=Uses(run_named)))
            build.check(nested.without(found))
    for file in plugins.in_use():
        plugins.forget(file)


def test_every_recipe_is_documented_and_every_documented_recipe_exists():
    table = TEXT[ROOT / "docs" / "recipes.md"].partition("## The recipes")[2].partition("##")[0]
    assert sorted(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)) == recipes.names()


@pytest.mark.parametrize("kind", ["samplers", "networks"])
def test_choosing_is_explained_for_every(kind: str):
    page = TEXT[ROOT / "docs" / "choose.md"]
    assert [name for name in registry.names(kind) if f"`{name}`" not in page] == []


@pytest.mark.each(("kind", "name"), [(kind, name) for kind in registry.KINDS for name in registry.names(kind)])
def test_every_component_says_what_it_is(kind: str, name: str):
    text = inspect.getdoc(registry.get(kind, name)) or ""
    assert len(text.split()) >= 4
    assert f"`{name}`" in WHOLE or re.search(r"arXiv:|doi:", text), "in no page, and names no source"


def test_every_benchmark_is_in_their_table():
    scripts = {path.name for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    assert set(re.findall(r"`python benchmarks/(\w+\.py)`", TEXT[ROOT / "benchmarks" / "README.md"])) == scripts


def test_the_commands_at_the_top_of_the_readme_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", TEXT[ROOT / "README.md"] + TEXT[ROOT / "CONTRIBUTING.md"], re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_between_the_pages_of_the_repository_lead_somewhere():
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page, text in TEXT.items()
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
        if not link.startswith("http") and not (page.parent / link).exists()
    ]
    assert not dead, dead


def test_the_site_can_be_searched_from_a_file_without_a_network():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.search(r"^  - search$", site, re.MULTILINE)
    assert re.search(r"^  - offline\b", site, re.MULTILINE)
    needed = re.findall(r"^    - (\S+\.js)$", site.partition("polyfills:")[2], re.MULTILINE)
    assert any("iframe-worker" in script for script in needed)  # else the plugin asks unpkg.com for it
    assert all((ROOT / "docs" / script).is_file() for script in needed)


def test_every_picture_of_the_pages_is_shown_and_small():
    shown = {Path(link).name for text in TEXT.values() for link in re.findall(r"!\[[^\]]*\]\(([^)]+\.png)\)", text)}
    files = list((ROOT / "docs" / "images").iterdir())
    assert {path.name for path in files} == shown
    assert {path.name: path.stat().st_size for path in files if path.stat().st_size > 150_000} == {}


def test_nobody_is_sent_to_a_release_that_is_not_there():
    typed = [line for param in fences("sh") for line in param.values[0].splitlines() if "pip install" in line]
    assert [line for line in typed if re.search(r"pip install \W?undiffuse", line)] == []
