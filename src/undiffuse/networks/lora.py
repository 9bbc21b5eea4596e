"""Low-rank adaptation (LoRA): a frozen layer W learns W + scale B A, with B and A of a small rank."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused, some

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # no heirs of theirs, which may do more than multiply
ASKED, ATTENTION = ("qkv", "q"), ("qkv", "q", "k", "v", "kv", "out")  # what projections of attention are called
A, B, FROZEN = "lora_A", "lora_B", "frozen_weights"
SEEN = 4096  # numbers of each tensor that a fingerprint reads
SHOWN = 3  # layers in a message


@dataclass(frozen=True, eq=False)
class LowRank:
    """What some rows of a layer's weight gain, scale B A; rows: (first, last + 1), None: all.

    a: (rank, inputs), or the kernel of a convolution (rank, inputs, ...); b: (rows, rank), or (rows, rank, 1 ...).
    """

    a: Tensor
    b: Tensor
    scale: float
    rows: tuple[int, int] | None = None

    @property
    def delta(self) -> Tensor:
        """scale B A, (rows, inputs times the kernel's places), in float32 or better."""
        dtype = torch.promote_types(self.a.dtype, torch.float32)
        return self.scale * (self.b.to(dtype).flatten(1) @ self.a.to(dtype).flatten(1))

    def fits(self, weight: Tensor) -> bool:
        """Whether this can be added to a weight."""
        first, last = self.rows or (0, len(weight))
        inner = self.b.flatten(1).shape[1] == len(self.a)
        return inner and (len(self.b), self.a.flatten(1).shape[1]) == (last - first, weight.flatten(1).shape[1])


@contextmanager
def calls(module: nn.Module) -> Iterator[list[str]]:
    """Yields the names of the layers that are called inside; others have weights that something else multiplies."""
    seen: list[str] = []
    names = {layer: name for name, layer in module.named_modules() if type(layer) in LAYERS}
    hooks = [layer.register_forward_hook(lambda each, *_: seen.append(names[each])) for layer in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def chosen(module: nn.Module, targets: str | Sequence[str], rank: int, called: Iterable[str]) -> list[str]:
    """The names of the layers to adapt, of those that were called.

    targets: "attention", its projections; "all", every linear layer and convolution with a rank of at least this; or
    ends of names, as ("qkv", "middle.attentions.0.out").
    Raises Refused where there is none, and for a rank above that of a layer.
    """
    able = [name for name, layer in module.named_modules() if name in set(called) and _groups(layer) == 1]
    if targets == "all":
        found = [name for name in able if _rank(module.get_submodule(name)) >= rank]
        if not found:
            raise Refused(f"init.lora.rank = {rank}: no layer of this network has that rank{_largest(module, able)}")
        return found
    found = _attention(module, able) if targets == "attention" else _called(able, targets)
    for name in found:
        if (most := _rank(module.get_submodule(name))) < rank:
            raise Refused(
                f"init.lora.rank = {rank} is above the rank of {name!r}, whose weight is "
                f"{_shape_of(module, name)}: {most} is the most"
            )
    return found


def adapt(module: nn.Module, layers: Iterable[str], rank: int, alpha: float) -> None:
    """Freeze a module, and give these layers A and B, which are all that is trained, in place.

    y = layer(x) + (alpha / rank) B(A(x)), B = 0 and A uniform as a new layer's weights. A has the layer's kernel and
    stride where it convolves, B the kernel 1. `state_dict` holds A and B, and buffers. Source: arXiv:2106.09685, eq. 3.
    """
    freeze(module)
    for name in layers:
        layer = cast("Any", module.get_submodule(name))
        like: dict[str, Any] = {"bias": False, "dtype": layer.weight.dtype, "device": layer.weight.device}
        if type(layer) is nn.Linear:
            inside, outside = nn.Linear(layer.in_features, rank, **like), nn.Linear(rank, layer.out_features, **like)
        else:
            how = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            inside = type(layer)(layer.in_channels, rank, *how, padding_mode=layer.padding_mode, **like)
            outside = type(layer)(rank, layer.out_channels, 1, **like)
        nn.init.zeros_(outside.weight)
        layer.add_module(A, inside)
        layer.add_module(B, outside)
        layer.register_forward_hook(partial(_add, alpha / rank))


def freeze(module: nn.Module) -> None:
    """Make every parameter a buffer that no file holds: `parameters` and `state_dict` know no frozen weight."""
    for part in module.modules():
        weights = dict(part.named_parameters(recurse=False))
        for name, weight in weights.items():
            delattr(part, name)
            part.register_buffer(name, weight.requires_grad_(False).detach(), persistent=False)
        vars(part)[FROZEN] = tuple(weights)


def adapted(module: nn.Module) -> bool:
    """Whether its weights are frozen, and A and B beside them are what is trained."""
    return FROZEN in vars(module)


def frozen(module: nn.Module) -> list[Tensor]:
    """The weights that were frozen."""
    return [vars(part)["_buffers"][name] for part in module.modules() for name in vars(part).get(FROZEN, ())]


def merged(module: Any, updates: Mapping[str, Sequence[LowRank]]) -> Any:
    """The module with W + sum of scale B A in the place of W of these layers; everything else is shared with it.

    Raises Refused, with both shapes, for layers that it does not have and for weights of other shapes.
    """
    check(module, updates)
    weights: list[Tensor] = [module.get_submodule(name).weight for name in updates]
    shared = {id(each): each for each in chain(module.parameters(), module.buffers())}
    for each in weights:
        del shared[id(each)]
    made = copy.deepcopy(module, shared)
    for name, parts in updates.items():
        weight = made.get_submodule(name).weight
        total = weight.detach().to(torch.promote_types(weight.dtype, torch.float32), copy=True).flatten(1)
        for part in parts:
            first, last = part.rows or (0, len(total))
            total[first:last] += part.delta.to(total)
        with torch.no_grad():
            weight.copy_(total.view(weight.shape))
    return made


def check(module: nn.Module, updates: Mapping[str, Sequence[LowRank]], what: str = "LoRA") -> None:
    """Raises Refused, with both shapes, for layers that a module does not have and for weights of other shapes."""
    there = {name: layer.weight for name, layer in module.named_modules() if isinstance(layer, LAYERS)}
    lines: list[str] = []
    for name, parts in updates.items():
        for part in parts:
            if name not in there:
                lines.append(f"{name}: {_product(part)} there, and no such layer here")
            elif not part.fits(there[name]):
                lines.append(f"{name}: {_product(part)} there, {shape(there[name])} here")
    if lines:
        more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise Refused(f"{what} is for another base: {'; '.join(lines[:SHOWN])}{more}")


def fingerprint(module: nn.Module) -> str:
    """What tells the weights of a module from others, rounded to bfloat16 or not; reads a part of each."""
    found = blake2b(digest_size=16)
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name} {tuple(value.shape)}".encode())
        flat = value.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // SEEN)].cpu()
        some = some.bfloat16().contiguous().view(torch.int16) if some.is_floating_point() else some.contiguous()
        found.update(some.numpy().data)
    return found.hexdigest()


def shape(weight: Tensor) -> str:
    """A weight's shape in words."""
    return " x ".join(map(str, weight.shape))


def _shape_of(module: Any, name: str) -> str:
    return shape(module.get_submodule(name).weight)


def _add(scale: float, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + scale * layer.lora_B(layer.lora_A(inputs[0]))


def _attention(module: nn.Module, able: Sequence[str]) -> list[str]:
    """The projections of attention among these layers."""
    asking = {
        name for name, part in module.named_modules() if any(child in ASKED for child, _ in part.named_children())
    }
    pairs = [(name, *name.rpartition(".")[::2]) for name in able]
    if found := [name for name, parent, own in pairs if parent in asking and own in ATTENTION]:
        return found
    raise Refused(
        "init.lora.targets = 'attention': this network has no attention that can be adapted; targets = 'all' adapts "
        "every linear layer and convolution"
    )


def _called(able: Sequence[str], ends: Sequence[str]) -> list[str]:
    """The layers whose names end so."""
    for end in ends:
        if not any(f".{name}".endswith(f".{end}") for name in able):
            raise Refused(
                f"init.lora.targets: no layer that can be adapted is called {end!r}; there are {some(able, 8)}"
            )
    return [name for name in able if any(f".{name}".endswith(f".{end}") for end in ends)]


def _groups(layer: Any) -> int:
    return 1 if type(layer) is nn.Linear else layer.groups


def _rank(layer: Any) -> int:
    return min(layer.weight.flatten(1).shape)


def _product(part: LowRank) -> str:
    return f"{shape(part.b)} times {shape(part.a)}"


def _largest(module: nn.Module, names: Sequence[str]) -> str:
    most = max((_rank(module.get_submodule(name)) for name in names), default=0)
    return f", {most} is the most" if most else "; none can be adapted"
