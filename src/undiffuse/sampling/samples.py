"""Samples: a tensor in the data's own units that knows what it is of, and shows it."""

from collections.abc import Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.recipes.description import Described
from undiffuse.rendering.mesh import Mesh
from undiffuse.sampling.data_frame import columns, frame
from undiffuse.sampling.request import SampleRequest
from undiffuse.storage.notes import VIDEO

if TYPE_CHECKING:
    from PIL.Image import Image
    from polars import DataFrame

SHOWN, ROWS, POINTS = 100, 20, 5000  # of what a notebook shows: pictures; texts and rows; points
VIDEO_AXES = 4
KINDS = {2: "sequences", 3: "images", 4: "volumes"}  # by the axes of one


def kind(of: Described, axes: int) -> str:
    """What the samples of a model with so many axes are, in the plural: images, rows, texts ..."""
    if axes == VIDEO_AXES and VIDEO in of.facts.get("data", {}):
        return "videos"
    if axes > 1:
        return KINDS.get(axes, "samples")
    if of.codec.reader:
        return "texts"
    return "rows" if columns(of) or of.codec.mixed else "tokens" if of.codec.tokens else "points"


def size(kind: str, shape: tuple[int, ...]) -> str:
    """How large one of a kind is, in words."""
    unit = {"rows": " columns", "texts": " tokens", "tokens": " places", "points": " numbers"}.get(kind, "")
    return " x ".join(map(str, shape)) + unit


class Samples(Tensor):
    """(n, *shape) in the data's own units, dtype and range, with all that a tensor can do; what is made of it by an
    index or an operation is a plain tensor, and so is what is pickled or saved.

    of: the model that drew them, without its weights. labels: (n,) the number of each one's class, or None; classes:
    the classes' names. captions: the text of each one's condition, one where it was the same for all; () for none.
    request: how they were drawn, with the guidance that it came to. calls: network calls a sample; seconds: of all.
    frames: (steps + 1, n, *shape), from noise to samples, where they were asked for; mesh: of a scene, likewise.
    tuned: what there is to say of a plan that was tuned for the model: "by the plan tuned for 8 steps".
    """

    __torch_function__: Any = torch._C._disabled_torch_function_impl  # what operations give is a plain tensor

    of: Described
    labels: Tensor | None
    classes: tuple[str, ...]
    captions: tuple[str, ...]
    request: SampleRequest | None
    calls: float
    seconds: float
    frames: np.ndarray | None
    tuned: str
    mesh: Mesh | None

    @classmethod
    def made(
        cls,
        x: Tensor,
        of: Described,
        labels: Tensor | None = None,
        classes: Sequence[str] | None = None,
        captions: Sequence[str] = (),
        request: SampleRequest | None = None,
        calls: float = 0.0,
        seconds: float = 0.0,
        frames: np.ndarray | None = None,
        tuned: str = "",
        mesh: Mesh | None = None,
    ) -> "Samples":
        """The tensor x (n, *shape), whose memory is shared, as samples of a model."""
        found = x.as_subclass(cls)
        found.of, found.labels = of, labels
        found.classes, found.captions = tuple(of.classes if classes is None else classes), tuple(captions)
        found.request, found.calls, found.seconds, found.frames = request, calls, seconds, frames
        found.tuned, found.mesh = tuned, mesh
        return found

    def some(self, which: Sequence[int] | np.ndarray | slice) -> "Samples":
        """These of the samples, with their labels and captions."""
        own = len(self.captions) > 1
        captions = tuple(np.array(self.captions, object)[which]) if own else self.captions
        labels = None if self.labels is None else self.labels[which]
        return Samples.made(self.as_subclass(Tensor)[which], self.of, labels, self.classes, captions, self.request)

    @property
    def x(self) -> np.ndarray:
        """The samples as an array."""
        return self.numpy()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of a table's columns; () where they have none."""
        return columns(self.of)

    @property
    def categories(self) -> tuple[tuple[str, ...], ...]:
        """Of each column the names of its categories, () of numbers; () where no column has any."""
        return self.of.codec.categories

    @property
    def texts(self) -> list[str]:
        """The samples as they read; nothing where they are no text."""
        return self.text() if self.kind == "texts" else []

    @property
    def are_points(self) -> bool:
        """Whether a sample is a line of numbers; tokens are integers."""
        return self.ndim == 2 and self.is_floating_point()

    @property
    def names(self) -> list[str] | None:
        """The name of each one's class."""
        return None if self.labels is None else [self.classes[label] for label in self.labels.tolist()]

    @property
    def kind(self) -> str:
        """What one of them is, in the plural: images, rows, texts ..."""
        return kind(self.of, self.ndim - 1)

    def frame(self) -> "DataFrame":
        """A table's rows, or points, as a polars data frame: columns and categories by name, the label where it was
        asked for. Raises Refused for all others.
        """
        if self.kind not in ("rows", "points"):
            raise self._none("table")
        return frame(self.of, self.numpy(), self.names)

    def to_pandas(self) -> Any:
        """`frame` as a pandas data frame; raises Refused where pandas is not installed."""
        found = self.frame()
        try:
            for name in ("pandas", "pyarrow"):  # polars goes from one to the other through pyarrow
                import_module(name)
        except ImportError as error:
            raise Refused("a pandas data frame needs pandas: pip install pandas pyarrow") from error
        return found.to_pandas()

    def text(self) -> list[str]:
        """The samples of a run of text as they read; raises Refused for all others."""
        if self.kind != "texts":
            raise self._none("text")
        codec: Any = self.of.codec
        return [codec.text_of(row) for row in self.numpy()]

    def images(self) -> "list[Image]":
        """Each image as a picture of PIL, of 8 bit, or 16 where the data are grey ones of 16; floats from black at 0 to
        white at 1, or over all that they reach. Raises Refused for all others.
        """
        if self.kind != "images":
            raise self._none("images")
        from PIL import Image

        from undiffuse.pictures import picture, to_uint8

        x = self.numpy()
        if x.dtype == np.uint16 and x.shape[1] == 1:
            return [Image.fromarray(each[0]) for each in x]
        return [picture(each) for each in to_uint8(x)]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        """What they are, how many, of which shape and dtype, and the range of their values."""
        which = self.kind if len(self) != 1 else self.kind.removesuffix("s")
        said = [f"{len(self)} {which}", size(self.kind, tuple(self.shape[1:])), str(self.dtype).removeprefix("torch.")]
        if self.numel() and self.kind not in ("rows", "texts"):
            x = self.numpy()
            low, high = (x.min(), x.max()) if x.dtype.kind != "f" else (np.nanmin(x), np.nanmax(x))
            said.append(f"{low:.6g} to {high:.6g}")
        said += [self.tuned] if self.tuned else []
        return ", ".join(said)

    def _repr_html_(self) -> str:
        """Pictures, a table or texts, with the same line below."""
        return f"<figure>{self._shown()}<figcaption>{escape(repr(self))}</figcaption></figure>"

    def __deepcopy__(self, memo: dict[int, Any]) -> "Samples":
        return Samples.made(self.detach().clone(), self.of, self.labels, self.classes, self.captions)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A plain tensor: such a file is read where undiffuse is not known."""
        return self.detach().__reduce_ex__(protocol)

    def _shown(self) -> str:
        if self.kind == "rows":
            return self.frame()._repr_html_()
        if self.kind == "texts":
            return "".join(f"<pre style='white-space: pre-wrap'>{escape(text)}</pre>" for text in self.text()[:ROWS])
        from base64 import b64encode

        from undiffuse.pictures import overview, png

        most = POINTS if self.kind == "points" else SHOWN
        labels = None if self.labels is None else self.labels[:most].tolist()
        captions = self.captions if len(self.captions) < 2 else self.captions[:most]
        sheet = overview(self.numpy()[:most], labels=labels, classes=self.classes, captions=captions)
        data = b64encode(png(sheet)).decode("ascii")
        return f'<img src="data:image/png;base64,{data}" alt="{escape(repr(self))}">'

    def _none(self, what: str) -> Refused:
        ways = {"images": "images()", "rows": "frame()", "points": "frame()", "texts": "text()"}
        has = " and ".join(f".{way}" for way in filter(None, [ways.get(self.kind), "numpy()"]))
        return Refused(f"{self.kind} are no {what}: of these there is {has}")
