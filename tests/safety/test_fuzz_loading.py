"""Random files and mutated good ones: recipes, models and checkpoints are read or refused; nothing else happens."""

import copy
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strange import TABLES, bytes_of, mutated

import undiffuse
from undiffuse.codecs.identity import Identity
from undiffuse.core.errors import Refused
from undiffuse.models.diffusion import Diffusion
from undiffuse.recipes import build, recipe
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.resolved import resolve
from undiffuse.sampling.run import FILE
from undiffuse.storage import files
from undiffuse.storage.strict_json import parse_json
from undiffuse.training import checkpoint
from undiffuse.training.state import TrainingState

ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
QUICK = settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=ALLOWED)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.sampled_from([0, 1, -1, 2**31, 10**9, 10**18]), st.floats(allow_nan=True)
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.text(max_size=8)
    | st.sampled_from(["edm", "mlp", "digits", "../x", "/etc"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "a", "times"]), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = [f"{table}.{field}" for table, fields in TABLES.items() for field in [*fields, "more"]]
PLACES = st.sampled_from([*FIELDS, "process.name", "sampler.steps", "conditions.label", "sampler.grid", "train.batch"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good recipe, a good model and a good checkpoint, which tests copy and spoil."""
    folder = tmp_path_factory.mktemp("fuzz")
    chosen = Recipe.find(TABLES)
    denoiser = build.predictor(about := Description(chosen, (2,), {}, Identity()))
    chosen.save(folder)
    Diffusion.of(denoiser, about).save(folder)
    average, optimiser = copy.deepcopy(denoiser), torch.optim.AdamW(denoiser.parameters())
    held = TrainingState(denoiser, {"average.": average}, optimiser, {}).tensors()
    checkpoint.save(folder, 3, held, {"seconds": 1.0, "pending": [], "stamp": "a"})
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        shutil.copy(path, path.with_name(f"good-{path.name}"))
    return folder


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@QUICK
@given(text=st.text(max_size=60))
def test_any_text_as_a_recipe(place: Path, text: str):
    with suppress(Refused):
        build.check(Recipe.find(put(place / "any.toml", text.encode("utf-8", "surrogatepass"))))


@QUICK
@given(which=st.text(max_size=40))
def test_any_text_as_the_name_of_a_recipe(which: str):
    with suppress(Refused):
        Recipe.find(which)


@QUICK
@given(data=st.data())
def test_a_mutated_recipe(place: Path, data: st.DataObject):
    content = mutated(data.draw, (place / f"good-{recipe.FILE}").read_bytes())
    with suppress(Refused):
        build.check(Recipe.find(put(place / "any.toml", content)))


@QUICK
@given(field=PLACES, value=VALUES)
def test_any_value_at_any_place_of_a_recipe(field: str, value: Any):
    table, _, key = field.partition(".")
    tables = {**TABLES, table: {**TABLES.get(table, {}), key: value}}
    with suppress(Refused):
        chosen = Recipe.find(tables)
        build.check(chosen)
        resolved = resolve(chosen)
        assert Recipe.of("again", {**resolved.tables}).tables == resolved.tables
        json.dumps(resolved.tables, allow_nan=False)
        tomli_w.dumps(resolved.tables)


@QUICK
@given(pairs=st.lists(st.tuples(PLACES | st.text(max_size=12), st.text(max_size=12) | VALUES.map(repr)), max_size=3))
def test_any_settings(pairs: list[tuple[str, str]]):
    with suppress(Refused):
        build.check(Recipe.find(TABLES).override([f"{field}={value}" for field, value in pairs]))


@QUICK
@given(text=st.text(max_size=200) | VALUES.map(lambda v: json.dumps(v)))
def test_any_text_as_json(text: str):
    with suppress(Refused):
        assert isinstance(parse_json(text, "it"), dict)


@QUICK
@given(data=st.data())
def test_a_mutated_model(place: Path, data: st.DataObject):
    content = mutated(data.draw, (place / f"good-{FILE}").read_bytes())
    with suppress(Refused):
        undiffuse.load(put(place / FILE, content))


@QUICK
@given(header=VALUES | st.dictionaries(st.text(max_size=3), VALUES, max_size=3), rest=st.binary(max_size=40))
def test_any_header_of_a_model(place: Path, header: Any, rest: bytes):
    with suppress(Refused):
        undiffuse.load(put(place / FILE, bytes_of(header, rest)))


DESCRIBED = ["format", "shape", "conditions", "codec", "recipe", "versions", "step", "data", "more"]


@QUICK
@given(field=st.sampled_from(DESCRIBED), value=VALUES | st.lists(NUMBERS, max_size=5))
def test_any_value_in_the_description_of_a_model(place: Path, field: str, value: Any):
    weights, about = files.read_tensors(place / f"good-{FILE}", "model")
    header: dict[str, Any] = {"__metadata__": {"about": json.dumps({**about, field: value})}}
    content = b""
    for name, tensor in weights.items():
        part = tensor.numpy().tobytes()
        entry = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(content), len(content) + len(part)]}
        header[name], content = entry, content + part
    with suppress(Refused):
        undiffuse.load(put(place / FILE, bytes_of(header, content)))


@QUICK
@given(data=st.data())
def test_a_mutated_checkpoint(place: Path, data: st.DataObject):
    folder = place / "checkpoints" / "00000003"
    spoiled = data.draw(st.sampled_from([checkpoint.TENSORS, checkpoint.STATE]))
    for name in (checkpoint.TENSORS, checkpoint.STATE):
        content = (folder / f"good-{name}").read_bytes()
        put(folder / name, mutated(data.draw, content) if name == spoiled else content)
    denoiser = build.predictor(Description(Recipe.find(TABLES), (2,), {}, Identity()))
    with suppress(Refused):
        held, state = checkpoint.load(folder)
        assert state["step"] >= 0
        optimiser = torch.optim.AdamW(denoiser.parameters())
        TrainingState(denoiser, {"average.": denoiser}, optimiser, {}).restore(held, "checkpoint")
