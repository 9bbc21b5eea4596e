"""Laws of the registry: the folder is the list, a table makes the component, and a mistake names the near word."""

import dataclasses
import importlib
from typing import Any

import pytest
import torch
from registered import every

from undiffuse import grids, parameterizations, samplers, schedules
from undiffuse.core import registry
from undiffuse.core.components import as_aliases, key
from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.recipes.recipe import Recipe
from undiffuse.samplers import DDIM

CORE = {
    "schedules": Schedule,
    "parameterizations": Parameterization,
    "grids": Grid,
    "time_distributions": TimeDistribution,
    "samplers": Sampler,
}
NAMED = [(kind, component) for kind, interface in CORE.items() for component in every(kind, interface)]


def snake(kind: str, component: Any) -> str:
    return next(name for name in registry.names(kind) if registry.get(kind, name) is type(component))


@pytest.mark.each(("kind", "component"), NAMED, ids=lambda v: v if isinstance(v, str) else repr(v)[:40])
def test_a_component_is_frozen_and_is_made_again_from_its_fields_and_from_its_repr(kind: str, component: Any):
    assert dataclasses.is_dataclass(component)
    fields = {field.name: getattr(component, field.name) for field in dataclasses.fields(component) if field.init}
    assert list(fields) == list(registry.fields(type(component)))
    assert registry.build(kind, {"name": snake(kind, component), **fields}) == component
    assert eval(repr(component), {type(component).__name__: type(component)}) == component  # noqa: S307
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(component, "anything", 1)  # noqa: B010


@pytest.mark.each(("kind", "component"), NAMED, ids=lambda v: v if isinstance(v, str) else repr(v)[:40])
def test_a_number_that_makes_no_sense_is_refused_by_its_component(kind: str, component: Any):
    """What is above 0 by default is a deviation, a noise level, a number of steps ...: never below 0."""
    for name, field in registry.fields(type(component)).items():
        number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
        if number and field.default > 0:
            with pytest.raises(Refused):
                registry.build(kind, {"name": snake(kind, component), name: type(field.default)(-1)})


@pytest.mark.each("kind", registry.KINDS)
def test_every_component_implements_the_interface_of_its_kind(kind: str):
    for name in registry.names(kind):
        able = (registry.interface(kind), *((Sampler,) if kind == "guidance" else ()))  # it wraps either
        assert issubclass(registry.get(kind, name), able), f"{name}: derive it from this"


@pytest.mark.each("kind", registry.KINDS)
def test_every_name_of_every_kind_is_a_class_that_says_what_it_is(kind: str):
    assert registry.names(kind) == sorted(registry.names(kind))
    for name in registry.names(kind):
        component = registry.get(kind, name)
        assert component.__doc__, name
        plain = name.replace("_", "")
        assert component.__name__.lower() in (plain, plain + registry.KINDS[kind].suffix.lower())
        assert registry.get(kind, name.upper().replace("_", "-")) is component


def test_the_names_that_papers_use_are_there():
    tables = {"linear_beta", "scaled_linear_beta", "cosine", "sigmoid", "sqrt", "geometric", "table"}
    assert tables | {"vp", "subvp", "ve", "edm", "flow", "log_linear"} <= set(registry.names("schedules"))
    assert {"noise", "data", "velocity", "score", "flow", "edm", "consistency"} == set(
        registry.names("parameterizations")
    )
    grids = {"even", "trailing", "leading", "quadratic", "log_snr", "karras"}
    assert grids <= set(registry.names("grids"))
    assert {"uniform", "stratified", "log_normal"} <= set(registry.names("time_distributions"))
    assert {"ancestral", "ddim", "multistep", "heun", "euler", "jump"} <= set(registry.names("samplers"))


@pytest.mark.each("kind", registry.KINDS)
def test_another_name_means_one_component_and_is_none_itself(kind: str):
    """However it is spelled; what a name says besides are fields of its component, and the table goes before them."""
    aliases = {name: registry.aliases(kind, name) for name in registry.names(kind)}
    own, others = {key(name) for name in aliases}, [key(alias) for names in aliases.values() for alias in names]
    assert len(set(others)) == len(others)
    assert not own & set(others)
    for component, names in aliases.items():
        assert as_aliases(vars(registry.get(kind, component)).get("aliases", ())) == names
        for name, said in names.items():
            for spelled in (name, name.upper(), name.replace("_", "-"), name.replace("_", " ").replace("+", "p")):
                assert registry.get(kind, spelled) is registry.get(kind, component)
                assert registry.canonical(kind, {"name": spelled}) == {"name": component, **said}
            if said:
                built = registry.build(kind, {"name": name})
                other = {field: registry.fields(type(built))[field].default for field in said}
                assert {field: getattr(built, field) for field in said} == said
                assert registry.build(kind, {"name": name, **other}) == type(built)(**other)


@pytest.mark.each("name", registry.names("conditions"))
def test_an_option_of_a_condition_is_read_from_its_file(name: str):
    """Without importing it: --help is quick."""
    component: Any = registry.get("conditions", name)
    for attribute in ("metavar", "help", "often_called"):
        assert registry.constant("conditions", name, attribute, ()) == getattr(component, attribute) != "", attribute


@pytest.mark.each(
    ("kind", "name", "component"),
    [
        ("samplers", "ddpm", samplers.Ancestral()),
        ("samplers", "euler_a", samplers.Ancestral()),
        ("samplers", "dpm++2m", samplers.Multistep()),
        ("samplers", "dpmpp_2m", samplers.Multistep()),
        ("samplers", "DPM++ 2M SDE", samplers.Multistep(eta=1.0)),
        ("samplers", "dpmpp_3m", samplers.Multistep(order=3)),
        ("samplers", "unipc_multistep", samplers.UniPC()),
        ("samplers", "uni_pc_bh1", samplers.UniPC(variant="bh1")),
        ("samplers", "deis_multistep", samplers.DEIS(variable="log_rho")),
        ("samplers", "lms", samplers.DEIS(order=4, variable="rho")),
        ("samplers", "pndm", samplers.PLMS()),
        ("samplers", "dpm_solver_singlestep", samplers.Singlestep()),
        ("samplers", "sa_solver", samplers.SA()),
        ("samplers", "dpm_adaptive", samplers.ProbabilityFlow()),
        ("parameterizations", "epsilon", parameterizations.Noise()),
        ("parameterizations", "v_prediction", parameterizations.Velocity()),
        ("parameterizations", "sample", parameterizations.Data()),
        ("schedules", "squaredcos_cap_v2", schedules.Cosine()),
        ("schedules", "linear", schedules.LinearBeta()),
        ("schedules", "scaled_linear", schedules.ScaledLinearBeta()),
    ],
)
def test_the_names_of_diffusers_and_k_diffusion(kind: str, name: str, component: Any):
    assert registry.build(kind, {"name": name}) == component


def test_a_recipe_keeps_the_components_own_names():
    changed = Recipe.find("digits").override(
        ["sampler.name=dpm++3m", "sampler.steps=9", "parameterization.name=v-prediction"]
    )
    assert changed["sampler"] == {"name": "multistep", "order": 3, "steps": 9}
    assert changed["parameterization"]["name"] == "velocity"
    assert changed.override(["sampler.name=dpmpp_3m"])["sampler"]["name"] == "multistep"


def test_a_near_miss_of_another_name_is_named_too():
    with pytest.raises(
        Refused, match=r"samplers has no 'eulera2' \(did you mean 'euler_a'\?\); it has: adams, ancestral"
    ):
        registry.get("samplers", "eulera2")
    with pytest.raises(Refused, match=r"variance = 'posteriour' does not fit .*\(did you mean 'posterior'\?\)"):
        registry.build("samplers", {"name": "ddim", "variance": "posteriour"})


def test_the_folder_has_a_face():
    assert schedules.EDMSchedule is registry.get("schedules", "edm")
    assert "EDMSchedule" in dir(schedules)
    with pytest.raises(AttributeError, match=r"undiffuse has no samplers 'DDDIM'; it has: .*DDIM, DEIS, Euler"):
        _ = importlib.import_module("undiffuse.samplers").DDDIM
    assert parameterizations.EDMParameterization is not schedules.EDMSchedule
    assert registry.get("grids", "log_snr") is grids.LogSNR


@pytest.mark.each(
    ("make", "message"),
    [
        (
            lambda: registry.get("samplers", "dddim"),
            r"samplers has no 'dddim' \(did you mean 'ddim'\?\); it has: .*ddim, deis, euler",
        ),
        (
            lambda: registry.names("sampler"),
            r"the registry has no 'sampler' \(did you mean 'samplers'\?\); it has: bottlenecks, codecs, conditions",
        ),
        (
            lambda: registry.build("samplers", {"eta": 0.5}),
            "the table of samplers needs a name; it has: .*ddim, deis",
        ),
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
    assert table == schedules.TableSchedule(betas=(0.1, 0.2))
    assert table == schedules.TableSchedule(betas=torch.tensor([0.1, 0.2], dtype=torch.float64))


@pytest.mark.parametrize(("losses", "names"), [("l1", 1), ({"name": "l1"}, 1), ("l1, dct", 2)])
def test_one_component_may_stand_alone_where_some_are_asked(losses: Any, names: int):
    found: Any = registry.build("objectives", {"name": "autoencoding", "losses": losses})
    assert len(found.losses) == names
