"""`undiffuse edit`: change a picture that is there already, or fill in the blanks of a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from undiffuse.cli import options
from undiffuse.cli.terminal import progress, tell
from undiffuse.core.errors import Refused

if TYPE_CHECKING:
    import numpy as np

METHODS = {  # what each task says of itself
    "mask": "painted by {0}",
    "strength": "variations",
    "measurement": "restored by {0}",
    "denoise": "denoised",
    "size": "painted around by mmps in windows",
    "between": "there and back by ddim",
}
TASKS = tuple(METHODS)


def edit(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model.")],
    image: Annotated[Path | None, Option(help="The picture (or .npy array) to edit, of the model's size.")] = None,
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
    frames: Annotated[int, Option(help="Of the way between two pictures.")] = 16,
    method: Annotated[
        str, Option(help="For --mask and --measurement: mmps, pigdm, dps or particles; for --mask replace or repaint.")
    ] = "mmps",
    noise: Annotated[float, Option(help="Of a measurement: its deviation in grey levels.")] = 0.0,
    n: Annotated[int, Option("-n", "--count", help="How many answers.")] = 1,
    label: Annotated[str | None, Option(help="A class, by number or name. [default: none]")] = None,
    text: Annotated[
        str | None,
        Option(help="A text with blanks ____ to fill in, of a run of texts; else a caption, of one that takes texts."),
    ] = None,
    only: Annotated[
        str | None, Option(metavar="TEXT", help="Of a text: what may stand in its blanks, as aeiou. [default: all]")
    ] = None,
    map_: options.Map = None,
    vector: options.Vector = None,
    condition: options.Condition = None,
    guidance: options.Guidance = None,
    interval: options.Interval = None,
    rescale: options.Rescale = None,
    threshold: options.Threshold = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    sampler: options.Sampler = None,
    steps: options.Steps = None,
    seed: Annotated[int, Option(min=0, max=options.SEED, help="Of the answers.")] = 0,
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
    """Edit a picture with a run: paint in or around, vary, restore, or walk to another one. Or fill in a text.

    \b
    undiffuse edit runs/digits --image three.png --mask hole.png -n 8 -o filled.png
    undiffuse edit runs/digits --image three.png --strength 0.5 -n 8 -o variations.png
    undiffuse edit runs/digits --image small.png --measurement superresolve:4 -o large.png
    undiffuse edit runs/digits --image noisy.png --denoise auto -o clean.png
    undiffuse edit runs/digits --between three.png eight.png --frames 16 -o morph.gif
    undiffuse edit runs/speeches --text "we the ____ of the united states" -n 5
    undiffuse edit runs/speeches --text "th_ p__pl_" --only aeiou -n 5
    undiffuse edit runs/speeches --text "fellow citizens of the..." -n 5 --temperature 0.8
    """
    values = dict(zip(TASKS, (mask, strength, measurement, denoise, size, between), strict=True))
    tasks = [task for task, value in values.items() if value is not None]
    if not tasks and image is None and text is not None:
        steering = (guidance, interval, rescale, threshold, temperature, top_k, top_p)
        told = options.told(condition, label=label, map=map_, vector=vector)
        _phrase(run, text, n, out, steering, told, only=only, seed=seed, sampler=sampler, steps=steps)
        return
    if only is not None:
        raise Refused("--only is for a --text with blanks: it says what may stand in them")
    if len(tasks) != 1:
        raise Refused(f"ask for one of {', '.join('--' + task for task in TASKS)}; this asks for {len(tasks)}")
    task = tasks[0]
    if (image is None) != (task == "between"):
        raise Refused("--between names its two pictures itself" if image else f"--{task} needs --image, the picture")
    from undiffuse.conditions.words import understood
    from undiffuse.editing.edit_request import EditRequest
    from undiffuse.models.load import generator
    from undiffuse.sampling.guidance import resolve_guidance
    from undiffuse.sampling.request import dtype
    from undiffuse.sampling.steering import Steering
    from undiffuse.storage import output_paths

    steering = Steering.read(guidance, interval, rescale, threshold, temperature, top_k, top_p)
    told = options.told(condition, label=label, text=text, map=map_, vector=vector)
    usual = ".gif" if task == "between" else ".png"
    target = output_paths.file(out, run, f"edited{usual}", tuple(FORMS))
    model = generator(run, precision="float32")  # half precision would spoil the gradients
    given = understood(model, told)
    with progress("editing", "step") as advance:
        how = {"seed": seed, "sampler": sampler, "steps": steps, "progress": advance, **vars(steering)}
        how |= given
        said: list[str] = []
        asked = EditRequest(model, dtype(model), image, n, method, noise, frames, how, said.append)
        edited = asked.run(task, values[task])
    suffix = target.suffix.lower() or usual
    output_paths.put(target, FORMS[suffix](edited, suffix))
    shape = "x".join(map(str, edited.shape[1:]))
    facts = [
        f"{target}: {len(edited)} of {shape}",
        METHODS[task].format(method),
        resolve_guidance(model, steering, given).words(),
    ]
    tell("\n".join([*said, ", ".join([*filter(None, facts), f"seed {seed}"])]))


def _phrase(
    run: Path,
    text: str,
    n: int,
    out: Path | None,
    steering: tuple[Any, ...],
    told: list[tuple[str, str]],
    **how: Any,
) -> None:
    """Fill in a text, print the answers, and write them where that was asked for."""
    from undiffuse.conditions.words import understood
    from undiffuse.editing.phrase import phrase
    from undiffuse.models.load import generator
    from undiffuse.sampling.steering import Steering
    from undiffuse.storage import output_paths

    target = None if out is None else output_paths.file(out, run, "edited.txt")
    model = generator(run)
    with progress("editing", "step") as advance:
        how |= {"progress": advance, **vars(Steering.read(*steering)), **understood(model, told)}
        answers = phrase(model, text, n, **how)
    if target != output_paths.STDOUT:
        print("\n".join(answers))
    if target is not None:
        output_paths.put(target, "".join(f"{answer}\n" for answer in answers).encode())
        tell(f"{target}: {len(answers)} answers, seed {how['seed']}")


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
