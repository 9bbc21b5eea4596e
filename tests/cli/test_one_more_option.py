"""A request for samples: one more field reaches Python, every command and the JSON, and others are refused."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from alone import Alone

from undiffuse.cli.options import conditions
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.models.load import load
from undiffuse.samplers import DDIM
from undiffuse.sampling.request import SampleRequest


def test_one_more_field_is_one_more_option_everywhere(alone: Alone):
    assert alone.err.count("loudness 7") == 6, alone.err
    assert alone.out.splitlines()[-2:] == ["How loud.", "{'loudness': 7}"]


def test_a_kind_of_condition_takes_no_option_of_a_request_away():
    """The kind `augmentation` is called as the field of a request that `sample --augmentation 0.3` means."""
    assert not {field.name for field in fields(SampleRequest)} & {*conditions()}
    assert {"augmentation", "label"} <= {*registry.names("conditions")}
    assert "label" in conditions()


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
        ({"rank": "best"}, "rank has no 'best'; it has: consensus, similarity"),
    ):
        with pytest.raises(Refused, match=message):
            SampleRequest.from_json(wrong)


def test_keywords_go_before_the_request_and_others_are_refused(digits: Path):
    model = load(digits, precision="float32")
    request = SampleRequest(seed=3, steps=2, conditions={"label": 1})
    assert np.array_equal(model.sample(2, request, seed=4), model.sample(2, seed=4, steps=2, label=1))
    with pytest.raises(Refused, match=r"no condition 'guidence' \(did you mean 'guidance'\?\)"):
        model.sample(1, guidence=2.0)
    with pytest.raises(Refused, match="settings are of a sampler by its name"):
        model.sample(1, sampler=DDIM(), settings={"eta": 0.5})
    states = list(model.open(n=2, steps=2))
    assert [(state.step, state.steps, state.t) for state in states] == [(i, 2, states[i].t) for i in range(3)]
    assert np.array_equal(model.decoded(states[-1].x, {}), model.sample(2, steps=2))
