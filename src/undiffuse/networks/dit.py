"""DiT: a transformer over patches of sequences, images and volumes, and of their latents (arXiv:2212.09748)."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recomputed

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.network import Depth, HasDepths, Network
from undiffuse.networks.axes import begin, refuse_dimensions, refuse_shape, refuse_sizes
from undiffuse.networks.conditions import ConditionEmbedding, Specs
from undiffuse.networks.dit_blocks import CONDITIONINGS, Context, DiTBlock, FinalLayer, Style
from undiffuse.networks.dit_format import from_diffusers, from_original
from undiffuse.networks.embeddings import Label, exactly, positional
from undiffuse.networks.foreign_weights import holding, unwritten
from undiffuse.networks.patches import joined, patches
from undiffuse.networks.positions import POSITIONS
from undiffuse.networks.steering import Steerable, own_copy, zeroed
from undiffuse.networks.token_dropping import EDGE, SparseDenseFusion, only, turns_of

PRESETS = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}  # width, depth, heads
WAVES = 256  # sines and cosines of the time
HEAD = 64  # numbers a head, where heads are not given


class DiT(Network, HasDepths, Steerable):
    """x (batch, channels, one size an axis), c_time (batch,) -> (batch, out_channels, the same sizes), at first all 0.

    The defaults are the paper's: with preset "XL", patch 2, 1000 classes and 8 out_channels on latents (4, 32, 32) it
    has 675,129,632 numbers, its table of positions among them. Of any size that the patch divides; other sizes than
    the data's have interpolated positions.

    channels, out_channels, shape, dimensions, classes: as of a `UNet`, given by the data; the null class has a vector
        of its own. conditions: further ones by name, see `ConditionEmbedding`; texts and boxes are asked by
        cross-attention in every block, images and maps stand beside the input.
    preset: "S", "B", "L" or "XL".  width, depth, heads: in place of its own (0); with a width, heads 0 is one for 64
        numbers.
    patch: the side of a token.  mlp: how many times wider the perceptrons are.
    conditioning: what time, class and vectors do. "adaln_zero": they move the norms of each block and scale what its
        layers add, by 0 at the start; "adaln": move the norms; "cross_attention", "in_context": are two tokens that
        each block asks, or that stand before the others (with those of a text).
    positions: "sine": fixed sines and cosines; "rotary": angles of queries and keys, along every axis; "none": with
        patch 1 a change of the tokens' order changes that of the output, and nothing else, as point clouds need it.
    mask: booleans (batch, 1, one size an axis), of a call with patch 1: which places of items of different sizes are no
        padding, see `Masked`.
    qk_norm: queries and keys are normed.  norm: "layer" or "rms".  activation: "gelu", or "swiglu" 2/3 as wide inside.
    long_skips: the first blocks are joined to the last ones, as in a U-Net (arXiv:2209.12152).
    drop_tokens: the share of tokens that miss all but the first and last two blocks in training, see
        `SparseDenseFusion`; none: there is no such layer.
    checkpoint: in training each block is computed once more on the way back, in place of being remembered.
    time_scale, frequency_shift: as of a `UNet`; here the shift is 0, and cosines are first.

    Raises Refused for a patch that does not divide a size, heads that do not divide the width, a label without classes,
    and numbers that do not fit.
    """

    forms: ClassVar[tuple[str, ...]] = ("label", "vector", "text", "boxes", "embedding", "image", "map", "hole", "mask")
    masks: ClassVar[bool] = True
    half_pays: ClassVar[bool] = True  # nearly all of its time are products of matrices

    def __init__(
        self,
        channels: int = 3,
        classes: int = 0,
        shape: tuple[int, ...] = (),
        dimensions: int = 2,
        conditions: Specs | None = None,
        preset: Literal["S", "B", "L", "XL"] = "S",
        patch: int = 2,
        width: int = 0,
        depth: int = 0,
        heads: int = 0,
        mlp: float = 4.0,
        conditioning: Literal["adaln_zero", "adaln", "cross_attention", "in_context"] = "adaln_zero",
        positions: Literal["sine", "rotary", "none"] = "sine",
        qk_norm: bool = False,
        norm: Literal["layer", "rms"] = "layer",
        activation: Literal["gelu", "swiglu"] = "gelu",
        long_skips: bool = False,
        drop_tokens: float | None = None,
        checkpoint: bool = False,
        out_channels: int = 0,
        eps: float = 1e-6,
        time_scale: float = 1.0,
        frequency_shift: int = 0,
    ) -> None:
        super().__init__()
        refuse_dimensions(dimensions, "a DiT")
        heads = heads or (max(width // HEAD, 1) if width else PRESETS[preset][2])
        width, depth = width or PRESETS[preset][0], depth or PRESETS[preset][1]
        _check(channels, patch, width, depth, heads, mlp)
        if shape and (shape[0], len(shape) - 1) != (channels, dimensions):
            raise Refused(f"shape = {shape} has not {channels} channels and {dimensions} axes")
        self.channels, self.out_channels, self.dimensions = channels, out_channels or channels, dimensions
        self.patch, self.width, self.checkpoint = patch, width, checkpoint
        self.time_scale, self.frequency_shift = time_scale, frequency_shift
        if shape:
            self._check_size(torch.empty(1, *shape, dtype=torch.float32, device="meta"))
        way = self.way = CONDITIONINGS[conditioning]
        self.conditioning = ConditionEmbedding(conditions or {}, width, "a DiT", self.forms, text_width=width)
        asked = way.asked or (bool(self.conditioning.readers) and not way.before)
        style = Style(width, heads, round(mlp * width), way, norm, activation, qk_norm, eps, text=width if asked else 0)
        self.enter = begin(nn.Linear((channels + self.conditioning.channels) * patch**dimensions, width))
        self.positions = POSITIONS[positions](tuple(size // patch for size in shape[1:]), width, width // heads)
        self.time = nn.Sequential(begin(nn.Linear(WAVES, width)), nn.SiLU(), begin(nn.Linear(width, width)))
        self.label = Label(classes, width, learned_null=True)
        self.conditioned = bool(classes or self.conditioning.vectors or self.conditioning.readers)
        for table in (self.time[0], self.time[2], self.label.table):
            if table is not None:
                nn.init.normal_(table.weight, std=0.02)  # type: ignore[arg-type]
        self.long_skips = (depth - 1) // 2 if long_skips else 0
        self.blocks = nn.ModuleList([DiTBlock(style, i >= depth - self.long_skips) for i in range(depth)])
        self.fusion = None if drop_tokens is None else SparseDenseFusion(width, drop_tokens, depth)
        self.final = FinalLayer(style, self.out_channels * patch**dimensions)

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any) -> Tensor:
        return self.steered(x, c_time, (), label, drop, **cond)

    def steered(
        self,
        x: Tensor,
        c_time: Tensor,
        added: Sequence[Tensor],
        label: Tensor | None = None,
        drop: Drop = None,
        **cond: Any,
    ) -> Tensor:
        h, context, before = self._tokens(x, c_time, label, drop, cond)
        h = self._through(h, context, before, added)
        grid = tuple(size // self.patch for size in x.shape[2:])
        return joined(self.final(h[:, before:], context.c), self.patch, grid)

    def first_part(self) -> Self:
        """The first half of the blocks."""
        count = max(len(self.blocks) // 2, 1)
        found = own_copy(self, (*self.blocks[count:], self.final, *([] if self.fusion is None else [self.fusion])))
        found.blocks, found.fusion, found.long_skips = found.blocks[:count], None, 0
        return found

    def zero_layers(self) -> list[nn.Module]:
        return [zeroed(nn.Linear(self.width, self.width)) for _ in range(max(len(self.blocks) // 2, 1))]

    def features(
        self, x: Tensor, c_time: Tensor, hint: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any
    ) -> list[Tensor]:
        h, context, _ = self._tokens(x, c_time, label, drop, cond, hint)
        found: list[Tensor] = []
        for i in range(len(self.blocks)):
            h = self._block(i, h, None, context)
            found.append(h)
        return found

    def _tokens(
        self,
        x: Tensor,
        c_time: Tensor,
        label: Tensor | None,
        drop: Drop,
        cond: dict[str, Any],
        hint: Tensor | None = None,
    ) -> tuple[Tensor, Context, int]:
        """What goes into the first block, (batch, tokens, width), what blocks see besides, and how many tokens stand
        before the places.
        """
        refuse_shape(x, self.channels, self.dimensions, "this DiT")
        self._check_size(x)
        mask: Tensor | None = cond.pop("mask", None)
        if mask is not None and self.patch > 1:
            raise Refused(f"a DiT of patch {self.patch} reads several places as one, and padding with them: patch = 1")
        grid = tuple(size // self.patch for size in x.shape[2:])
        before, context = self._context(x, c_time, label, drop, cond)
        h = self.enter(patches(self.conditioning.beside(x, cond, drop), self.patch))  # (batch, places, width)
        h = h if hint is None else h + hint.flatten(2).mT
        count = 0 if before is None else before.shape[1]
        h, turns = self.positions(h, grid, count)
        h = h if before is None else torch.cat([before.to(h.dtype), h], dim=1)
        if mask is not None:
            there = F.pad(mask.flatten(1), (count, 0), value=True)[:, None, None]
            context = context._replace(there=there if context.there is None else there & context.there)
        return h, context._replace(turns=turns), count

    def _context(
        self, x: Tensor, c_time: Tensor, label: Tensor | None, drop: Drop, cond: dict[str, Any]
    ) -> tuple[Tensor | None, Context]:
        """The tokens that stand before the others, (batch, tokens, width), and what the blocks see besides."""
        time = self._embed(c_time).to(x.dtype)
        other = self.label(torch.zeros_like(time), label, drop)
        added, text = self.conditioning.read(len(x), cond, drop)
        other = other if added is None else other + added.to(other.dtype)
        if self.way.adaptive:
            c = F.silu(time + other)
            return None, Context(c) if text is None else Context(c, text=text.tokens, text_there=text.there)
        tokens = torch.stack([time, other] if self.conditioned else [time], dim=1)
        there = torch.ones(tokens.shape[:2], dtype=torch.bool, device=x.device)
        if text is not None:
            tokens = torch.cat([tokens, text.tokens.to(tokens.dtype)], dim=1)
            there = torch.cat([there, text.there], dim=1)
        if self.way.asked:
            return None, Context(text=tokens, text_there=there)
        if text is None:
            return tokens, Context()
        places = x[0, 0].numel() // self.patch**self.dimensions
        return tokens, Context(there=F.pad(there, (0, places), value=True)[:, None, None])

    def _embed(self, c_time: Tensor) -> Tensor:
        """The time's features, (batch, width), in float32 or better, also under autocast."""
        with torch.autocast(c_time.device.type, enabled=False):
            e = positional(c_time.float() * self.time_scale, WAVES, shift=self.frequency_shift, cos_first=True)
            first, act, last = self.time
            return exactly(last, act(exactly(first, e)))

    def _through(self, h: Tensor, context: Context, before: int, added: Sequence[Tensor] = ()) -> Tensor:
        """Tokens (batch, tokens, width) through all blocks, the first of which get something added; in training some
        of them miss the middle.
        """
        depth = len(self.blocks)
        skips: list[Tensor] = []
        if self.fusion is None:
            return self._some(range(depth), h, context, skips, added)
        dense = self._some(range(EDGE), h, context, skips, added)
        kept, deep, inside = self.fusion.kept(dense, before), dense, context
        if kept is not None:
            deep = only(dense, kept)
            turns = None if context.turns is None else turns_of(context.turns, kept)
            there = None if context.there is None else only(context.there[:, 0, 0, :, None], kept)[:, None, None, :, 0]
            inside = context._replace(turns=turns, there=there)
        deep = self._some(range(EDGE, depth - EDGE), deep, inside, skips, added)
        return self._some(range(depth - EDGE, depth), self.fusion(dense, deep, kept), context, skips)

    def _some(
        self, which: range, h: Tensor, context: Context, skips: list[Tensor], added: Sequence[Tensor] = ()
    ) -> Tensor:
        """Tokens through these blocks; `skips` holds what the last blocks will need of the first ones."""
        for i in which:
            skip = skips.pop() if i >= len(self.blocks) - self.long_skips else None
            h = self._block(i, h, skip, context)
            h = h + added[i] if i < len(added) else h
            if i < self.long_skips:
                skips.append(h)
        return h

    def _block(self, i: int, h: Tensor, skip: Tensor | None, context: Context) -> Tensor:
        block = self.blocks[i]
        if self.checkpoint and torch.is_grad_enabled():
            return recomputed(block, h, skip, context, use_reentrant=False)  # type: ignore[return-value]
        return block(h, skip, context)

    def depths(self) -> Mapping[str, Depth]:
        """The output of each block, "block1" the first's; tokens in context stand before the places."""
        return {f"block{i + 1}": Depth(block, self.width, channels_last=True) for i, block in enumerate(self.blocks)}

    def _check_size(self, x: Tensor) -> None:
        refuse_sizes(x, self.patch, f"a DiT with patch = {self.patch}", "take another network.patch")

    @classmethod
    def from_diffusers(cls, folder: str | Path, frequency_shift: int = 1) -> Self:
        """The network in the folder of a diffusers `DiTTransformer2DModel` (or of a pipeline that has one).

        frequency_shift: of the time's frequencies: 1 as diffusers computes them, for equal outputs; 0 as the released
        weights were trained. Raises Refused, naming the field, for what this network has not.
        """
        return cls._with(*from_diffusers(folder), frequency_shift=frequency_shift)

    @classmethod
    def from_original(cls, file: str | Path, heads: int = 0) -> Self:
        """The network in a file of the paper's own code, `.pt` or `.safetensors`; loading executes no code.

        heads: where they are not those of the preset of this width. Raises Refused for what is no DiT.
        """
        return cls._with(*from_original(file), **({"heads": heads} if heads else {}))

    @classmethod
    def _with(cls, arguments: dict[str, Any], weights: dict[str, Tensor], **other: Any) -> Self:
        return holding(unwritten(partial(cls, **(arguments | other))), weights, "these are not the weights of a DiT")


def _check(channels: int, patch: int, width: int, depth: int, heads: int, mlp: float) -> None:
    """Raises Refused for sizes that make no network."""
    for name, value in {"channels": channels, "patch": patch, "width": width, "depth": depth, "heads": heads}.items():
        if value < 1:
            raise Refused(f"{name} = {value}: a DiT needs at least 1")
    if width % (2 * heads) or mlp * width < 1:
        raise Refused(
            f"a DiT needs a width that 2 x heads divides, and mlp > 0, not width = {width}, heads = {heads}, "
            f"mlp = {mlp:g}"
        )
