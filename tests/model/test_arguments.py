"""What a person gives in Python is read whatever library it is of, or refused by the argument's name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_model import close, images, points

import undiffuse
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.codecs.tokens import TokensCodec
from undiffuse.conditions.given import requested
from undiffuse.conditions.image import ImageCondition
from undiffuse.conditions.text import TextCondition
from undiffuse.conditions.vector import VectorCondition
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation import sources
from undiffuse.models.diffusion import Diffusion
from undiffuse.samplers import DDIM
from undiffuse.sampling import items
from undiffuse.schedules import VP

THREES = [
    *(dtype(3) for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)),
    *(torch.tensor(3, dtype=dtype) for dtype in (torch.uint8, torch.int32, torch.int64)),
    *(torch.tensor([3]), np.array(3)),
]
LARGEST = 2**64 - 1


@pytest.fixture(scope="module")
def model() -> Diffusion:
    return images()


@pytest.mark.each("three", THREES, ids=lambda three: f"{type(three).__name__}-{three.dtype}")
def test_a_whole_number_of_any_library_is_that_number(model: Diffusion, three: Any):
    assert torch.equal(model.sample(three, seed=three, steps=three, batch=three), model.sample(3, seed=3, steps=3))
    oracle = GaussianOracle(Gaussian(VP()))
    assert torch.equal(undiffuse.sample(oracle, (2, 1), seed=three), undiffuse.sample(oracle, (2, 1), seed=3))
    assert arguments.seed(three) == 3


def test_every_seed_of_64_bits_is_one_of_its_own(model: Diffusion):
    drawn = {model.sample(1, seed=seed, steps=1).numpy().tobytes() for seed in (0, 1, 2**32, 2**63, LARGEST)}
    assert len(drawn) == 5
    largest: Any = np.uint64(LARGEST)
    assert torch.equal(model.sample(1, seed=largest, steps=1), model.sample(1, seed=LARGEST, steps=1))


@pytest.mark.parametrize("seed", [-1, 2**64, None, 1.0, "3", True, np.float32(3), np.array([1, 2]), torch.tensor(1.5)])
def test_another_seed_is_refused_by_its_name(model: Diffusion, seed: Any):
    for ask in (model.sample, lambda n, seed: next(model.trajectory(n, seed=seed))):
        with pytest.raises(Refused, match=r"^seed is a whole number"):
            ask(1, seed=seed)


@pytest.mark.parametrize(
    ("seed", "message"),
    [("-1", "train.seed must be 0 or more, not -1"), ("1.5", "seed = 1.5 does not fit int"), (2**64, "65 bits")],
)
def test_another_seed_of_a_recipe_is_refused_by_its_name(seed: Any, message: str):
    with pytest.raises(Refused, match=message):
        undiffuse.train("toy-2d", overrides=[f"train.seed={seed}"])


def test_random_itself_refuses_a_seed_that_is_not_of_64_bits():
    for seed in (-1, 2**64):
        with pytest.raises(Refused, match="seed is a whole number from 0 to 18446744073709551615, not"):
            Random(seed)


@pytest.mark.each(
    ("asked", "message"),
    [
        ({"n": 2.0}, "n is a whole number, not 2.0"),
        ({"n": 2**63}, "n is a whole number from 1 to 9223372036854775807, not 9223372036854775808"),
        ({"n": None}, "n is a whole number, not None"),
        ({"n": True}, "n is a whole number, not True"),
        ({"n": "many"}, "n is a whole number, not 'many'"),
        ({"steps": 2.5}, "steps is a whole number, not 2.5"),
        ({"steps": 10**7}, "at most 1,000,000 steps, not 10000000"),
        ({"batch": 1.5}, "batch is a whole number, not 1.5"),
        ({"batch": None, "indices": [0.5, 1]}, "indices are whole numbers"),
        ({"indices": [0, -1]}, "indices count samples from 0 on; given are -1 to 0"),
        ({"indices": [[0, 1]]}, r"2 samples need 2 indices, not an array of shape \(1, 2\)"),
        ({"indices": [0, 2**64]}, "indices"),
        ({"indices": 3}, r"2 samples need 2 indices, not an array of shape \(\)"),
        ({"indices": "01"}, "indices is an array of numbers, not '01'"),
        ({"sampler": DDIM}, r"sampler is a name, such as 'ddim', or a Sampler, such as DDIM\(\), not <class"),
        ({"sampler": 3}, "sampler is a name"),
        ({"sampler": "ddimm"}, r"samplers has no 'ddimm' \(did you mean 'ddim'\?\)"),
        ({"grid": torch.tensor(0.5)}, r"grid is a name, such as 'karras', .* not tensor\(0.5"),
        ({"grid": [1.0, 0.0]}, "grid is a name"),
        ({"grid": torch.linspace(1, 0, 5)}, "grid is a name"),
        ({"classifier_form": "mean"}, "classifier_form = 'mean' is how a classifier guides, and none is asked for"),
        ({"control_weight": 2}, "control_weight = 2 weighs a control of a text, and none is asked for"),
        ({"rank": "consensus"}, "rank = 'consensus' chooses the best of several candidates"),
        ({"device": "cpu"}, "sample has no option and the model no condition 'device'"),
        ({"label": ""}, "label '' is not one of the model's 3 classes"),
        ({"grid": "karas"}, r"grids has no 'karas' \(did you mean 'karras'\?\)"),
        ({"guidance": "3"}, "guidance is a number, not '3'"),
        ({"guidance": float("nan")}, "guidance is a number, not nan"),
        ({"guidance": float("inf")}, "guidance is a finite weight, not inf"),
        ({"guidance": {"label": "x"}}, "guidance of label is a number, not 'x'"),
        ({"interval": 3.0}, r"interval is a pair \(low, high\) of noise levels, not 3.0"),
        ({"interval": (1, 2, 3)}, "interval is a pair"),
        ({"rescale": "half"}, "rescale is a number, not 'half'"),
        ({"threshold": 3}, "threshold is a text, not 3"),
        ({"temperature": "hot"}, "temperature is a number, not 'hot'"),
        ({"top_k": 1.5}, "top_k is a whole number, not 1.5"),
        ({"top_p": [0.5]}, r"top_p is a number, not \[0.5\]"),
        ({"classifier": "runs/classifier"}, "there is no run at runs/classifier"),
        ({"classifier": images()}, "classifier is a run that tells the class .* not a model of samples"),
        ({"control": 3}, "control needs a model of embeddings"),
        ({"label": [[0], [1]]}, r"label is one class, or 2 of them in a row, not \[\[0\], \[1\]\]"),
        ({"label": np.zeros((2, 1), int)}, r"label is one class, or 2 of them in a row, not int64 of shape \(2, 1\)"),
        ({"label": [None, 1]}, "label None is not one of the model's 3 classes: cat, dog, bird"),
        ({"label": {1, 2}}, "label is one class"),
        ({"label": b"cat"}, "label b'cat' is not one of the model's 3 classes"),
        ({"label": 1.0}, "label 1.0 is not one of the model's 3 classes"),
        ({"label": "cta"}, r"label cta is not one of the model's 3 classes \(did you mean 'cat'\?\): cat, dog, bird"),
        ({"stpes": 3}, r"no condition 'stpes' \(did you mean 'steps'\?\)"),
    ],
)  # fmt: skip
def test_what_is_no_such_value_is_refused_by_name(model: Diffusion, asked: dict[str, Any], message: str):
    how = {"n": 2, "steps": 2, **asked}
    with pytest.raises(Refused, match=message):
        model.sample(**how)
    if "batch" not in asked:
        with pytest.raises(Refused, match=message):
            next(model.trajectory(**how))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: undiffuse.load(None), "the path of a run is a text or a Path, not None"),  # pyright: ignore[reportArgumentType]
        (lambda: undiffuse.load("run", device="cuda:99"), "there is no device 'cuda:99' on this machine; it has: cpu"),
        (lambda: undiffuse.load("run", device="gpu"), "there is no device 'gpu' on this machine"),
        (lambda: undiffuse.load("run", device="meta"), "there is no device 'meta' on this machine"),
        (lambda: undiffuse.load("run", device=3.5), "there is no device '3.5'"),  # pyright: ignore[reportArgumentType]
        (lambda: undiffuse.train(None), "recipe is a name, a file, a run folder or tables, not None"),  # pyright: ignore[reportArgumentType]
        (lambda: undiffuse.train(3), "recipe is a name, a file, a run folder or tables, not 3"),  # pyright: ignore[reportArgumentType]
        (lambda: undiffuse.train("toy-2d", out=3), "out is a folder, a text or a Path, not 3"),  # pyright: ignore[reportArgumentType]
        (lambda: undiffuse.train("toy-2d", overrides="train.steps=3"), "overrides is a list of .*not 'train"),
        (lambda: undiffuse.train("toy-2d", overrides=[3]), r"overrides is a list of settings, .*not \[3\]"),  # pyright: ignore[reportArgumentType]
    ],
)  # fmt: skip
def test_loading_and_training_refuse_by_name(call: Any, message: str):
    with pytest.raises(Refused, match=message):
        call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the message is for machines without")
def test_a_device_that_is_not_there(tmp_path: Path):
    images().save(tmp_path)
    with pytest.raises(Refused, match="there is no device 'cuda' on this machine; it has: cpu"):
        undiffuse.load(tmp_path, device="cuda")


def conditioned() -> Diffusion:
    """A model whose conditions are known, for what reads them."""
    conditions = {
        "style": VectorCondition(drop=0.5, shape=(3,)),
        "map": ImageCondition(drop=0.5, shape=(1, 4, 4), dtype="uint8"),
        "depth": ImageCondition(drop=0.5, shape=(1, 4, 4), dtype="float32"),
        "text": TextCondition(drop=0.5, length=8, shape=(8,)),
    }
    made = points()
    return Diffusion(made.denoiser, made.codec, made.shape, made.recipe, conditions)


WHITE = np.full((4, 4), 255, np.uint8)


@pytest.mark.parametrize(
    ("name", "given", "same"),
    [
        ("style", torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16), [1.0, 2.0, 3.0]),
        ("style", torch.tensor([1.0, 2.0, 3.0], requires_grad=True), [1.0, 2.0, 3.0]),
        ("style", [torch.tensor(1.0, requires_grad=True), 2, np.float16(3)], [1.0, 2.0, 3.0]),
        ("style", np.array([1, 2, 3], np.int8), [1.0, 2.0, 3.0]),
        ("map", WHITE.tolist(), WHITE),
        ("map", torch.tensor(WHITE).long(), WHITE),
        ("map", WHITE.astype(np.uint16) * 257, WHITE),
        ("depth", torch.ones(4, 4, dtype=torch.bfloat16), np.ones((4, 4), np.float32)),
        ("depth", np.ones((1, 8, 8)), np.ones((4, 4), np.float32)),
        ("text", np.array(["a cat"]), "a cat"),
        ("text", ("a cat", "a cat"), "a cat"),
    ],
)
def test_a_condition_of_any_library_and_dtype_is_the_same_condition(name: str, given: Any, same: Any):
    conditions = conditioned().conditions
    assert close(requested(conditions, 2, {name: given})[name], requested(conditions, 2, {name: same})[name])


@pytest.mark.each(
    ("name", "given", "message"),
    [
        ("style", [1.0, float("nan"), 3.0], "style holds numbers that are not finite: NaN or infinity"),
        ("style", torch.tensor([1.0, torch.inf, 3.0]), "style holds numbers that are not finite"),
        ("style", "1,2,3", "style is an array of numbers, not '1,2,3'"),
        ("style", [[1.0, 2.0], [3.0]], "style is an array of numbers"),
        ("style", np.array([1j, 2, 3]), "style is an array of numbers, not complex128"),
        ("style", {"a": 1}, "style is an array of numbers"),
        ("style", 3.0, "style has 3 numbers, and given are 1"),
        ("style", np.zeros((1, 1, 3)), r"style has 3 numbers, and given are an array of shape \(1, 1, 3\)"),
        ("map", np.full((4, 4), np.nan), "map holds numbers that are not finite"),
        ("map", np.ones((4, 4)), "map was uint8 in the training data, and given is float64: give it as uint8"),
        ("map", np.ones((4, 4), bool), "map was uint8 in the training data, and given is bool"),
        ("map", np.full((4, 4), 300), "map is uint8, 0 to 255, and has 300 to 300"),
        ("map", -np.ones((4, 4), int), "map is uint8, 0 to 255, and has -1 to -1"),
        ("depth", WHITE, "depth was float32 in the training data, and given is uint8: give it as float32"),
        ("text", 3, "text is a text, not 3"),
        ("text", ["a", None], "text is a text, not None"),
        ("text", [], "2 samples need one text or 2, not 0"),
        ("text", "\udcff", "is no valid Unicode"),
    ],
)
def test_a_condition_that_is_none_is_refused_by_name(name: str, given: Any, message: str):
    with pytest.raises(Refused, match=message):
        requested(conditioned().conditions, 2, {name: given})


FLOATS = PixelsCodec(0.0, 1.0, "float32")


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        (lambda: items.alike(np.uint16, PixelsCodec(), "new"), "run.s data are uint8, and those of new are uint16"),
        (lambda: items.alike(np.float32, PixelsCodec(), "new"), "data are uint8, and those of new are float32"),
        (lambda: items.alike(np.uint8, FLOATS, "new"), "the run's data are float32, and those of new are uint8"),
        (lambda: items.item(FLOATS, WHITE[None], "image"), "image is to be of float32, .* given is uint8"),
        (lambda: items.item(FLOATS, WHITE * 1.0, "image"), "image goes from 255 to 255, far outside the range"),
        (lambda: items.item(PixelsCodec(0, 4095, "uint16"), WHITE.astype(int) * 257, "image"), "far outside the range"),
        (
            lambda: sources._refuse_other_numbers(Dataset(WHITE[None].astype(np.uint16)), Dataset(WHITE[None])),
            "is of uint16, and .* of uint8: bring it to uint8 and its range",
        ),
    ],
)  # fmt: skip
def test_numbers_of_another_dtype_than_the_runs_are_refused(refuse: Any, message: str):
    with pytest.raises(Refused, match=message):
        refuse()
    items.alike(np.float64, FLOATS, "new")  # floats are floats
    items.alike(np.int64, TokensCodec(4), "new")  # and tokens tokens, however many bits they have
