"""`use`: which components a file holds, under which names, and what is refused."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import undiffuse
from undiffuse.cli.main import main
from undiffuse.core import plugins, registry
from undiffuse.core.errors import Refused

SCHEDULE = """
from undiffuse.core.schedule import Mixing
class {name}(Mixing):
    '''Straight paths of one's own.'''
    {aliases}
    def __init__(self, power: float = {power}) -> None:
        self.power = power
    def sigma(self, t):
        return t.double() ** self.power
"""
NETWORK = """
from torch import nn
from undiffuse import Network
class {name}({base}):
    '''A module.'''
    def forward(self, x, c_time):
        return x
"""


OPERATOR = """
from dataclasses import dataclass
from undiffuse.core.operator import Operator
@dataclass(frozen=True)
class Left(Operator):
    '''The left half.'''
    def __call__(self, x):
        return x[..., : x.shape[-1] // 2]
"""


def put(folder: Path, name: str, *texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(texts), encoding="utf-8")
    return folder / name


def schedule(name: str = "Bent", aliases: str = "", power: float = 2.0) -> str:
    return SCHEDULE.format(name=name, aliases=aliases, power=power)


def network(name: str, base: str = "Network") -> str:
    return NETWORK.format(name=name, base=base)


def own() -> list[tuple[str, str]]:
    return [(kind, name) for kind in registry.KINDS for name in plugins.plugins(kind)]


@pytest.mark.parametrize(
    ("file", "texts", "found"),
    [
        ("my-bent.py", [schedule("AnyName")], [("schedules", "my_bent")]),
        (
            "mine.py",
            [schedule("HTTPBent2"), schedule("LogBent")],
            [("schedules", "http_bent2"), ("schedules", "log_bent")],
        ),
        ("mine.py", [network("Anything")], [("networks", "mine")]),
        ("mine.py", [network("Part", "nn.Module"), network("MyNet")], [("networks", "mine")]),
        ("mine.py", [network("Encoder", "nn.Module"), schedule()], [("schedules", "mine")]),
        ("mine.py", [OPERATOR], [("operators", "mine")]),
        ("mine.py", [network("MyNet"), schedule()], [("networks", "my_net"), ("schedules", "bent")]),
        ("mine.py", [schedule("_Hidden"), schedule("Bent")], [("schedules", "mine")]),
    ],
)
def test_names_and_kinds_follow_from_the_file_and_its_classes(file: str, texts: Any, found: Any, tmp_path: Path):
    undiffuse.use(put(tmp_path, file, *texts))
    assert sorted(own()) == sorted(found)
    for kind, name in found:
        assert name in registry.names(kind)
        built = registry.build(kind, {"name": name.upper().replace("_", "-")})
        assert registry.name_of(built) == name


def test_aliases_of_a_file_work_like_those_of_the_package(tmp_path: Path):
    undiffuse.use(put(tmp_path, "bent.py", schedule(aliases='aliases = {"square": {}, "cube": {"power": 3.0}}')))
    assert registry.build("schedules", {"name": "Cube"}).power == 3.0
    assert registry.build("schedules", {"name": "cube", "power": 4.0}).power == 4.0
    assert registry.canonical("schedules", {"name": "cube"}) == {"name": "bent", "power": 3.0}
    assert undiffuse.schedules.Bent is registry.get("schedules", "square")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("none.py", None, r"'.*none.py' is no file: name the file that holds your component, as my_sampler.py"),
        ("notes.txt", "", r"'.*notes.txt' is no file of Python, whose name ends in .py"),
        ("my.own.py", "", r"my.own.py gives no name: a component is named as its file, in letters, digits and _"),
        ("empty.py", "x = 1", r"empty.py holds no component: a class that implements one of Schedule, .*Metric"),
        ("wrong.py", "x = 1\ndef:", r"wrong.py, line 2: SyntaxError: invalid syntax"),
        ("wrong.py", "x = 1\n\n1 / 0", r"wrong.py, line 3: ZeroDivisionError: division by zero"),
        ("wrong.py", "import nothing_of_this_name", r"wrong.py, line 1: ModuleNotFoundError: No module named 'nothing"),
        (
            "cosine.py",
            schedule(),
            r"schedules has 'cosine' already, and .*cosine.py brings 'cosine': rename its file",
        ),
        ("linear.py", schedule(), r"schedules has 'linear' already, and .*linear.py brings 'linear': rename its file"),
        (
            "bent.py",
            schedule(aliases='aliases = ("Co-Sine",)'),
            "schedules has 'cosine' .*'Co-Sine': rename this alias",
        ),
        (
            "all.py",
            schedule("VP") + network("MLP"),
            "has '(vp|mlp)' already, .*rename the class (VP|MLP)",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(file: str, text: str | None, message: str, tmp_path: Path):
    if text is not None:
        put(tmp_path, file, text)
    with pytest.raises(Refused, match=message):
        undiffuse.use(tmp_path / file)
    assert plugins.in_use() == []
    assert own() == []
    with pytest.raises(SystemExit, match="2"):
        main(["list", "--use", str(tmp_path / file)])


def test_two_files_of_one_name_or_of_one_component_are_refused(tmp_path: Path):
    undiffuse.use(put(tmp_path / "a", "bent.py", schedule()))
    with pytest.raises(Refused, match=r"b/bent.py has the name of .*a/bent.py, which is in use: rename one of them"):
        undiffuse.use(put(tmp_path / "b", "bent.py", schedule()))
    with pytest.raises(Refused, match=r"schedules has 'bent' already, .*brings 'bent': rename the class Bent"):
        undiffuse.use(put(tmp_path, "two.py", schedule("Bent"), schedule("Other")))


def test_a_file_is_read_again_where_it_has_changed(tmp_path: Path):
    file = put(tmp_path, "bent.py", schedule(power=2.0))
    undiffuse.use(file)
    before = registry.get("schedules", "bent")
    undiffuse.use(str(file))
    assert registry.get("schedules", "bent") is before
    undiffuse.use(put(tmp_path, "bent.py", schedule(power=3.0)))
    assert registry.build("schedules", {"name": "bent"}).power == 3.0
    put(tmp_path, "bent.py", "1 / 0")
    with pytest.raises(Refused, match="line 1: ZeroDivisionError"):
        undiffuse.use(file)
    assert registry.build("schedules", {"name": "bent"}).power == 3.0


def test_a_name_that_nobody_has_may_be_a_persons_own():
    advice = r'it has: .*; if it is your own, name its file: undiffuse.use\("FILE.py"\)'
    with pytest.raises(Refused, match=r"networks has no 'mine'.*; " + advice):
        registry.get("networks", "mine")


def test_a_process_that_this_one_starts_knows_the_files(tmp_path: Path):
    undiffuse.use(put(tmp_path, "bent.py", schedule()))
    made = pickle.dumps(registry.build("schedules", {"name": "bent", "power": 5.0}))
    script = (
        f"import pickle; made = pickle.loads({made!r}); from undiffuse.core import registry\n"
        "print(made.power, registry.name_of(made), isinstance(made, registry.get('schedules', 'bent')))"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.split() == ["5.0", "bent", "True"]


@pytest.mark.parametrize("before", [True, False])
def test_the_list_marks_what_is_a_persons_own(before: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = ["--use", str(put(tmp_path, "bent.py", schedule(aliases='aliases = ("curve",)')))]
    for words in (["list"], ["list", "schedules"]):
        with pytest.raises(SystemExit) as stop:
            main([*file, *words] if before else [*words, *file])
        assert not stop.value.code
        assert "bent (bent.py)" in capsys.readouterr().out


HOLDER = """
from dataclasses import dataclass
from undiffuse import Network
from undiffuse.codecs.codec import Codec
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.grid import Grid
from undiffuse.core.sampler import Sampler
@dataclass(frozen=True)
class Holder(Grid):
    '''A grid that holds components of all kinds.'''
    sampler: Sampler | None = None
    several: tuple[Grid, ...] = ()
    network: Network | None = None
    codec: Codec | None = None
    teacher: Denoiser | None = None
    text: Sampler | str = ""
    def __call__(self, schedule, steps):
        return None
"""


def test_any_field_that_is_a_component_takes_a_name_or_a_table(tmp_path: Path):
    undiffuse.use(put(tmp_path, "holder.py", HOLDER))
    asked: list[Any] = []

    def runs(field: str, path: str, interface: type) -> Any:
        asked.append((field, path, interface.__name__))
        return undiffuse.oracles.GaussianOracle(undiffuse.Gaussian(undiffuse.schedules.VP()))

    table = {
        "name": "holder",
        "sampler": {"name": "dpm++3m", "eta": 0.5},
        "several": ["even", {"name": "karras", "rho": 5.0}],
        "network": {"name": "mlp", "width": 8},
        "codec": "identity",
        "teacher": {"name": "cfg", "denoiser": "runs/base", "weight": 2.0},
        "text": "ddim",
    }
    built = registry.build("grids", table, runs=runs, shape=(3,))
    assert built.sampler == undiffuse.samplers.Multistep(order=3, eta=0.5)
    assert built.several == (undiffuse.grids.Even(), undiffuse.grids.Karras(rho=5.0))
    assert built.network(torch.zeros(1, 3), torch.zeros(1)).shape == (1, 3)
    assert registry.name_of(built.codec) == "identity"
    assert (built.teacher.weight, built.text) == (2.0, "ddim")
    assert asked == [("teacher.denoiser", "runs/base", "Denoiser")]
    with pytest.raises(Refused, match=r"grids 'holder': codec = 'runs/kl' is the path of a run; give the Codec itself"):
        registry.build("grids", {"name": "holder", "codec": "runs/kl"})
    with pytest.raises(Refused, match=r"samplers has no 'dddim' .did you mean 'ddim'"):
        registry.build("grids", {"name": "holder", "sampler": "dddim"})
    with pytest.raises(Refused, match=r"sampler = 3 does not fit"):
        registry.build("grids", {"name": "holder", "sampler": 3})
