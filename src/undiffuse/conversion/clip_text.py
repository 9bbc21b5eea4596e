"""CLIP's text encoder and tokenizer, as transformers writes them, as a run and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from undiffuse.codecs.clip_tokenizer import END, START, ClipTokenizer
from undiffuse.codecs.text import TextCodec
from undiffuse.conversion.assembly import assemble
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.writing import write_config, write_weights
from undiffuse.core.errors import Refused
from undiffuse.networks.diffusers_format import weights_from, weights_to
from undiffuse.networks.text_encoders import ACTIVATIONS
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import Run
from undiffuse.storage.files import read_json, read_text

KIND, TOKENIZER = "CLIPTextModel", "CLIPTokenizer"
PREFIX = "text_model."  # which newer files leave out, and older programs want
# what a CLIPTextModel does when its config leaves a field out ...
DEFAULTS: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
ONLY: dict[str, tuple[Any, ...]] = {"use_attention_mask": (False, None), "model_type": ("clip_text_model",)}
# theirs, ours; a dot stands before each name
NAMES = [
    (".embeddings.token_embedding.", ".tokens."),
    (".embeddings.position_embedding.", ".places."),
    (".encoder.layers.", ".layers."),
    (".final_layer_norm.", ".norm."),
    (".layer_norm1.", ".norm1."),
    (".layer_norm2.", ".norm2."),
    (".self_attn.out_proj.", ".out."),
    (".self_attn.q_proj.", ".q."),
    (".self_attn.k_proj.", ".k."),
    (".self_attn.v_proj.", ".v."),
    (".mlp.fc1.", ".wide."),
    (".mlp.fc2.", ".narrow."),
]
FILES = ("vocab.json", "merges.txt")  # else tokenizer.json has both


def read(source: PipelineSource, part: str, tokenizer: Path) -> Run:
    """The text encoder in a part of a folder, with the tokenizer in another folder, as a run."""
    c = checked(source.said(part), KIND)
    made, length = read_tokenizer(tokenizer)
    if max(made.vocabulary.values()) >= c["vocab_size"]:
        raise Refused(f"{tokenizer} has more symbols than the {c['vocab_size']} of {source.folder / part}")
    tables = {"kind": "text_encoder", "codec": {"name": "text", "unit": "clip"}, "encoder": table(c)}
    about = f"Read from a {KIND} of transformers"
    codec = TextCodec(vocabulary=c["vocab_size"], unit="clip", tokenizer=made.written())
    length = min(length, c["max_position_embeddings"])
    description = Description(Recipe.of("clip", {"about": about, **tables}), (length,), {}, codec, {})
    weights = ours(source.weights(part))
    if length < c["max_position_embeddings"]:
        weights["places.weight"] = weights["places.weight"][:length]
    return assemble(description, weights, str(source.folder / part))


def checked(said: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The fields of a configuration, with what is usual for those that it leaves out; raises Refused, naming the field
    of this kind of model, for what an encoder of ours has not.
    """
    for field, able in ONLY.items():
        if said.get(field) not in (*able, None):
            raise Refused(f"this {kind} has {field} = {said[field]!r}; known is only {able[0]!r}")
    return completed(said, DEFAULTS, kind)


def completed(said: Mapping[str, Any], usual: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The usual fields, with what the configuration says of them; raises Refused for an activation that is not here."""
    c = {**usual, **{name: value for name, value in said.items() if name in usual}}
    if c["hidden_act"] not in ACTIVATIONS:
        raise Refused(f"this {kind} has hidden_act = {c['hidden_act']!r}; known are {', '.join(ACTIVATIONS)}")
    return c


def table(c: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the encoder's network, of texts or of pictures."""
    return {
        "width": c["hidden_size"],
        "hidden": c["intermediate_size"],
        "depth": c["num_hidden_layers"],
        "heads": c["num_attention_heads"],
        "activation": c["hidden_act"],
        "eps": c["layer_norm_eps"],
    }


def write(run: Any, encoder: Path, tokenizer: Path) -> None:
    """Write a text encoder's run as the two parts of a folder."""
    own = run.recipe["encoder"]
    length, width = run.embedded_shape
    made: ClipTokenizer = run.tokenizer
    config = {
        "architectures": [KIND],
        "model_type": "clip_text_model",
        "vocab_size": run.codec.vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": own["hidden"],
        "num_hidden_layers": own["depth"],
        "num_attention_heads": own["heads"],
        "max_position_embeddings": length,
        "hidden_act": own["activation"],
        "layer_norm_eps": own["eps"],
        "bos_token_id": made.vocabulary[made.start],
        "eos_token_id": made.vocabulary[made.end],
        "pad_token_id": made.vocabulary[made.pad],
    }
    write_config(encoder, config)
    write_weights(encoder, _theirs(run.module.state_dict()), "model.safetensors")
    write_config(tokenizer, made.vocabulary, FILES[0])
    (tokenizer / FILES[1]).write_text("\n".join(["#version: 0.2", *made.merges, ""]), encoding="utf-8")
    special = {"bos_token": made.start, "eos_token": made.end, "unk_token": made.end, "pad_token": made.pad}
    write_config(tokenizer, special, "special_tokens_map.json")
    write_config(
        tokenizer, {"tokenizer_class": TOKENIZER, "model_max_length": length, **special}, "tokenizer_config.json"
    )


def read_tokenizer(folder: Path) -> tuple[ClipTokenizer, int]:
    """The tokenizer in a folder, and how many tokens it gives at most."""
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        raise Refused(f"{folder} lacks its tokenizer: {config} is not there; put it there")
    said = read_json(config, "the tokenizer")
    name = str(said.get("tokenizer_class", TOKENIZER)).removesuffix("Fast")
    if name != TOKENIZER:
        raise Refused(f"{folder} holds a {name}; known is only {TOKENIZER}")
    if all((folder / file).is_file() for file in FILES):
        vocabulary: Any = read_json(folder / FILES[0], "the vocabulary")
        lines = read_text(folder / FILES[1], "the merges").split("\n")
        merges = [line for line in lines if line and not line.startswith("#version")]
    elif (folder / "tokenizer.json").is_file():
        model: Any = read_json(folder / "tokenizer.json", "the tokenizer").get("model", {})
        vocabulary, pairs = model.get("vocab", {}), model.get("merges", [])
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
    else:
        raise Refused(f"{folder} lacks {' and '.join(FILES)}, or tokenizer.json: put them there")
    special = {**_special(folder), **said}
    symbols = [_symbol(special.get(field, default)) for field, default in _ENDS.items()]
    length = said.get("model_max_length", 77)
    return ClipTokenizer(vocabulary, merges, *symbols), length if isinstance(length, int) else 77


_ENDS = {"bos_token": START, "eos_token": END, "pad_token": END}


def _special(folder: Path) -> dict[str, Any]:
    file = folder / "special_tokens_map.json"
    return read_json(file, "the special tokens") if file.is_file() else {}


def _symbol(said: Any) -> str:
    return str(said["content"] if isinstance(said, Mapping) else said)


def ours(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the encoder by our names."""
    plain = {name.removeprefix(PREFIX): theirs[name] for name in theirs if not name.endswith("position_ids")}
    return weights_from(plain, (), NAMES)


def _theirs(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{PREFIX}{name}": weight for name, weight in weights_to(weights, (), (), NAMES).items()}
