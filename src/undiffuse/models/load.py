"""A run's folder, read: whatever kind is there, with the averaged weights."""

import hashlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import devices, registry
from undiffuse.core.arguments import shown
from undiffuse.core.errors import Refused
from undiffuse.models.other_formats import foreign, opened, weights_digest
from undiffuse.networks.lora import fingerprint, merged
from undiffuse.recipes.arrays import named
from undiffuse.recipes.bundled import names
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling import lora_run
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.run import FILE, LORA, PROCESS, USES, Run
from undiffuse.storage.blueprint import TENSORS
from undiffuse.storage.files import finite, fit
from undiffuse.storage.tensor_file import Held, Part, held


@devices.on_cpu()
def load(path: Path | str, precision: str = "auto", device: torch.device | str | None = None) -> Any:
    """The run in a folder, of whatever kind, with the averaged weights, ready to use; or in a folder of diffusers.

    precision: "auto" (bfloat16 where the hardware multiplies it and the network has convolutions; float32 of kinds
    whose gradients are needed), "float32" or "bfloat16".
    device: default a GPU where there is one. Runs no code from the folder, and takes memory only once the file is known
    to hold what its recipe's network needs. Raises Refused if there is no whole run, and no such device.
    """
    where = devices.device(device)
    return _opened(path).to(precision, where)


def generator(path: Path | str, precision: str = "auto", device: torch.device | str | None = None) -> Generator:
    """`load` of a run that draws samples; raises Refused for all others."""
    return drawing(load(path, precision, device), path)


def drawing(run: Any, path: Path | str) -> Generator:
    """The run in this folder, which draws samples; raises Refused for one that does not."""
    if not run.draws:
        raise Refused(f"{path} holds {run.what}, which draws none: {run.next_step(path)}")
    return run


def denoising(
    path: Path | str, precision: str = "auto", device: torch.device | str | None = None
) -> DenoisingGenerator:
    """`generator` of a run that draws by a denoiser; raises Refused for all others."""
    return _with_denoiser(generator(path, precision, device), path)


def editable(path: Path | str, fills: bool = False, device: torch.device | str | None = None) -> Any:
    """`generator`, in float32, of a run that draws by a denoiser, of a chain, or, to fill in what is not known, of one
    that completes; raises Refused for all others.
    """
    run = generator(path, "float32", device)
    return run if run.stages or (fills and run.completes) else _with_denoiser(run, path)


def _with_denoiser(run: Generator, path: Path | str) -> Any:
    """The run in this folder, which draws by a denoiser; raises Refused for one that does not."""
    if not run.denoises:
        raise Refused(f"{path} holds {run.what}, which has no denoiser: {run.next_step(path)}")
    return run


def scoring(path: Path | str, device: torch.device | str | None = None) -> Any:
    """`generator`, in float32, of a run that has a denoiser or is levelled; raises Refused for all others."""
    run = generator(path, "float32", device)
    if not (run.levelled or run.denoises):
        raise Refused(f"{path} holds {run.what}, which gives no item a probability: {run.next_step(path)}")
    return run


def description(path: Path | str) -> Description | None:
    """What the run in a folder says of itself, with what the files that its recipe names held; None where there is no
    whole run yet.
    """
    if not os.path.exists(Path(path) / FILE) or foreign(path):
        return None
    file, what = _file(path)
    with held(file, "model") as found:
        if LORA in found.about:
            return _lora(found, what, file.parent).description
        return _described(found, found.about, what, file.parent)


def digest(path: Path | str) -> str:
    """What tells the file of a run from any other; of a folder of another library its files of weights."""
    if foreign(path):
        return weights_digest(path)
    with _file(path)[0].open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def weights(path: Path | str) -> str:
    """What tells the tensors of a run from any others, whatever else its file says, such as the plans tuned for it."""
    if foreign(path):
        return weights_digest(path)
    found = hashlib.blake2b(digest_size=16)
    with held(*_file(path)) as file:
        for name in sorted(file):
            tensor = file[name]
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _opened(path: Path | str) -> Run:
    """The run on the CPU."""
    if isinstance(path, str | os.PathLike) and foreign(path):
        return opened(path)
    file, what = _file(path)
    with held(file, "model") as found:
        return (_lora if LORA in found.about else _whole)(found, what, file.parent)


def _whole(found: Held, what: str, home: Path) -> Run:
    """The run that a file holds."""
    return _run(found, found.about, what, home)


def _lora(found: Held, what: str, home: Path) -> Run:
    """The run that a LoRA and its base are together: weights to which B A was added, as any other run has them."""
    lora = lora_run.read(found, what)
    try:
        base = _opened(lora.base)
    except Refused as error:
        raise Refused(
            f"{what} is a LoRA of the run {lora.base}: {error}; if the base is elsewhere, sample it with --lora {home}"
        ) from None
    lora.refuse_other(fingerprint(base.module), f"{what}: the run {lora.base}")
    about = lora_run.whole(found.about)
    said = _described(found, about, what, home, base.uses)
    kind: type[Run] = registry.get("models", said.recipe.kind)
    weights = base.module.state_dict()
    module = kind.unwritten(said)
    module.load_state_dict(fit(weights, module.state_dict(), f"{what}, the run {lora.base}"), assign=True)
    module = merged(module, lora.updates)
    changed = fit(lora.buffers, {n: t for n, t in module.state_dict().items() if n in lora.buffers}, what)
    for name, value in changed.items():
        module.state_dict()[name].copy_(value)
    return kind.of(module.eval().requires_grad_(False), said)


def _run(found: Held | Part, about: Mapping[str, Any], what: str, home: Path) -> Run:
    """The run that these tensors and this description are."""
    said = _described(found, about, what, home)
    kind: type[Run] = registry.get("models", said.recipe.kind)
    # a network may have more than it saves, but not much
    most = (min(len(found) + 1000, TENSORS), found.nbytes + 2**30)
    others = (PROCESS, *(f"{USES}{name}." for name in said.recipe.uses.runs))
    like = {name: tensor for name, tensor in found.like.items() if not name.startswith(others)}
    plan = kind.blueprint(said, tensors=most[0], size=most[1])
    fit(like, plan, what)
    module = kind.unwritten(said)
    for name, place in module.state_dict().items():
        finite({name: (read := found[name])}, what)
        place.copy_(read)
    return kind.of(module.eval().requires_grad_(False), said)


def _described(
    found: Held | Part, about: Mapping[str, Any], what: str, home: Path, known: Mapping[str, Run] = MappingProxyType({})
) -> Description:
    """The description, with the runs inside and with what the files that the recipe names held. known: further runs
    inside, which are held elsewhere.
    """
    inside = about.get("uses", {})
    if not isinstance(inside, dict) or not all(isinstance(each, dict) for each in inside.values()):
        raise Refused(f"{what} is broken: its description spoils 'uses'")
    uses = {name: _run(Part(found, f"{USES}{name}."), each, f"{what}, {name}", home) for name, each in inside.items()}
    said = Description.of(about, what, {**known, **uses})
    arrays = _arrays(found, said.recipe, what)
    return replace(said, recipe=replace(said.recipe, arrays=arrays, home=home.absolute()))


def _arrays(found: Held | Part, recipe: Recipe, what: str) -> dict[str, Tensor]:
    """The arrays of a model's file by the paths in its recipe; raises Refused for one that the recipe does not name."""
    paths, stored = named(recipe["process"]), [name for name in found if name.startswith(PROCESS)]
    for name in stored:
        if name.removeprefix(PROCESS) not in paths:
            raise Refused(f"{what} holds {name!r}, which the model does not have")
    read = {paths[name.removeprefix(PROCESS)]: found[name] for name in stored}
    finite(read, what)
    return {path: tensor.double() for path, tensor in read.items()}


def _file(path: Path | str) -> tuple[Path, str]:
    """The file in a run folder, or at the path itself, and what it is called; raises Refused if there is none."""
    if not isinstance(path, str | os.PathLike):
        raise Refused(f"the path of a run is a text or a Path, not {shown(path)}")
    path = Path(os.path.expanduser(path))
    if path.suffix == ".toml" and os.path.isfile(path):
        raise Refused(f"{path} is a recipe: a run is the folder that training it made, such as {path.parent}")
    file = path / FILE if os.path.isdir(path) else path  # os.path, since a Path raises for names that no file has
    if not os.path.exists(path):
        known = f": undiffuse train {path} --out runs/{path} makes one" if str(path) in names() else ""
        raise Refused(f"there is no run at {path}{known}")
    if os.path.isfile(path) and path.suffix != Path(FILE).suffix:
        _refuse_data(path)
    if not os.path.exists(file):
        raise Refused(
            f"{path} holds no model ({FILE}): training has not reached its first checkpoint, or this is no run folder"
        )
    return file, f"model {file}"


def _refuse_data(path: Path) -> None:
    """Raises Refused for a file of data."""
    from undiffuse.data.resolve import is_data

    if is_data(str(path)):
        raise Refused(f"{path} is data and no run: undiffuse train {shlex.quote(str(path))} --out runs/mine makes one")
