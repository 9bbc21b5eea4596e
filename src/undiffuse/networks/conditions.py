"""Embedding of conditions other than the label: vectors and texts in its features, images beside its input."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.broadcast import column
from undiffuse.core.condition_dropout import Drop, drop_mask
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import TOLD
from undiffuse.networks.reading import BoxTokens, Bytes, EmbeddingTokens, EncodedCaption, TextTokens

Specs = Mapping[str, tuple[str, tuple[int, ...]]]  # a condition's name -> its form and sizes, see `ConditionKind.spec`
BESIDE = ("image", "map", "hole")  # forms that stand beside the sample
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
LEVELS = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.int32: 65535.0}  # the whitest white of each dtype


class ConditionEmbedding(nn.Module):
    """The conditions that a network of this width was built for; no condition, no weights.

    vector (batch, d): through a linear layer, zero at first where it says where to jump or how to guide.  text, (batch,
    length) bytes or (batch, length, d) embeddings, and boxes (batch, most, 5), see `BoxTokens`: tokens for
    cross-attention behind one that stands for none, and their mean through a linear layer; embedding (batch, d):
    likewise, as several tokens, see `EmbeddingTokens`.  image (batch, c, ...): its
    channels, brought to the input's size (see `resized`), and one that is 1 where it is there. Integers go to [-1, 1]
    first.  map (batch, 1, ...), class numbers: a channel a class, each place of the input as the nearest one, and
    likewise one more.  hole (batch, c, ...): channels, of which the first is 1 where nothing is known, which is
    everywhere where it is dropped.
    A dropped condition adds nothing, has no tokens and zeros for channels, as one left out.
    Raises Refused for kinds that the owner cannot take, and for conditions of other names and shapes.
    """

    def __init__(self, conditions: Specs, width: int, owner: str, takes: tuple[str, ...], text_width: int = 0) -> None:
        super().__init__()
        for name, (kind, _) in conditions.items():
            if kind not in takes:
                raise Refused(
                    f"{owner} cannot take {name!r}, which is {kind}: it takes {', '.join(takes)}"
                    + ("" if "image" in takes else "; a unet takes every kind")
                )
        self.conditions, self.owner = dict(conditions), owner
        vectors, texts, boxes, embeddings = (
            {name: shape for name, (kind, shape) in conditions.items() if kind == wanted}
            for wanted in ("vector", "text", "boxes", "embedding")
        )
        if embeddings and not text_width:
            raise Refused(
                f"{owner} reads {next(iter(embeddings))!r} as tokens: text_width, how wide they are, is above 0"
            )
        self.images = {name: spec for name, spec in conditions.items() if spec[0] in BESIDE}
        self.channels = sum(shape[0] + (kind != "hole") for kind, shape in self.images.values())
        self.vectors = nn.ModuleDict({_key(name): nn.Linear(shape[0], width) for name, shape in vectors.items()})
        self.readers = nn.ModuleDict(
            {
                _key(name): Bytes(shape[0], text_width) if len(shape) == 1 else EncodedCaption(shape[1], text_width)
                for name, shape in texts.items()
            }
            | {_key(name): BoxTokens(classes, text_width) for name, (_, classes) in boxes.items()}
            | {_key(name): EmbeddingTokens(inside, count, text_width) for name, (inside, count) in embeddings.items()}
        )
        for layer in (self.vectors[_key(name)] for name in TOLD if name in vectors):
            for weight in layer.parameters():
                nn.init.zeros_(weight)
        self.pools = nn.ModuleDict({_key(name): nn.Linear(text_width, width) for name in (*texts, *boxes, *embeddings)})
        self.null = nn.Parameter(torch.zeros(text_width)) if texts or boxes or embeddings else None

    def read(self, n: int, cond: Mapping[str, Any], drop: Drop) -> tuple[Tensor | None, TextTokens | None]:
        """What vectors, texts and others add to the features of n samples, (n, width), and the tokens of the latter."""
        self._check(cond, n)
        added: list[Tensor] = []
        texts: list[TextTokens] = []
        for name, value in cond.items():
            null = drop_mask(drop, name)
            if _key(name) in self.vectors:
                layer: Any = self.vectors[_key(name)]
                vector = layer(value.to(layer.weight.dtype))
            elif _key(name) in self.readers:
                text: TextTokens = self.readers[_key(name)](value)
                there = text.there.unsqueeze(2)
                vector = self.pools[_key(name)]((text.tokens * there).sum(1) / there.sum(1).clamp(min=1))
                texts.append(text if null is None else TextTokens(text.tokens, text.there & ~null[:, None]))
            else:
                continue
            added.append(vector if null is None else vector.masked_fill(null[:, None], 0.0))
        return torch.stack(added).sum(0) if added else None, self._tokens(n, texts)

    def _tokens(self, n: int, texts: list[TextTokens]) -> TextTokens | None:
        """All tokens behind the one that stands for none; nothing where no condition has any."""
        if self.null is None:
            return None
        none = self.null.expand(n, 1, -1)
        always = torch.ones(n, 1, dtype=torch.bool, device=none.device)
        return TextTokens(
            torch.cat([none, *(text.tokens.to(none.dtype) for text in texts)], dim=1),
            torch.cat([always, *(text.there for text in texts)], dim=1),
        )

    def beside(self, x: Tensor, cond: Mapping[str, Any], drop: Drop) -> Tensor:
        """x (batch, channels, ...) with the channels of the images behind its own."""
        parts = [x]
        for name, (kind, shape) in self.images.items():
            nothing = x.new_zeros(len(x), shape[0] + (kind != "hole"), *x.shape[2:])
            if kind == "hole":
                nothing[:, 0] = 1
            if name not in cond:
                parts.append(nothing)
                continue
            null = drop_mask(drop, name)
            image, sides = cond[name], x.shape[2:]
            shown = kind != "map"
            image = resized(scaled(image).to(x.dtype), sides) if shown else one_hot(image, shape[0], sides, x.dtype)
            image = image if kind == "hole" else torch.cat([image, torch.ones_like(image[:, :1])], dim=1)
            parts.append(image if null is None else torch.where(column(null, x), nothing, image))
        return torch.cat(parts, dim=1) if len(parts) > 1 else x

    def _check(self, cond: Mapping[str, Any], n: int) -> None:
        for name, value in cond.items():
            if name not in self.conditions:
                known = ", ".join(self.conditions) or "none but the label"
                raise Refused(f"{self.owner} was not built for {name!r}; its conditions are: {known}")
            kind, shape = self.conditions[name]
            shape = {"boxes": (shape[0], 5), "map": (1, *shape[1:]), "embedding": shape[:1]}.get(kind, shape)
            given, wanted = tuple(value.shape), (n, *shape)
            any_size = kind in BESIDE
            fits = given[:2] == wanted[:2] and len(given) == len(wanted) if any_size else given == wanted
            if not fits:
                raise Refused(f"{self.owner} takes {name!r} of shape {wanted}, not {given}")


def scaled(image: Tensor) -> Tensor:
    """Integers of 0 ... 255 or 0 ... 65535 as -1 ... 1, floats as they are."""
    return image.float() * (2 / LEVELS[image.dtype]) - 1 if image.dtype in LEVELS else image


def resized(image: Tensor, sides: Sequence[int]) -> Tensor:
    """The image with so many places along each axis, by area where these are no more, else linearly."""
    if list(image.shape[2:]) == list(sides):
        return image
    if all(now >= new for now, new in zip(image.shape[2:], sides, strict=True)):
        return F.interpolate(image, sides, mode="area")
    return F.interpolate(image, sides, mode=MODES[image.ndim - 2], align_corners=False)


def one_hot(classes: Tensor, count: int, sides: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Class numbers (batch, 1, ...) as a channel a class, with so many places along each axis, each the nearest's."""
    nearest = F.interpolate(classes.float(), sides, mode="nearest-exact")
    found = F.one_hot(nearest[:, 0].long().clamp(max=count), count + 1)  # the last: none that the network knows
    return found[..., :count].movedim(-1, 1).to(dtype)


def _key(name: str) -> str:
    return f"condition_{name}"  # a ModuleDict takes no names that modules have of their own, such as `type`
