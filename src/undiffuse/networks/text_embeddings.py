"""Texts as another encoder embedded them, which attention reads as they are."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop, drop_mask
from undiffuse.core.errors import Refused
from undiffuse.networks.conditions import Specs
from undiffuse.networks.reading import TextTokens


class EmbeddedTexts(nn.Module):
    """Embeddings (batch, length, width) of each text, behind one another; of boxes and bytes there are none.

    A text that is dropped or left out is its null condition: a buffer (length, width), zero until somebody writes to
    it, as the embeddings of the empty prompt, or until it is first needed, see `postpone`. All places of a text are
    read, padding among them, as in Stable Diffusion. Raises Refused, in the owner's name, for texts of different widths
    and for what is no such embedding.
    """

    def __init__(self, conditions: Specs, owner: str) -> None:
        super().__init__()
        self.owner = owner
        texts = {name: shape for name, (form, shape) in conditions.items() if form in ("text", "boxes")}
        for name, shape in texts.items():
            if len(shape) != 2 or conditions[name][0] == "boxes":
                raise Refused(f"{owner} reads embeddings of another encoder as they are, and {name!r} is none")
        widths = {shape[1] for shape in texts.values()}
        if len(widths) > 1:
            raise Refused(f"{owner} reads texts of one width, and these are {', '.join(map(str, sorted(widths)))} wide")
        self.names, self.width = tuple(texts), next(iter(widths), 0)
        for name, shape in texts.items():
            self.register_buffer(f"null_{name}", torch.zeros(shape, dtype=torch.float32))
        self._postponed: dict[str, Callable[[], Tensor]] = {}
        self.register_state_dict_pre_hook(_all_made)

    def forward(self, n: int, cond: Mapping[str, Any], drop: Drop) -> TextTokens:
        """The tokens of n samples, of the texts that are among `cond`, and of the others the null condition."""
        return TextTokens(torch.cat([self._one(name, n, cond.get(name), drop) for name in self.names], dim=1), None)

    def null(self, name: str) -> Tensor:
        """The null condition of the text of this name, (length, width): what is written to it counts."""
        if make := self._postponed.pop(name, None):
            with torch.inference_mode(False), torch.no_grad():
                setattr(self, f"null_{name}", make().to(self.get_buffer(f"null_{name}")))
        return self.get_buffer(f"null_{name}")

    def postpone(self, name: str, make: Callable[[], Tensor]) -> None:
        """The null condition of this text is what `make` gives, (length, width), which is called when it is needed."""
        self._postponed[name] = make

    def _one(self, name: str, n: int, text: Tensor | None, drop: Drop) -> Tensor:
        if text is None:
            return self.null(name).expand(n, -1, -1)
        like = self.get_buffer(f"null_{name}")
        if text.shape != (wanted := (n, *like.shape)):
            raise Refused(f"{self.owner} takes {name!r} of shape {wanted}, not {tuple(text.shape)}")
        dropped, text = drop_mask(drop, name), text.to(like.dtype)
        return text if dropped is None else torch.where(dropped[:, None, None], self.null(name), text)


def _all_made(texts: EmbeddedTexts, prefix: str, keep: bool) -> None:
    """What is saved, compared or copied by name is made before."""
    for name in texts.names:
        texts.null(name)
