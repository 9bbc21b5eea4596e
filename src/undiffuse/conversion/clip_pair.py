"""CLIP's encoder of images, alone or with that of texts, as transformers writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.text import CLIP, TextCondition
from undiffuse.conversion import clip_text
from undiffuse.conversion.assembly import TRAIN, assemble, differing, images_of
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.core.errors import Refused
from undiffuse.networks.diffusers_format import weights_from, weights_to
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import Run
from undiffuse.storage.files import read_json

KIND = "CLIPModel"
TEXT = "text"
PREPROCESSOR = "preprocessor_config.json"
# what a CLIPVisionModel does when its config leaves a field out
VISION: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
PROJECTED = 512
SEEN = "vision_model."
# of images in [0, 1], where no file says them (arXiv:2103.00020's own code)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# theirs, ours; a dot stands before each name
NAMES = [
    (".embeddings.class_embedding", ".first"),
    (".embeddings.patch_embedding.", ".enter."),
    (".embeddings.position_embedding.weight", ".places"),
    (".pre_layrnorm.", ".before."),
    (".post_layernorm.", ".after."),
    *clip_text.NAMES,
]


def read(source: PipelineSource, tokenizer: Path) -> Run:
    """The pair of encoders in a folder, with the tokenizer in another folder, as a run.

    Raises Refused, naming the field, for what such a pair has not.
    """
    said = source.said("")
    texts, images = (_inside(said, f"{name}_config") for name in ("text", "vision"))
    c = clip_text.checked(texts, KIND)
    made, length = clip_text.read_tokenizer(tokenizer)
    if max(made.vocabulary.values()) >= c["vocab_size"]:
        raise Refused(f"{tokenizer} has more symbols than the {c['vocab_size']} of {source.folder}")
    width, length = said.get("projection_dim", PROJECTED), min(length, c["max_position_embeddings"])
    own = clip_text.table(c)
    reader = {"name": "clip_text_reader", "vocabulary": c["vocab_size"], "width": width, "inside": own.pop("width")}
    reader |= {**own, "end": made.vocabulary[made.end]}
    network, shape = vision(source, images)
    condition = TextCondition(encoder=CLIP, length=length, shape=(length,), tokenizer=made.written())
    tables = {
        "data": images_of(shape),
        "codec": {"name": "pixels"},
        "schedule": {"name": "cosine"},
        "network": network,
        "text_network": differing("networks", reader),
        "parameterization": {"name": "data"},
        "objective": {"name": "contrastive"},
        "conditions": {TEXT: condition.written()},
        "train": TRAIN,
    }
    recipe = Recipe.of("clip", {"kind": "clip", "about": f"Read from a {KIND} of transformers", **tables})
    facts = {"data": {"name": KIND, "dtype": "uint8"}}
    description = Description(recipe, shape, {TEXT: condition}, PixelsCodec(0.0, 255.0), facts)
    return assemble(description, _weights(source.weights(""), width, length), str(source.folder))


def vision(source: PipelineSource, said: Mapping[str, Any], part: str = "") -> tuple[dict[str, Any], tuple[int, ...]]:
    """The table [network] of an encoder of images by its config, and the shape of an image."""
    c = clip_text.completed(said, VISION, KIND)
    mean, std = _scaling(source.folder / part, c["num_channels"])
    scaling = {"mean": list(mean), "std": list(std)}
    table = {"name": "clip_vision", "patch": c["patch_size"], **clip_text.table(c), **scaling}
    return differing("networks", table), (c["num_channels"], c["image_size"], c["image_size"])


def vision_weights(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an encoder of images by our names."""
    plain = {
        name.removeprefix(SEEN): weight
        for name, weight in theirs.items()
        if name.startswith(SEEN) and not name.endswith("position_ids")
    }
    found = weights_from(plain, (), NAMES) | {"leave.weight": theirs["visual_projection.weight"]}
    return {name: weight.flatten(1) if name == "enter.weight" else weight for name, weight in found.items()}


def vision_config(run: Any) -> dict[str, Any]:
    """The configuration of the CLIPVisionModelWithProjection that a run of kind image_encoder is."""
    own: Any = run.module
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_size": own.first.shape[0],
        "intermediate_size": own.layers[0].wide.out_features,
        "projection_dim": own.leave.out_features,
        "num_hidden_layers": len(own.layers),
        "num_attention_heads": own.layers[0].heads,
        "num_channels": own.shape[0],
        "image_size": own.shape[1],
        "patch_size": own.patch,
        "hidden_act": own.layers[0].activation,
        "layer_norm_eps": own.after.eps,
    }


def processor(run: Any) -> dict[str, Any]:
    """The configuration of the CLIPImageProcessor of such a run."""
    own: Any = run.module
    side = own.shape[1]
    scaled = {"image_mean": list(own.mean), "image_std": list(own.std)} if own.mean else {}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": side, "width": side},
        "size": {"shortest_edge": side},
        "do_normalize": bool(own.mean),
        **scaled,
    }


def vision_written(ours: Mapping[str, Tensor], patch: int) -> dict[str, Tensor]:
    """The weights of an encoder of images by their names there."""
    weights = {**ours, "enter.weight": ours["enter.weight"].unflatten(1, (-1, patch, patch))}
    leave = weights.pop("leave.weight")
    found = weights_to(weights, (), (), NAMES)
    return {f"vision_model.{name}": weight for name, weight in found.items()} | {"visual_projection.weight": leave}


def _weights(theirs: Mapping[str, Tensor], width: int, length: int) -> dict[str, Tensor]:
    """The weights of a pair by our names; the layer behind the images' own projection changes nothing."""
    spoken = {name: weight for name, weight in theirs.items() if name.startswith(clip_text.PREFIX)}
    reader = clip_text.ours(spoken)
    reader["places.weight"] = reader["places.weight"][:length]
    own = ("logit_scale", "text_projection.weight", "visual_projection.weight")
    known = (*own, *(name for name in theirs if name.startswith((clip_text.PREFIX, "vision_model."))))
    for name in own:
        if name not in theirs:
            raise Refused(f"this {KIND} lacks {name!r}")
    for name in theirs:
        if name not in known:
            raise Refused(f"this {KIND} holds {name!r}, which a pair of encoders does not have")
    return {
        **{f"items.network.{name}": weight for name, weight in vision_weights(theirs).items()},
        **{f"texts.reader.{name}": weight for name, weight in reader.items()},
        "texts.leave.weight": theirs["text_projection.weight"],
        "project.weight": torch.eye(width, dtype=torch.float32),
        "project.bias": torch.zeros(width, dtype=torch.float32),
        "log_scale": theirs["logit_scale"].reshape(()),
    }


def _inside(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The configuration of a half, which may say nothing."""
    found = said.get(name) or {}
    if not isinstance(found, dict):
        raise Refused(f"this {KIND} has {name} = {found!r}, and this is an object")
    return found


def _scaling(folder: Path, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of images in [0, 1]: what the file of the processor of images says."""
    file = folder / PREPROCESSOR
    said = read_json(file, "the processor of images") if file.is_file() else {}
    mean, std = said.get("image_mean", MEAN), said.get("image_std", STD)
    if said.get("do_normalize") is False:
        return (), ()
    found = tuple(tuple(map(float, each)) for each in (mean, std))
    if any(len(each) != channels for each in found):
        raise Refused(f"{file} has image_mean = {mean} and image_std = {std}, and images have {channels} channels")
    return found[0], found[1]
