"""A pair of encoders as a condition, a prior of its vectors, a decoder of them, and the chain of both."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pairs
import pytest
import torch
from PIL import Image

import undiffuse
from undiffuse.conditions.embedding import EmbeddingCondition
from undiffuse.conditions.prompt import PromptCondition
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.models.chain import Chain
from undiffuse.networks.conditions import ConditionEmbedding

WORDS = ["a 0", "b 1", "c 2"]


def test_an_embedded_text_ends_in_its_vector(home: Path):
    pair: Any = undiffuse.load(home / "pair")
    shown = pair.embed(WORDS)
    assert tuple(shown.shape[1:]) == pair.embedded_shape == (pairs.LENGTH + 1, pairs.WIDTH)
    torch.testing.assert_close(shown[:, -1], pair.encode_text(WORDS) * pairs.WIDTH**0.5)
    assert not shown[:, 4:-1].any()  # the start, three bytes, and no more
    assert shown[:, :4].any(-1).all()


def test_a_prior_models_vectors_and_holds_out_what_the_pair_holds_out(home: Path):
    prior, pair = undiffuse.load(home / "prior"), undiffuse.load(home / "pair")
    assert (prior.shape, prior.data_shape) == ((pairs.WIDTH,), (pairs.WIDTH,))
    drawn = prior.sample(3, text=WORDS, guidance=2.0)
    assert drawn.norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    assert torch.equal(drawn[2:], prior.sample(1, text=WORDS[2], indices=[2], guidance=2.0))
    from undiffuse.evaluation.sources import of_run

    real, decoded = of_run(prior), of_run(undiffuse.load(home / "decoder"))
    torch.testing.assert_close(torch.from_numpy(real.held_out.x), pair.encode_image(np.asarray(decoded.held_out.x)))
    codec = prior.codec
    torch.testing.assert_close(codec.decode(codec.encode(real.train.x)), torch.from_numpy(real.train.x))
    assert prior.codec.encode(real.train.x).square().mean() == pytest.approx(1, abs=1e-5)


def test_of_two_candidates_the_one_nearer_to_its_text_is_kept(home: Path):
    prior, pair = undiffuse.load(home / "prior"), undiffuse.load(home / "pair")
    both = prior.sample(6, text=[word for word in WORDS for _ in range(2)]).unflatten(0, (3, 2))
    near = (both * pair.encode_text(WORDS)[:, None]).sum(-1)
    wanted = both[torch.arange(3), near.argmax(1)]
    best = prior.sample(3, text=WORDS, candidates=2)
    torch.testing.assert_close(best, wanted)
    assert torch.equal(prior.sample(3, text=WORDS, candidates=2, rank="similarity"), best)
    with pytest.raises(Refused, match="ranked by their similarity to a text: say which"):
        prior.sample(3, candidates=2)
    with pytest.raises(Refused, match="rank = 'consensus' is not for what this run makes, whose best is told by"):
        prior.sample(3, text=WORDS, candidates=2, rank="consensus")
    table = {**prior.recipe["sampler"], "candidates": 2}
    usual = replace(prior, recipe=prior.recipe.with_tables(sampler=table))
    drawn = usual.sample(3, text=WORDS)
    assert torch.equal(drawn, best)
    assert drawn.request.candidates == 2
    torch.testing.assert_close(usual.open(n=3, text=WORDS).film(), wanted)  # of the way, too, the better one's
    assert torch.equal(usual.sample(6), prior.sample(6))  # without a text there is no better one
    assert torch.equal(usual.sample(3, text=WORDS, candidates=1), prior.sample(3, text=WORDS))


def test_vectors_may_be_moved_to_mean_0_and_deviation_1(home: Path):
    from undiffuse.codecs.embedding import Embedding

    pair: Any = undiffuse.load(home / "pair")
    x = pair.encode_image(np.random.default_rng(1).integers(0, 256, (50, *pairs.SHAPE), np.uint8)).numpy()
    codec = Embedding(pair, scale="moments").fit(x)
    z = codec.encode(x)
    assert z.mean(0).numpy() == pytest.approx(0, abs=1e-5)
    assert float(z.var(0, unbiased=False).mean()) == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(codec.decode(z), torch.from_numpy(x))
    with pytest.raises(Refused, match="knows vectors of 8 numbers, not of 3"):
        codec.encode(x[:, :3])
    with pytest.raises(Refused, match="above 0, not 0"):
        Embedding(pair, std=0.0)


def test_a_person_gives_a_picture_or_its_vector(home: Path, tmp_path: Path):
    decoder, pair = undiffuse.load(home / "decoder"), undiffuse.load(home / "pair")
    picture = np.random.default_rng(2).integers(0, 256, pairs.SHAPE, np.uint8)
    vector = pair.encode_image(picture[None])

    def told(**asked: Any) -> torch.Tensor:
        return decoder.open(n=2, **asked).cond["image"]

    wanted = (vector * pairs.WIDTH**0.5).expand(2, -1)
    large = np.repeat(np.repeat(picture, 2, 1), 2, 2)
    for value in (picture, large, vector, 5 * vector[0].numpy(), np.stack([picture] * 2)):
        torch.testing.assert_close(told(image=value), wanted)
    Image.fromarray(picture[0]).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", vector[0].numpy())
    for file in ("a.png", "a.npy"):
        torch.testing.assert_close(told(condition_words=[("image", str(tmp_path / file))]), wanted)
    assert decoder.sample(2, text="a 0").shape == (2, *pairs.SHAPE)
    for value, message in (
        (np.zeros(pairs.WIDTH), "a vector that has a direction, and given are zeros"),
        (np.ones(3), r"an item of shape \(1, 4, 4\), or a vector of 8 numbers; given is an array of shape \(3,\)"),
        (np.zeros((3, 4, 4), np.uint8), r"reads items of shape \(1, 4, 4\), not \(3, 4, 4\)"),
        (np.ones((3, pairs.WIDTH)), "2 samples need one image or 2, not 3"),
    ):
        with pytest.raises(Refused, match=message):
            decoder.sample(2, image=value)
    assert "image: an embedding of 8 numbers, or the picture that it is of" in decoder.about()["conditions"]


def test_a_vector_is_read_as_tokens_and_dropped_with_them():
    torch.manual_seed(0)
    reader = ConditionEmbedding({"image": ("embedding", (8, 3))}, 16, "a network", ("embedding",), text_width=4)
    value = torch.randn(2, 8)
    added, tokens = reader.read(2, {"image": value}, None)
    assert tokens is not None
    assert tokens.tokens.shape == (2, 4, 4)  # three of it, behind the one that stands for none
    assert added is not None
    torch.testing.assert_close(added, reader.pools["condition_image"](tokens.tokens[:, 1:].mean(1)))
    added, tokens = reader.read(2, {"image": value}, torch.tensor([True, False]))
    assert added is not None
    assert tokens is not None
    assert not added[0].any()
    assert tokens.there.tolist() == [[True, False, False, False], [True] * 4]
    with pytest.raises(Refused, match="reads 'image' as tokens: text_width, how wide they are, is above 0"):
        ConditionEmbedding({"image": ("embedding", (8, 3))}, 16, "a network", ("embedding",))
    with pytest.raises(Refused, match="from 1 to 64, not 0"):
        EmbeddingCondition(tokens=0)
    with pytest.raises(Refused, match="an embedding is made by a run of kind clip"):
        _ = EmbeddingCondition().space


def test_a_chain_of_prior_and_decoder_samples_from_a_caption(home: Path, tmp_path: Path):
    runs = {name: undiffuse.load(home / name) for name in ("prior", "decoder")}
    Chain.of_runs(runs).save(tmp_path / "chain")
    chain: Any = undiffuse.load(tmp_path / "chain")
    drawn = chain.sample(3, text=WORDS)
    assert list(chain.conditions) == ["text"]
    assert drawn.shape == (3, *pairs.SHAPE)
    vectors = runs["prior"].sample(3, text=WORDS)
    torch.testing.assert_close(chain.sample(3, text=WORDS, image=vectors), drawn)  # the prior's given


def test_vectors_of_another_pair_are_refused_by_their_digest(home: Path, tmp_path: Path):
    other = pairs.write(tmp_path / "other", seed=1)
    runs = {name: undiffuse.load(home / name) for name in ("prior", "decoder")}
    strange = pairs.trained(pairs.decoder(home / "pairs.npz", other), tmp_path / "strange")
    with pytest.raises(Refused, match=r"as 'image' vectors of the pair of encoders \w{8}, and stage 'prior' makes"):
        Chain.of_runs({"prior": runs["prior"], "decoder": strange})
    told = {"text": {"kind": "prompt", "encoder": str(other)}}
    tables = pairs.prior(home / "pairs.npz", home / "pair", conditions=told)
    with pytest.raises(Refused, match=r"are different pairs .*: texts and items lie in one space, name one run"):
        undiffuse.train(tables, out=tmp_path / "prior")


def test_a_run_may_be_called_as_a_kind_of_runs_is():
    def opened(field: str, path: str, interface: type) -> Any:
        raise Refused(f"{field} is opened at {path} as {interface.__name__}")

    for component, interface in ((EmbeddingCondition, "ItemEncoder"), (PromptCondition, "TextEncoder")):
        with pytest.raises(Refused, match=f"encoder is opened at clip as {interface}"):
            registry.check(component, {"encoder": "clip"}, "a condition", runs=opened)
