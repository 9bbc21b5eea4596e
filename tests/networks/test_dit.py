"""DiT: the paper's counts and first output, what its options change and what they must not."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks import precision
from undiffuse.networks.dit import PRESETS, DiT
from undiffuse.networks.dit_blocks import CONDITIONINGS, Context
from undiffuse.networks.patches import joined, patches
from undiffuse.storage.blueprint import blueprint
from undiffuse.training.start import train

COUNTS = {  # arXiv:2212.09748, table 4, with the tables of positions; the latents of ImageNet
    2: (32_963_360, 130_512_416, 458_102_816, 675_129_632),
    4: (32_945_024, 130_475_648, 458_053_760, 675_074_432),
    8: (33_148_160, 130_881_536, 458_594_816, 675_683_072),
}
SMALL: dict[str, Any] = {"channels": 2, "shape": (2, 4, 6), "patch": 2, "width": 16, "depth": 5, "heads": 2}
SWITCHES: dict[str, Any] = {
    "positions": "rotary", "qk_norm": True, "norm": "rms", "activation": "swiglu", "long_skips": True,
}  # fmt: skip
TEXT: dict[str, Any] = {"text": ("text", (4,))}
T = torch.tensor([3.0, 500.0, 999.0])


def shaken(**fields: Any) -> Any:
    """A network whose weights are all random, so that everything that is heard can be seen."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        network = DiT(**(SMALL | fields))
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    return network.eval()


def values(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("patch", COUNTS)
def test_the_presets_have_the_papers_sizes(patch: int):
    latents: dict[str, Any] = {"channels": 4, "shape": (4, 32, 32), "out_channels": 8, "classes": 1000}
    for preset, count in zip(("S", "B", "L", "XL"), COUNTS[patch], strict=True):
        made = blueprint(partial(DiT, patch=patch, **latents, preset=preset), "DiT", size=2**40)
        assert sum(numbers.numel() for numbers in made.values()) == count
        assert made["positions.table"].shape == ((32 // patch) ** 2, PRESETS[preset][0])


@pytest.mark.parametrize("switches", [{}, SWITCHES | {"drop_tokens": 0.5}], ids=["paper", "switches"])
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_the_first_output_is_zero_and_an_adaln_zero_block_the_identity(conditioning: Any, switches: dict[str, Any]):
    network = DiT(**SMALL, conditioning=conditioning, classes=3, conditions=TEXT, **switches)
    x, text = values(3, 2, 4, 6), torch.randint(1, 258, (3, 4))
    output = network(x, T, label=torch.tensor([0, 1, 2]), text=text)
    assert not bool(output.any())
    (output - x).square().mean().backward()
    assert bool(network.final.linear.weight.grad.any())  # type: ignore[union-attr]
    if conditioning == "adaln_zero":
        h, c = values(3, 6, 16), values(3, 16)
        context = Context(c, text=values(3, 4, 16), text_there=torch.ones(3, 4, dtype=torch.bool))
        for block in network.blocks:
            assert torch.equal(block(h, values(3, 6, 16), context), h)


def test_patches_are_cut_in_row_major_order_and_joined_again():
    x = values(2, 3, 4, 6)
    tokens = patches(x, 2)
    assert torch.equal(tokens[:, 4], x[:, :, 2:4, 2:4].flatten(1))  # the second row's second
    for shape, axes in (((2, 3, 6), 1), ((2, 3, 4, 6), 2), ((2, 3, 4, 6, 2), 3)):
        x = values(*shape)
        cut = patches(x, 2).unflatten(2, (3, 2**axes)).transpose(2, 3).flatten(2)  # channels innermost, as of outputs
        assert torch.equal(joined(cut, 2, tuple(size // 2 for size in shape[2:])), x)


@pytest.mark.each("shape", [(2, 8), (2, 4, 6), (2, 4, 2, 6)])
@pytest.mark.each("switches", [{}, SWITCHES], ids=["paper", "switches"])
@pytest.mark.each("conditioning", CONDITIONINGS)
@torch.no_grad()
def test_conditions_are_heard_along_one_to_three_axes(shape: tuple[int, ...], switches: Any, conditioning: Any):
    kinds: dict[str, Any] = {
        "style": ("vector", (2,)),
        "text": ("text", (5,)),
        "low": ("image", (1, *shape[1:])),
    }
    fields: dict[str, Any] = {"shape": shape, "dimensions": len(shape) - 1, "classes": 3, "conditions": kinds}
    network = shaken(**fields, conditioning=conditioning, **switches)
    x = values(3, *shape)
    given: dict[str, Any] = {
        "label": torch.tensor([0, 1, 2]),
        "style": values(3, 2),
        "text": torch.tensor([[257, 5, 6, 7, 0], [257, 7, 0, 0, 0], [257, 9, 9, 0, 0]]),
        "low": values(3, 1, *shape[1:]),
    }
    full = network(x, T, **given)
    assert full.shape == x.shape
    assert not torch.allclose(full, network(x, T.flip(0), **given), atol=1e-3)
    for name, value in given.items():
        assert not torch.allclose(full, network(x, T, **given | {name: value.flip(0)}), atol=1e-3), name
        dropped = network(x, T, **given, drop={name: torch.ones(3, dtype=torch.bool)})
        without = network(x, T, **{other: value for other, value in given.items() if other != name})
        torch.testing.assert_close(dropped, without, rtol=0, atol=1e-4)
    alone = network(x[1:2], T[1:2], **{name: value[1:2] for name, value in given.items()})
    torch.testing.assert_close(full[1:2], alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_a_null_class_is_learned():
    network, x = shaken(classes=3), values(3, 2, 4, 6)
    null = network(x, T)
    every = torch.ones(3, dtype=torch.bool)
    torch.testing.assert_close(null, network(x, T, label=torch.tensor([0, 1, 2]), drop=every), rtol=0, atol=1e-6)
    network.label.table.weight[-1] += 1  # type: ignore[union-attr]
    assert not torch.allclose(null, network(x, T))


@pytest.mark.parametrize("positions", ["sine", "rotary"])
@torch.no_grad()
def test_any_size_that_the_patch_divides(positions: Any):
    """Positions of another size are interpolated: what is the same everywhere stays so, at twice the size too."""
    network = shaken(positions=positions)
    assert network(values(2, 2, 8, 4), T[:2]).shape == (2, 2, 8, 4)
    where = network.positions
    own = where(torch.zeros(1, 6, 16), (2, 3), 0)
    wide = where(torch.zeros(1, 24, 16), (4, 6), 0)
    table = (own[0][0] if own[1] is None else own[1].transpose(0, 1).flatten(1)).unflatten(0, (2, 3))
    finer = (wide[0][0] if wide[1] is None else wide[1].transpose(0, 1).flatten(1)).unflatten(0, (4, 6))
    four = finer.unflatten(1, (3, 2)).unflatten(0, (2, 2)).mean((1, 3))
    torch.testing.assert_close(four, table, rtol=0, atol=0.1)  # the mean of cos(p +- 1/4) is cos(p) cos(1/4)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_no_token_dropped_is_the_network_without_dropping(conditioning: Any):
    """With share 0, and in evaluation with any share, the layer that fuses included."""
    plain = shaken(conditioning=conditioning, **SWITCHES)
    x = values(3, 2, 4, 6)
    for share in (0.0, 0.5):
        network = DiT(**SMALL, conditioning=conditioning, **SWITCHES, drop_tokens=share)
        missing = network.load_state_dict(plain.state_dict(), strict=False).missing_keys
        assert missing == ["fusion.missing", "fusion.fuse.weight", "fusion.fuse.bias"]
        for training in (True, False) if not share else (False,):
            assert torch.equal(network.train(training)(x, T), plain(x, T))
    assert not torch.equal(network.train()(x, T), plain(x, T))  # with share 0.5


def test_dropped_tokens_miss_the_middle_and_only_that():
    network = shaken(conditioning="in_context", **SWITCHES, drop_tokens=0.5).train()
    seen: list[tuple[int, ...]] = []
    for block in network.blocks:
        block.register_forward_hook(lambda block, given, output: seen.append(tuple(output.shape)))
    x = values(4, 2, 4, 6)
    torch.manual_seed(0)
    first = network(x, torch.full((4,), 3.0))
    assert [tokens for _, tokens, _ in seen] == [7, 7, 4, 7, 7]  # one of the time; half of six
    torch.manual_seed(0)
    assert torch.equal(network(x, torch.full((4,), 3.0)), first)
    fusion = network.fusion
    assert fusion is not None
    kept = fusion.kept(torch.zeros(500, 7, 16), 1)
    assert kept is not None
    assert bool((kept[:, 0] == 0).all())
    assert bool((kept.diff(dim=1) > 0).all())
    assert torch.bincount(kept[:, 1:].flatten(), minlength=7)[1:].tolist() == pytest.approx([250] * 6, abs=50)
    dense, deep = values(2, 7, 16), values(2, 4, 16) + 10
    torch.nn.init.eye_(fusion.fuse.weight[:, 16:].detach())
    torch.nn.init.zeros_(fusion.fuse.weight[:, :16].detach())
    joint = fusion(dense, deep, kept[:2]) - fusion.fuse.bias
    expected = dense + fusion.missing
    for item, row in enumerate(kept[:2]):
        expected = expected.index_put((torch.tensor(item), row), deep[item])
    torch.testing.assert_close(joint, expected, rtol=0, atol=1e-5)


def test_the_tokens_that_a_step_drops_are_its_own(tmp_path: Path):
    """Of a run, and of the same run begun again; a patch that does not divide is refused before anything is written."""
    tables: Any = {
        "data": {"name": "file", "path": str(Path(__file__).parents[1] / "training" / "digits.npz")},
        "codec": {"name": "pixels"},
        "schedule": {"name": "cosine"},
        "parameterization": {"name": "velocity"},
        "objective": {"name": "denoising"},
        "network": {"name": "dit", "width": 16, "depth": 5, "drop_tokens": 0.5},
        "train": {"steps": 3, "batch": 4, "lr": 0.1, "warmup": 0, "validate_every": 0, "snapshots": 0, "held_out": 0},
    }
    found: list[float] = []
    for run, share in (("one", 0.5), ("again", 0.5), ("dense", 0.0)):
        training = train(tables, out=tmp_path / run, overrides=[f"network.drop_tokens={share}"])
        found.append([next(training)["loss"] for _ in range(3)][-1])
    assert found[0] == found[1] != found[2]
    with pytest.raises(Refused, match="a DiT with patch = 3 needs a height that 3 divides, not 8: 6 or 9 fits"):
        train(tables, out=tmp_path / "other", overrides=["network.patch=3"])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("drop", [None, 0.5])
def test_checkpointing_changes_no_gradient(drop: float | None):
    found: list[list[Tensor]] = []
    for checkpoint in (False, True):
        network = shaken(classes=3, checkpoint=checkpoint, drop_tokens=drop, **SWITCHES).train()
        torch.manual_seed(0)
        loss = network(values(3, 2, 4, 6), T, label=torch.tensor([0, 1, 2])).square().mean()
        found.append([loss, *torch.autograd.grad(loss, list(network.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_long_skips_join_the_first_blocks_with_the_last():
    """Each of the last blocks is joined with its mirror image; a network without them is the same at the start."""
    network = shaken(long_skips=True)
    assert [block.skip is not None for block in network.blocks] == [False, False, False, True, True]
    inputs: list[Any] = []
    for block in network.blocks:
        block.register_forward_hook(lambda block, given, output: inputs.append((given[1], output)))
    network(values(1, 2, 4, 6), T[:1])
    assert [skip is None for skip, _ in inputs] == [True, True, True, False, False]
    assert inputs[3][0] is inputs[1][1]
    assert inputs[4][0] is inputs[0][1]
    fresh, h, skip = DiT(**SMALL, long_skips=True), values(1, 6, 16), values(1, 6, 16)
    assert torch.equal(fresh.blocks[4](h, skip, Context(values(1, 16))), h)


def test_the_switches_are_what_they_say():
    options: Any = {
        "plain": {},
        "swiglu": {"activation": "swiglu"},
        "qk_norm": {"qk_norm": True},
        "rms": {"norm": "rms"},
    }
    sizes = {name: sum(p.numel() for p in DiT(**SMALL, **fields).parameters()) for name, fields in options.items()}
    inside = round(2 / 3 * 64)
    assert sizes["swiglu"] - sizes["plain"] == 5 * ((16 * 2 * inside + 2 * inside + inside * 16) - (2 * 16 * 64 + 64))
    assert sizes["qk_norm"] - sizes["plain"] == 5 * 2 * 8
    assert sizes["rms"] == sizes["plain"]
    block: Any = DiT(**SMALL, norm="rms", activation="swiglu").blocks[0]
    x = values(2, 3, 16)
    a, b = block.mlp.wide(x).chunk(2, dim=-1)
    torch.testing.assert_close(block.mlp(x), block.mlp.narrow(a * a.sigmoid() * b))
    zero = torch.zeros(16)
    torch.testing.assert_close(block.moved(x, zero, zero), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt())


def test_bfloat16_is_taken_where_it_pays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    assert precision.pick("auto", torch.device("cpu"), DiT(**SMALL)) is torch.bfloat16


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"patch": 4},
            r"a DiT with patch = 4 needs a width that 4 divides, not 6: 4 or 8 fits; .* or take another network.patch",
        ),
        ({"patch": 0}, "patch = 0: a DiT needs at least 1"),
        ({"width": 18, "heads": 2}, "a DiT needs a width that 2 x heads divides, and mlp > 0, not width = 18"),
        ({"drop_tokens": 1.0}, r"drop_tokens = 1: the share of tokens that miss the middle blocks is in \[0, 1\)"),
        ({"drop_tokens": 0.5, "depth": 4}, "drop_tokens needs blocks between the first 2 and the last 2: depth = 4"),
        ({"dimensions": 0}, "dimensions = 0: a DiT takes sequences"),
        ({"shape": (3, 4, 6)}, r"shape = \(3, 4, 6\) has not 2 channels and 2 axes"),
        ({"conditions": {"sound": ("waves", (3,))}}, "a DiT cannot take 'sound', which is waves"),
    ],
)
def test_mistakes_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        DiT(**(SMALL | fields))


def test_inputs_that_do_not_fit_are_refused():
    network = DiT(**SMALL)
    with pytest.raises(Refused, match=r"this DiT takes \(batch, 2, height, width\), not \(1, 3, 4, 6\)"):
        network(torch.zeros(1, 3, 4, 6), T[:1])
    with pytest.raises(Refused, match="a DiT with patch = 2 needs a height that 2 divides, not 5"):
        network(torch.zeros(1, 2, 5, 6), T[:1])
    with pytest.raises(Refused, match="a label was given, but this network was built without classes"):
        network(torch.zeros(1, 2, 4, 6), T[:1], label=torch.zeros(1, dtype=torch.int64))
