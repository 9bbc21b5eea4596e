"""`undiffuse train`, `list` and `show`, as a person would use them."""

import inspect
import logging
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

import undiffuse
from undiffuse.cli import listing
from undiffuse.cli.commands import spread
from undiffuse.recipes import recipe as recipes

Undiffuse = Callable[..., Any]
SMALL = ("network.width=16", "network.multipliers=[1]", "network.attention=[]", "network.blocks=1", "train.batch=32")


def test_train_then_go_on(undiffuse_: Undiffuse):
    done = undiffuse_("train", "digits", "--out", "run", "--set", *SMALL, "train.steps=2", "train.preview_every=0")
    assert (done.status, "run: 2 steps" in done.out) == (0, True)
    done = undiffuse_("train", "run", "--resume", "--set", "train.steps=3")
    assert (done.status, "run: 3 steps" in done.out) == (0, True)
    assert undiffuse.load("run").facts["step"] == 3


def test_own_images_from_a_file(undiffuse_: Undiffuse):
    np.savez(
        "own.npz",
        images=np.random.default_rng(0).integers(0, 255, (40, 6, 6, 3)).astype(np.uint8),
        labels=np.arange(40) % 2,
    )
    words = [
        "--set",
        "data.name=file",
        "data.path=own.npz",
        *SMALL,
        "train.steps=1",
        "train.previews=2",
        "sampler.steps=2",
    ]
    assert undiffuse_("train", "digits", *words, "--out", "run").status == 0
    assert undiffuse_("sample", "run", "-n", 2, "-o", "a.npz").status == 0
    with np.load("a.npz") as found:
        assert found["images"].shape == (2, 6, 6, 3)


def test_an_interrupted_training_is_saved_and_says_how_to_go_on(undiffuse_: Undiffuse, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C comes from outside, while steps are made; warnings are printed as where nobody collects them."""
    metrics = Path("run").absolute() / "metrics.jsonl"

    def stop() -> None:
        started = time.monotonic()
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() - started < 120:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread, before = Thread(target=stop), signal.signal(signal.SIGINT, signal.SIG_IGN)  # should it come too late
    thread.start()
    words = ["train.steps=2000", "train.log_every=1", "train.snapshots=0", "train.validate_every=0"]
    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        done = undiffuse_("train", "digits", "--out", "run", "--set", *SMALL, *words)
    thread.join()
    signal.signal(signal.SIGINT, before)
    assert done.status == 130, done.err
    assert "stopped and saved at step" in done.err
    assert "go on with: undiffuse train run --resume" in done.err
    assert 1 <= undiffuse.load("run").facts["step"] < 2000


def test_list_names_everything_there_is(undiffuse_: Undiffuse):
    out = undiffuse_("list").out
    for kind in undiffuse.registry.KINDS:
        assert all(name in out for name in [kind, *undiffuse.registry.names(kind)])
    assert all(name in out for name in recipes.names())


def doc(kind: str, name: str) -> str:
    return inspect.getdoc(undiffuse.registry.get(kind, name)) or ""


@pytest.mark.each("kind", ["recipes", *undiffuse.registry.KINDS])
def test_list_says_what_each_is_and_what_can_be_set(undiffuse_: Undiffuse, kind: str):
    done = undiffuse_("list", kind)
    assert done.status == 0
    shown = "".join(done.out.split())  # however wide the screen is
    for name in recipes.names() if kind == "recipes" else undiffuse.registry.names(kind):
        assert name in done.out
        about = recipes.Recipe.find(name).about if kind == "recipes" else listing.whole(doc(kind, name))
        assert kind == "recipes" or about.endswith(".")  # a sentence to its end
        assert "".join(about.split()) in shown


def test_list_shows_fields_with_their_defaults(undiffuse_: Undiffuse):
    assert "eta = 0.0" in undiffuse_("list", "samplers").out
    conditions = undiffuse_("list", "conditions").out
    assert "length = 64" in conditions
    assert not re.search(r"\b(shape|classes|mean|std) = ", conditions), "the data decide these"


@pytest.mark.parametrize("kind", ["samplers", "guidance"])
def test_list_shows_what_is_for_a_family_of_processes(undiffuse_: Undiffuse, kind: str):
    lines = undiffuse_("list", kind, "--family", "tokens").out.splitlines()
    shown = {line.split()[0] for line in lines if line[:1].strip()}
    able = [n for n in undiffuse.registry.names(kind) if "tokens" in undiffuse.registry.get(kind, n).families]
    assert shown == set(able) != set(undiffuse.registry.names(kind))


def test_show_a_recipe_and_a_run(undiffuse_: Undiffuse, digits: Path):
    assert 'name = "digits"' in undiffuse_("show", "digits").out
    out = undiffuse_("show", digits).out
    for words in ("10 classes", "parameters", "validation loss", 'name = "adams"'):
        assert words in out


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--set", "a=1", "b=2", "c=3"], ["--set", "a=1", "--set", "b=2", "--set", "c=3"]),
        (["--set", "a=1", "--set", "b=2"], ["--set", "a=1", "--set", "b=2"]),
        (["--set", "a=1", "--out", "b=2"], ["--set", "a=1", "--out", "b=2"]),
        (["x=1", "--set", "a=1", "run"], ["x=1", "--set", "a=1", "run"]),
    ],
)
def test_settings_may_stand_in_a_row(given: list[str], meant: list[str]):
    assert list(spread(given)) == meant
