"""A kind of condition in a file outside the package is trained, described, loaded, sampled and asked for by a word."""

from pathlib import Path
from typing import Any

import numpy as np
import pages
import pytest
import torch

import undiffuse
from undiffuse.cli.main import main
from undiffuse.core.errors import Refused


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the file of the kind, a run of points with a direction each)."""
    folder, random = tmp_path_factory.mktemp("direction"), np.random.default_rng(0)
    (folder / "direction.py").write_text(pages.FILES["direction.py"], encoding="utf-8")
    wind = random.normal(size=(60, 2))
    np.savez(folder / "data.npz", x=random.normal(size=(60, 2)).astype(np.float32), wind=wind)
    tables: dict[str, Any] = {
        "data": {"name": "file", "path": str(folder / "data.npz"), "conditions": {"wind": "wind"}},
        "codec": {"name": "whiten"},
        "schedule": {"name": "flow"},
        "network": {"name": "mlp", "width": 16},
        "parameterization": {"name": "flow"},
        "objective": {"name": "denoising"},
        "conditions": {"wind": {"kind": "direction", "drop": 0.2}},
        "sampler": {"name": "ddim", "steps": 2, "guidance": 2.0},
        "train": {"steps": 5, "batch": 16, "lr": 0.05, "warmup": 0},
    }
    undiffuse.use(folder / "direction.py")
    undiffuse.train(tables, out=folder / "run").run(progress=False)
    return folder / "direction.py", folder / "run"


def test_it_is_described_loaded_and_sampled(made: tuple[Path, Path]):
    undiffuse.use(made[0])
    run = undiffuse.load(made[1], precision="float32")
    assert run.describe()["conditions"] == {"wind": {"kind": "direction", "drop": 0.2, "shape": [2]}}
    near, far, other = (run.sample(3, wind=wind) for wind in ([1.0, 2.0], [10, 20], [2.0, -1.0]))
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(near, other, atol=1e-4)
    with pytest.raises(Refused, match="wind is a direction of 2 numbers that are not all 0"):
        run.sample(1, wind=[0.0, 0.0])


def test_its_null_value_is_the_null_condition(made: tuple[Path, Path]):
    undiffuse.use(made[0])
    run = undiffuse.load(made[1], precision="float32")
    x, wind = torch.randn(3, 2), run.conditions["wind"].null(3)
    null = run.denoiser(x, 0.5, wind=wind, drop=torch.ones(3, dtype=torch.bool))
    assert torch.equal(null.mean, run.denoiser(x, 0.5).mean)


def test_a_command_asks_for_it_by_name_and_by_kind(made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    for words in (
        ["sample", str(made[1]), "-n", "2", "--condition", "wind=0.6,0.8", "-o", str(made[1] / "a.csv")],
        ["sample", str(made[1]), "-n", "2", "--condition", "direction=3,4", "-o", str(made[1] / "b.csv")],
        ["sample", str(made[1]), "-n", "2", "--direction", "3,4", "-o", str(made[1] / "c.csv")],
        ["sample", "--help"],
        ["score", "--help"],
        ["show", str(made[1])],
    ):
        with pytest.raises(SystemExit) as stop:
            main([words[0], "--use", str(made[0]), *words[1:]])
        assert not stop.value.code, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "wind: a direction of 2 numbers, dropped in 20% of training" in printed
    assert printed.count("--direction X,Y") == 2
    assert printed.count("The direction of a vector.") == 2
    assert len({(made[1] / f"{name}.csv").read_text() for name in "abc"}) == 1
