"""`undiffuse tune RUN grid` stores plans with the run, and `sample --steps` then takes them and says so."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import SMALL, trained

import undiffuse
from undiffuse import tuning
from undiffuse.core import families
from undiffuse.core.errors import Refused
from undiffuse.editing import vary
from undiffuse.storage.files import read_tensors, write_tensors
from undiffuse.training.run_lock import run_lock
from undiffuse.tuning.grids import DRAWN

RECIPE: dict[str, Any] = {
    "data": {"name": "eight_gaussians", "count": 300},
    "codec": {"name": "whiten"},
    "schedule": {"name": "vp"},
    "network": {"name": "mlp", "width": 16},
    "parameterization": {"name": "velocity"},
    "objective": {"name": "denoising"},
    "conditions": {"label": {"drop": 0.2}},
    "sampler": {"name": "ancestral", "steps": 4, "guidance": 1.5},
    "train": {"steps": 30, "batch": 64, "warmup": 5, "lr": 0.01, "snapshots": 2, "preview_every": 0},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    undiffuse.train(RECIPE, out=folder).run(progress=False)
    return folder


def test_plans_are_found_stored_taken_and_said(undiffuse_: Any, run: Path):
    done = undiffuse_("tune", run, "grid", "--steps", "4,3", "--starts", "64")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["3", "6"], ["4", "8"]]  # guidance asks the network twice
    assert f"written to {run}/tuning: grid.json, grid.png" in done.out
    assert "\ndistance to the ends of fine trajectories; nothing was tuned on them" in done.out
    assert re.match(r"at most about 11,\d{3} calls of the network, each for one sample: [\d.]+ s here\n", done.err)
    assert f"sample by it: undiffuse sample {run} --steps 3" in done.out
    assert (run / "tuning/grid.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((run / "tuning/grid.json").read_text())
    assert found["guided"] == {"guidance": 1.5}
    assert all(each["tuned"] and each["error"] < each["usual_error"] for each in found["plans"])
    out = ("-n", "8", "-o", run / "x.npz")
    assert ", by the plan tuned for 3 steps, guidance 1.5" in undiffuse_("sample", run, "--steps", "3", *out).err
    assert ", by the plan tuned for 4 steps, guidance 1.5" in undiffuse_("sample", run, *out).err  # the recipe's steps
    for words in (["--steps", "5"], ["--steps", "3", "--sampler", "ddim"], ["--steps", "3", "--grid", "even"]):
        assert "tuned" not in undiffuse_("sample", run, *words, *out).err
    other = undiffuse_("sample", run, "--steps", "3", "--guidance", "3", *out)
    assert ", not by the plan tuned for 3 steps, which is for guidance 1.5, guidance 3" in other.err
    for words, message in (
        (("--steps", "a"), "--steps takes numbers of steps with commas between, such as 4,8,16, not 'a'"),
        (("--steps", "4,500"), "a plan of 500 steps cannot be tuned"),
        (("--steps", "0"), "sampling needs at least 1 step, not 0"),
        (("--starts", "3"), "--starts takes at least 8, not 3"),
        (("--starts", "0"), "--starts takes at least 8, not 0"),
    ):
        refused = undiffuse_("tune", run, "grid", *words)
        assert refused.status == 2
        assert message in refused.err
    nothing = undiffuse_("tune", run)
    assert (nothing.status, nothing.err) == (
        2,
        "error: say what to tune, behind the run: ema, variance, grid, augmentation or lr\n",
    )


def test_a_plan_is_of_its_model_and_of_whole_samples(run: Path, tmp_path: Path):
    tuning.grid(run, [4], starts=64)
    model = undiffuse.load(run, precision="float32")
    drawn = model.sample(3, steps=4, label=0)
    assert drawn.tuned == "by the plan tuned for 4 steps"
    assert repr(drawn).endswith(", by the plan tuned for 4 steps")
    plan = model.plans[4]
    sampler, times = plan.opened()
    by_hand = model.sample(3, sampler=sampler, grid=undiffuse.grids.Listed(tuple(times.tolist())), steps=4, label=0)
    assert torch.equal(drawn, by_hand)
    assert not by_hand.tuned
    with pytest.raises(Refused, match="this plan was tuned from"):
        model.sample(3, sampler=sampler, steps=5, label=0)
    varied = vary(model, drawn[0], 0.5, n=2, steps=4, label=0)  # begins in the middle of the times
    assert varied.shape == (2, 2)
    lock = run_lock(run)
    with pytest.raises(Refused, match="another process"):
        tuning.grid(run, [4], starts=64)
    lock.release()
    tensors, about = read_tensors(run / "model.safetensors", "model")
    for spoil, message in (
        ({name: tensor + 1 for name, tensor in tensors.items()}, "belongs to a model with other weights"),
        ([{**about["plans"][0], "times": [0.1, 0.2]}], "is broken"),
        ([3], "a plan is a mapping"),
        ({}, "spoils 'plans'"),
    ):
        weights = spoil if isinstance(spoil, dict) and spoil else tensors
        said = about if weights is spoil else {**about, "plans": spoil}
        write_tensors(tmp_path / "model.safetensors", weights, said)
        with pytest.raises(Refused, match=message):
            undiffuse.load(tmp_path)
    tuning.ema(run, [0.1], keep=True)
    assert undiffuse.load(run, precision="float32").plans == {}  # they were those of other weights


def test_an_interrupted_search_keeps_the_best_so_far(run: Path):
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def advance(done: int, total: int) -> None:
        if not seen and done > 64 * 70:  # behind the fine trajectories
            signal.raise_signal(signal.SIGINT)
            seen.append(total - done)

    found = tuning.grid(run, [3, 4], starts=64, advance=advance)
    assert found.stopped
    assert [each.steps for each in found.plans] == [3]
    assert found.plans[0].error <= found.plans[0].usual_error
    assert json.loads((run / "tuning/grid.json").read_text())["plans"][0]["steps"] == 3
    assert seen[0] > 1000
    assert signal.getsignal(signal.SIGINT) is before


def test_the_times_of_a_consistency_function_come_from_held_out_data(undiffuse_: Any, tmp_path: Path):
    recipe = {
        **RECIPE,
        "data": {"name": "eight_gaussians", "count": 402},  # 201 held out
        "denoiser": {"jumps": "data"},
        "objective": {"name": "improved_consistency", "first": 4, "last": 8},
        "sampler": {"name": "jump", "fresh": 1.0, "steps": 2, "grid": {"name": "listed", "times": [1.0, 0.01, 0.0]}},
        "train": {**RECIPE["train"], "held_out": 0.5},
    }
    run = tmp_path / "consistency"
    undiffuse.train(recipe, out=run).run(progress=False)
    done = undiffuse_("tune", run, "grid", "--steps", "1,2", "--guidance", "1")
    assert done.status == 0, done.err
    assert "\nFrechet distance of encoded samples to held-out items; nothing was tuned on them" in done.out
    assert "the default stays for 1 steps" in done.out
    assert f"sample by it: undiffuse sample {run} --steps 2" in done.out
    drawn = undiffuse_("sample", run, "-n", "8", "-o", run / "x.npz")
    assert ", by the plan tuned for 2 steps" in drawn.err
    plan = undiffuse.load(run, precision="float32").plans[2]
    assert plan.sampler == {"name": "jump", "fresh": 1.0}
    refused = undiffuse_("tune", run, "grid", "--starts", "20")
    assert refused.status == 2
    assert "are found by the distance to held-out items, at least 32 of them, not 20: give more by --st" in refused.err


def test_a_run_whose_steps_draw_tokens_is_refused(undiffuse_: Any, tmp_path_factory: pytest.TempPathFactory):
    tokens = trained(tmp_path_factory, "digits-d3pm", *SMALL, "train.steps=1")
    refused = undiffuse_("tune", tokens, "grid")
    assert refused.status == 2
    assert f"for values, whose steps follow an ODE; {tokens} is another run: its data are tokens, whose" in refused.err
    assert set(DRAWN) == families.ANY - families.VALUES
