"""Laws of the registry: the folder is the list, a table makes the component, and a mistake names the near word."""

import dataclasses
import importlib
from typing import Any

import pytest
import torch
from registered import every

from undiffuse.core import registry, scales, schedules, times
from undiffuse.core.errors import Refused
from undiffuse.core.sampler import Sampler
from undiffuse.core.scales import Scales
from undiffuse.core.schedule import Schedule
from undiffuse.samplers import DDIM

CORE = {"schedules": Schedule, "scales": Scales, "times": object, "samplers": Sampler}
NAMED = [(kind, component) for kind, interface in CORE.items() for component in every(kind, interface)]


def snake(kind: str, component: Any) -> str:
    return next(name for name in registry.names(kind) if registry.get(kind, name) is type(component))


@pytest.mark.parametrize(("kind", "component"), NAMED, ids=lambda v: v if isinstance(v, str) else repr(v)[:40])
def test_a_component_is_frozen_and_is_made_again_from_its_fields_and_from_its_repr(kind: str, component: Any):
    assert dataclasses.is_dataclass(component)
    fields = {field.name: getattr(component, field.name) for field in dataclasses.fields(component) if field.init}
    assert list(fields) == list(registry.fields(type(component)))
    assert registry.build(kind, {"name": snake(kind, component), **fields}) == component
    assert eval(repr(component), {type(component).__name__: type(component)}) == component  # noqa: S307
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(component, "anything", 1)  # noqa: B010


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_name_of_every_kind_is_a_class_that_says_what_it_is(kind: str):
    assert registry.names(kind) == sorted(registry.names(kind))
    for name in registry.names(kind):
        component = registry.get(kind, name)
        assert component.__doc__, name
        assert component.__name__.lower() == name.replace("_", "")
        assert registry.get(kind, name.upper().replace("_", "-")) is component


def test_the_names_that_papers_use_are_there():
    tables = {"linear_beta", "scaled_linear_beta", "cosine", "sigmoid", "sqrt", "geometric", "table"}
    assert tables | {"vp", "subvp", "ve", "edm", "flow", "log_linear"} <= set(registry.names("schedules"))
    assert {"noise", "data", "velocity", "score", "flow", "edm", "consistency"} == set(registry.names("scales"))
    grids = {"even", "trailing", "leading", "quadratic", "log_snr", "karras"}
    assert grids | {"uniform", "stratified", "log_normal"} <= set(registry.names("times"))
    assert {"ancestral", "ddim", "multistep", "heun", "euler", "renoise"} <= set(registry.names("samplers"))


def test_the_folder_has_a_face():
    assert schedules.EDM is registry.get("schedules", "edm")
    assert "EDM" in dir(schedules)
    with pytest.raises(
        AttributeError, match=r"module 'undiffuse.samplers' has no attribute 'DDDIM'; it has: .*DDIM, Euler"
    ):
        _ = importlib.import_module("undiffuse.samplers").DDDIM
    assert scales.EDM is not schedules.EDM
    assert registry.get("times", "log_snr") is times.LogSNR


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: registry.get("samplers", "dddim"),
            r"samplers has no 'dddim' \(did you mean 'ddim'\?\); it has: .*ddim, euler",
        ),
        (
            lambda: registry.names("sampler"),
            r"the registry has no 'sampler' \(did you mean 'samplers'\?\); it has: codecs, data",
        ),
        (lambda: registry.build("samplers", {"eta": 0.5}), "the table of samplers needs a name; it has: .*ddim, euler"),
        (
            lambda: registry.build("samplers", {"name": "ddim", "etta": 0.5}),
            r"samplers 'ddim' has no 'etta' \(did you mean 'eta'\?\); it has: eta",
        ),
        (
            lambda: registry.build("samplers", {"name": "ddim", "eta": "much"}),
            r"samplers 'ddim': eta = 'much' does not fit float \(input should be a valid number",
        ),
        (
            lambda: registry.build("schedules", {"name": "cosine", "steps": 1.5}),
            r"schedules 'cosine': steps = 1.5 does not fit int",
        ),
        (
            lambda: registry.build("samplers", {"name": "ancestral", "variance": "big"}),
            r"samplers 'ancestral': variance = 'big' does not fit Literal",
        ),
        (lambda: registry.build("samplers", {"name": "ddim", "eta": 2.0}), r"ddim needs eta in \[0, 1\], not 2"),
        (lambda: registry.build("guidance", {"name": "classifier_free"}), "guidance 'classifier_free' needs denoiser"),
    ],
)
def test_mistakes_are_refused_by_name(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()


def test_what_the_program_knows_is_given_where_it_fits_and_the_table_is_silent():
    assert registry.build("samplers", {"name": "ddim"}, eta=0.25, channels=3) == DDIM(eta=0.25)
    assert registry.build("samplers", {"name": "ddim", "eta": 1}, eta=0.25) == DDIM(eta=1.0)
    table = registry.build("schedules", {"name": "table", "betas": [0.1, 0.2]})
    assert table == schedules.Table(betas=(0.1, 0.2))
    assert table == schedules.Table(betas=torch.tensor([0.1, 0.2], dtype=torch.float64))
