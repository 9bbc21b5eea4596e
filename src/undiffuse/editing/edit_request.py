"""An edit in words: a task, the picture it is about, and what it needs to know."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.conditions.frames import frames_like, numbers, placed, read_frames
from undiffuse.core.errors import Refused, unknown
from undiffuse.editing import files
from undiffuse.editing.complete import complete, late
from undiffuse.editing.embeddings import towards, variations
from undiffuse.editing.enlarge import enlarge
from undiffuse.editing.frames import extend, fill
from undiffuse.editing.interpolate import between
from undiffuse.editing.inverse_problems import inpaint, restore, usual_method
from undiffuse.editing.outpaint import outpaint
from undiffuse.editing.sdedit import denoise, vary
from undiffuse.operators.blur import Blur
from undiffuse.operators.grey import Grey
from undiffuse.operators.pool import Pool
from undiffuse.progress import Progress
from undiffuse.sampling.request import SampleRequest

FRAMES = 16  # of a way where nobody says


@dataclass(frozen=True)
class EditRequest:
    """model: a run with a denoiser; for a mask also one that completes. image: the file of the picture. n: how many
    answers. method and noise: of a mask and of a measurement, the noise in the data's units; method None: the usual
    one. frames: those of a video that are given; length: how many a way has. request, progress: as in
    `Generator.sample`.
    """

    model: Any
    dtype: str
    image: Path | None
    n: int
    method: str | None
    noise: float
    frames: str | None
    length: int | None
    request: SampleRequest
    progress: Progress
    say: Callable[[str], None]

    def run(self, task: str, value: Any) -> np.ndarray:
        """The answers, (n, *shape) in the data's units; raises Refused for what does not fit the model."""
        return _TASKS[task](self, value)

    def by(self, task: str) -> str:
        """The method of a task: the one that was asked for, or the usual one."""
        return self.method or (usual_method(self.model) if task == "mask" else "mmps")

    @property
    def how(self) -> dict[str, Any]:
        return {"n": self.n, "request": self.request, "progress": self.progress}

    def item(self, path: Path | None = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """The picture, or another file, as an item of the model's or of another shape."""
        found = path or self.image
        assert found is not None
        given = files.item(found, shape or self.model.data_shape, self.dtype)
        near = self.model.codec.nearest(given)
        if moved := int((near != given).sum()):
            self.say(
                f"{moved:,} of the {given.size:,} numbers of {found} lie between the {self.model.codec.vocabulary} "
                "levels that the run knows: each was brought to the nearest one"
            )
        return near


def _mask(edit: EditRequest, value: Path) -> np.ndarray:
    known = files.mask(value, edit.model.data_shape)
    if edit.model.completes:
        if behind := late(edit.model.data_shape, known):
            edit.say(
                f"{behind:,} of the given values come after an unknown one in the order, row by row: they stay, and "
                "the values before them were drawn without them"
            )
        return complete(edit.model, edit.item(), known, **edit.how).numpy()
    return inpaint(edit.model, edit.item(), known, edit.method, **edit.how).numpy()


def _strength(edit: EditRequest, value: float) -> np.ndarray:
    return vary(edit.model, edit.item(), value, **edit.how).numpy()


def _denoise(edit: EditRequest, value: str) -> np.ndarray:
    std = None if value == "auto" else _number(value, float, "--denoise takes a deviation in grey levels, or auto")
    return denoise(edit.model, edit.item(), std, **edit.how).numpy()


def _size(edit: EditRequest, value: str) -> np.ndarray:
    says = "--size takes a height and a width, such as 16x24"
    size = tuple(_number(word, int, says) for word in value.lower().split("x"))
    return outpaint(edit.model, edit.item(), size, **edit.how).numpy()


def _measurement(edit: EditRequest, value: str) -> np.ndarray:
    if len(edit.model.data_shape) != 3:
        raise Refused(f"a --measurement is of pictures, and the model's samples have shape {edit.model.data_shape}")
    name, _, text = value.partition(":")
    if name not in _OPERATORS:
        raise unknown("--measurement", name, _OPERATORS)
    operator, shape = _OPERATORS[name](text, *edit.model.data_shape)
    y = edit.item(shape=shape)
    return restore(edit.model, y, operator, edit.noise, edit.by("measurement"), **edit.how).numpy()


def _between(edit: EditRequest, value: tuple[Path, Path]) -> np.ndarray:
    if edit.request.sampler is not None:
        raise Refused("--between walks with deterministic ddim, there and back: leave --sampler out")
    ends = [edit.item(path) for path in value]
    how = {name: value for name, value in edit.how.items() if name != "n"}
    way, error = between(edit.model, ends[0], ends[1], FRAMES if edit.length is None else edit.length, **how)
    edit.say(f"the two come back from their codes with an error of {error:.2g} (root mean square, the data's units)")
    return way.numpy()


def _vary(edit: EditRequest, value: float) -> np.ndarray:
    _refuse_sampler(edit, "--vary")
    return variations(edit.model, edit.item(), eta=value, **edit.how).numpy()


def _towards(edit: EditRequest, value: tuple[str, str]) -> np.ndarray:
    _refuse_sampler(edit, "--towards")
    how = {name: each for name, each in edit.how.items() if name != "n"}
    return towards(
        edit.model, edit.item(), *value, frames=FRAMES if edit.length is None else edit.length, **how
    ).numpy()


def _refuse_sampler(edit: EditRequest, task: str) -> None:
    if edit.request.sampler is not None:
        raise Refused(f"{task} goes to the picture's code and back by ddim: leave --sampler out")


def _frames(edit: EditRequest, value: str) -> np.ndarray:
    assert edit.image is not None
    return fill(
        edit.model, placed(edit.image, value, edit.model.data_shape), method=edit.by("frames"), **edit.how
    ).numpy()


def _length(edit: EditRequest, value: int) -> np.ndarray:
    first, shape = None, edit.model.data_shape
    if edit.image is not None:
        first = frames_like(edit.image, shape).astype(edit.dtype)
        kept = numbers(edit.frames, first.shape[1]) if edit.frames else range(first.shape[1])
        if list(kept) != list(range(len(kept))):
            raise Refused(f"a video goes on from its first frames, as --frames 0-{len(kept) - 1}, not {edit.frames}")
        first = first[:, : len(kept)]
    return extend(edit.model, first, value, method=edit.by("length"), **edit.how).numpy()


def _enlarge(edit: EditRequest, value: Path) -> np.ndarray:
    return enlarge(edit.model, read_frames(value, edit.model.data_shape[0]), **edit.how).numpy()


def _pool(text: str, channels: int, height: int, width: int) -> tuple[Any, tuple[int, ...]]:
    operator = Pool(_number(text, int, "--measurement superresolve takes a factor, such as superresolve:4"))
    return operator, (channels, height // operator.factor, width // operator.factor)


def _blur(text: str, *shape: int) -> tuple[Any, tuple[int, ...]]:
    return Blur(_number(text, float, "--measurement blur takes a deviation in pixels, such as blur:1.5")), shape


def _grey(text: str, channels: int, height: int, width: int) -> tuple[Any, tuple[int, ...]]:
    if text:
        raise Refused(f"--measurement grey takes no number, not {text!r}")
    return Grey(), (1, height, width)


def _number(text: str, kind: Callable[[str], Any], says: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise Refused(f"{says}, not {text!r}") from None


_OPERATORS = {"superresolve": _pool, "blur": _blur, "grey": _grey}
_TASKS: dict[str, Callable[[EditRequest, Any], np.ndarray]] = {
    "mask": _mask,
    "strength": _strength,
    "measurement": _measurement,
    "denoise": _denoise,
    "size": _size,
    "between": _between,
    "vary": _vary,
    "towards": _towards,
    "frames": _frames,
    "length": _length,
    "enlarge": _enlarge,
}
