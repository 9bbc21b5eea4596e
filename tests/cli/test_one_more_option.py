"""A request for samples: one more field reaches Python, every command and the JSON, and others are refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_runs import SMALL, trained

from undiffuse.core.errors import Refused
from undiffuse.models.load import load
from undiffuse.samplers import DDIM
from undiffuse.sampling.request import SampleRequest

MORE = """
import sys
from dataclasses import dataclass
from undiffuse.core.errors import Refused
from undiffuse.sampling import request
from undiffuse.sampling.option import option

@dataclass(frozen=True)
class MoreRequest(request.SampleRequest):
    loudness: int = option(1, "How loud.", int)

request.SampleRequest = MoreRequest

from undiffuse.cli.main import main
from undiffuse.models.load import load
from undiffuse.sampling.session import Session

def refuse(model, asked, progress=False):
    raise Refused(f"loudness {asked.loudness}")

Session.open = refuse
digits, other, image, mask = sys.argv[1:]
for words in (
    ["sample", digits], ["edit", digits, "--image", image, "--mask", mask], ["evaluate", digits, "-o", "judged"],
    ["compare", digits, other],
):
    try:
        main([*words, "--loudness", "7"])
    except SystemExit as stop:
        assert stop.code == 2, words
try:
    load(digits).sample(1, loudness=7)
except Refused as error:
    print(error, file=sys.stderr)
print("loudness", MoreRequest.from_json({"loudness": 7}).loudness, file=sys.stderr)
print(MoreRequest.json_schema()["properties"]["loudness"]["description"])
print(MoreRequest(loudness=7).to_json())
"""


def test_one_more_field_is_one_more_option_everywhere(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path):
    """On data in a file: the process need not import what brings digits."""
    file = Path(__file__).parents[1] / "training" / "digits.npz"
    own = ["data.name=file", f"data.path={file}", "train.steps=1", "train.validate_every=0", "train.snapshots=0"]
    run = trained(tmp_path_factory, "digits", *SMALL, "train.held_out=0.2", *own)
    shutil.copytree(run, tmp_path / "other")
    np.save(tmp_path / "image.npy", np.zeros((1, 8, 8), np.uint8))
    np.save(tmp_path / "mask.npy", np.eye(8)[None])
    paths = [run, *(tmp_path / name for name in ("other", "image.npy", "mask.npy"))]
    done = subprocess.run(
        [sys.executable, "-c", MORE, *map(str, paths)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr.count("loudness 7") == 6, done.stderr
    assert done.stdout.splitlines() == ["How loud.", "{'loudness': 7}"]


def test_a_request_is_what_json_says_and_back():
    said = {
        "n": 3, "seed": 2**64 - 1, "indices": [4, 1, 0], "sampler": "ddim", "settings": {"eta": 0.5}, "steps": 7,
        "guidance": {"label": 2.0}, "interval": [0.2, "inf"], "control": ["length:3"], "conditions": {"label": 3},
    }  # fmt: skip
    assert SampleRequest.from_json(said).to_json() == said
    assert SampleRequest().to_json() == {}
    component = SampleRequest(sampler=DDIM(0.5)).to_json()
    assert (component["sampler"], component["settings"]["eta"]) == ("ddim", 0.5)
    assert SampleRequest.json_schema()["properties"]["seed"]["maximum"] == 2**64 - 1
    for wrong, message in (
        ({"step": 3}, r"a request has no 'step' \(did you mean 'steps'\?\)"),
        ({"steps": "3"}, "a request: steps = '3' does not fit"),
        ({"steps": 3.0}, "a request: steps = 3.0 does not fit"),
        ({"seed": -1}, "a request: seed = -1 does not fit"),
        ({"guidance": float("nan")}, "a request is a JSON object: Out of range float values"),
        ({"steps": 0}, "sampling needs at least 1 step, not 0"),
        ({"rank": "best"}, "rank has no 'best'; it has: consensus"),
    ):
        with pytest.raises(Refused, match=message):
            SampleRequest.from_json(wrong)


def test_keywords_go_before_the_request_and_others_are_refused(digits: Path):
    model = load(digits, precision="float32")
    request = SampleRequest(seed=3, steps=2, conditions={"label": 1})
    assert np.array_equal(model.sample(2, request, seed=4), model.sample(2, seed=4, steps=2, label=1))
    with pytest.raises(Refused, match=r"has no 'guidence' \(did you mean 'guidance'\?\)"):
        model.sample(1, guidence=2.0)
    with pytest.raises(Refused, match="settings are of a sampler by its name"):
        model.sample(1, sampler=DDIM(), settings={"eta": 0.5})
    states = list(model.open(n=2, steps=2))
    assert [(state.step, state.steps, state.t) for state in states] == [(i, 2, states[i].t) for i in range(3)]
    assert np.array_equal(model.decoded(states[-1].x, {}), model.sample(2, steps=2))
