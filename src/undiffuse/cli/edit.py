"""`undiffuse edit`: change a picture that is there already, or fill in the blanks of a text."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from undiffuse.cli import options
from undiffuse.cli.terminal import progress, tell
from undiffuse.core.errors import Refused
from undiffuse.sampling.request import SampleRequest

if TYPE_CHECKING:
    import numpy as np

    from undiffuse.sampling.generator import Generator


@dataclass(frozen=True)
class Task:
    """What the flag of its name asks for. said: of what was done, {0} being the method. names: what it names itself,
    where others need --image. free: whether --image may be left out. moves: whether what it makes is best seen as a
    .gif. options: the flags that say more of it, and ask for nothing themselves beside it.
    """

    said: str
    names: str = ""
    free: bool = False
    moves: bool = False
    options: tuple[str, ...] = ()


TASKS = {
    "mask": Task("painted by {0}", options=("method",)),
    "strength": Task("variations"),
    "measurement": Task("restored by {0}", options=("method", "noise")),
    "denoise": Task("denoised"),
    "size": Task("painted around by mmps in windows"),
    "between": Task("there and back by ddim", names="two pictures", moves=True, options=("length",)),
    "vary": Task("varied around its code by ddim"),
    "towards": Task("from its code by ddim", moves=True, options=("length",)),
    "frames": Task("the other frames filled in", moves=True, options=("method",)),
    "length": Task("window after window", free=True, moves=True, options=("frames", "method")),
    "enlarge": Task("enlarged frame by frame, with one noise for all", names="video", moves=True),
}


@options.sampling(
    without=("text", "image", "frames"),
    help={"n": "How many answers. [default: 1]", "label": "A class, by number or name. [default: none]"},
)
def edit(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model.")],
    image: Annotated[
        Path | None, Option(help="The picture (or video, or .npy array) to edit, of the model's size.")
    ] = None,
    mask: Annotated[Path | None, Option(help="Paint anew where this picture is white, and keep the rest.")] = None,
    strength: Annotated[
        float | None, Option(help="Variations: how much to forget, 0 to 1, in shares of the steps.")
    ] = None,
    measurement: Annotated[
        str | None,
        Option(metavar="NAME[:NUMBER]", help="What the picture is of the original: superresolve:4, blur:1.5 or grey."),
    ] = None,
    denoise: Annotated[
        str | None, Option(metavar="STD|auto", help="Remove noise of this deviation, in grey levels, or estimate it.")
    ] = None,
    size: Annotated[str | None, Option(metavar="HxW", help="Paint around the picture up to this size.")] = None,
    between: Annotated[
        tuple[Path, Path] | None, Option(metavar="A B", help="The way from one picture to another.")
    ] = None,
    vary: Annotated[
        bool,
        Option("--vary", help="Variations that show the same, of a model of vectors; --set eta=0.5 is nearer."),
    ] = False,
    towards: Annotated[
        str | None,
        Option(metavar="TEXT", help="The way to what a text says, of such a model; --text is what is there."),
    ] = None,
    frames: Annotated[
        str | None, Option(metavar="0,15", help="The frames of a video that stay: the others are drawn anew.")
    ] = None,
    length: Annotated[
        int | None,
        Option(
            help="So many frames: of a way [default: 16]; or a video (or a sample, without --image) goes on, window by "
            "window."
        ),
    ] = None,
    enlarge: Annotated[
        Path | None, Option(help="A small video, each frame of which is enlarged by a run of images, with one noise.")
    ] = None,
    method: Annotated[
        str | None,
        Option(
            help="For --mask, --measurement and frames: mmps, pigdm, dps or particles; for --mask replace, repaint, or "
            "network of a run that was trained to paint in; for --length windows, all drawn together. [default: "
            "network of such a run, else mmps]"
        ),
    ] = None,
    noise: Annotated[float, Option(help="Of a measurement: its deviation in grey levels.")] = 0.0,
    text: Annotated[
        str | None,
        Option(help="A text with blanks ____ to fill in, of a run of texts; else a caption, of one that takes texts."),
    ] = None,
    only: Annotated[
        str | None, Option(metavar="TEXT", help="Of a text: what may stand in its blanks, as aeiou. [default: all]")
    ] = None,
    *,
    request: SampleRequest,
    out: Annotated[
        Path | None,
        Option(
            "-o",
            "--out",
            help="A picture (.png, .jpg, .webp), .gif, the numbers (.npy, .npz), a folder, or - for stdout. "
            "[default: in the run folder]",
        ),
    ] = None,
) -> None:
    """Edit a picture with a run, or fill in a text. A picture is painted in or around, varied, restored, or walked
    to another one.

    \b
    undiffuse edit runs/digits --image three.png --mask hole.png -n 8 -o filled.png
    undiffuse edit runs/digits --image three.png --strength 0.5 -n 8 -o variations.png
    undiffuse edit runs/digits --image small.png --measurement superresolve:4 -o large.png
    undiffuse edit runs/digits --image noisy.png --denoise auto -o clean.png
    undiffuse edit runs/digits --between three.png eight.png --length 16 -o morph.gif
    undiffuse edit runs/emoji-unclip --image heart.png --vary -n 8 -o variations.png
    undiffuse edit runs/emoji-unclip --image heart.png --text "a red heart" --towards "a blue heart" -o way.gif
    undiffuse edit runs/moving-digits --image clip.gif --frames 0,15 -n 4 -o between.gif
    undiffuse edit runs/moving-digits --image clip.gif --frames 0-7 --length 48 -o longer.gif
    undiffuse edit runs/mnist-superresolve --enlarge small.gif -o large.gif
    undiffuse edit runs/speeches --text "we the ____ of the united states" -n 5
    undiffuse edit runs/speeches --text "th_ p__pl_" --only aeiou -n 5
    undiffuse edit runs/speeches --text "fellow citizens of the..." -n 5 --temperature 0.8
    """
    to = None if towards is None else (towards, text or "")
    eta, others = request.settings.get("eta", 1.0), {k: v for k, v in request.settings.items() if k != "eta"}
    request = replace(request, settings=others) if vary else request
    values = {
        "mask": mask,
        "strength": strength,
        "measurement": measurement,
        "denoise": denoise,
        "size": size,
        "between": between,
        "vary": eta if vary else None,
        "towards": to,
        "frames": frames,
        "length": length,
        "enlarge": enlarge,
    }
    asked_for = [task for task in TASKS if values[task] is not None]
    tasks = [task for task in asked_for if not any(task in TASKS[other].options for other in asked_for)]
    if not tasks and image is None and text is not None:
        _phrase(run, text, request, only, out)
        return
    if only is not None:
        raise Refused("--only is for a --text with blanks: it says what may stand in them")
    task = _only(tasks)
    about, more = TASKS[task], {"method": method is not None, "noise": noise != 0}
    for name in (each for each, given in more.items() if given and each not in about.options):
        others = [f"--{each}" for each, other in TASKS.items() if name in other.options]
        raise Refused(f"--{name} is of {' and '.join(others)}, and this asks for --{task}")
    if not about.free and (image is None) != bool(about.names):
        raise Refused(f"--{task} names its {about.names} itself" if image else f"--{task} needs --image, the picture")
    from undiffuse.editing.edit_request import EditRequest
    from undiffuse.models.load import editable
    from undiffuse.models.named_runs import steered
    from undiffuse.sampling.guidance import words
    from undiffuse.sampling.samples import VIDEO_AXES
    from undiffuse.storage import output_paths

    usual = ".gif" if about.moves else ".png"
    target = output_paths.file(out, run, f"edited{usual}", tuple(FORMS))
    model = editable(run, fills=task == "mask")  # in float32: half would spoil gradients
    model = steered(model, request.controlnet)
    if text is not None and towards is None:
        request = replace(request, condition_words=[("text", text), *request.condition_words])
    said: list[str] = []
    with progress("editing", "step") as advance:
        n, dtype = request.count, str(model.facts.get("data", {}).get("dtype", "float32"))
        asked = EditRequest(model, dtype, image, n, method, noise, frames, length, request, advance, said.append)
        edited = asked.run(task, values[task])
    suffix = target.suffix.lower() or usual
    moves = edited[0].ndim == VIDEO_AXES and suffix == ".gif"
    written = _video(model, edited) if moves else FORMS[suffix](edited, suffix)
    output_paths.put(target, written)
    shape = "x".join(map(str, edited.shape[1:]))
    guided = "" if task == "enlarge" else words(model.open(request).request)  # which is told frames in its own way
    how = "completed in its order" if model.completes else about.said.format(asked.by(task))
    how = f"{how}, stage after stage" if model.stages else how
    facts = [f"{target}: {len(edited)} of {shape}", how, guided]
    tell("\n".join([*said, ", ".join([*filter(None, facts), f"seed {request.seed}"])]))


def _only(tasks: list[str]) -> str:
    """The one task; raises Refused for none and for several."""
    if len(tasks) != 1:
        both = f": {', '.join('--' + task for task in tasks)}" if tasks else ""
        raise Refused(f"ask for one of {', '.join('--' + task for task in TASKS)}; this asks for {len(tasks)}{both}")
    return tasks[0]


def _phrase(run: Path, text: str, request: SampleRequest, only: str | None, out: Path | None) -> None:
    """Fill in a text, print the answers, and write them where that was asked for."""
    from undiffuse.editing.phrase import phrase
    from undiffuse.models.load import denoising
    from undiffuse.storage import output_paths

    target = None if out is None else output_paths.file(out, run, "edited.txt")
    model = denoising(run)
    with progress("editing", "step") as advance:
        answers = phrase(model, text, request.count, request, only=only, progress=advance)
    if target != output_paths.STDOUT:
        print("\n".join(answers))
    if target is not None:
        output_paths.put(target, "".join(f"{answer}\n" for answer in answers).encode())
        tell(f"{target}: {len(answers)} answers, seed {request.seed}")


def _video(model: "Generator", x: "np.ndarray") -> bytes:
    """The answers beside each other, playing."""
    import torch

    from undiffuse.sampling.samples import Samples
    from undiffuse.sampling.video_content import moving

    return moving(Samples.made(torch.from_numpy(x), model.description), ".gif")


def _picture(x: "np.ndarray", suffix: str) -> bytes:
    """The answers side by side, small ones enlarged."""
    from undiffuse.pictures import as_images, encoded, grid

    return encoded(grid(as_images(x)), suffix)


def _npz(x: "np.ndarray", suffix: str) -> bytes:
    import io

    import numpy as np

    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, x=x)
    return file.getvalue()


def _npy(x: "np.ndarray", suffix: str) -> bytes:
    import io

    import numpy as np

    file = io.BytesIO()
    np.save(file, x, allow_pickle=False)
    return file.getvalue()


def _gif(x: "np.ndarray", suffix: str) -> bytes:
    from undiffuse.pictures import as_images, gif, grid

    images = as_images(x)
    return gif([grid(images[i : i + 1]) for i in range(len(images))])


FORMS = {**dict.fromkeys((".png", ".jpg", ".jpeg", ".webp"), _picture), ".gif": _gif, ".npz": _npz, ".npy": _npy}
