"""Your own text: files or a folder of them, cut into items of equally many tokens."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from undiffuse.codecs.text import UNKNOWN, opened, words
from undiffuse.codecs.text import TextCodec as Codec
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, find, gather, place
from undiffuse.data.source import Peek, Stored
from undiffuse.data.text.passages import Piece, files, passages
from undiffuse.progress import progress_bar

BLOCK = 64  # packed items that are held out together
ROWS = 4096  # items that are made at once
BREAK = "\n"  # between passages of characters and bytes
END = "</s>"  # between passages of words
LONGEST = 2**16  # tokens of an item
BESIDE = ("frequencies", "dtype")  # fields of a codec that do not say how a text is spelled


@dataclass(frozen=True)
class TextData(Stored):
    """A .txt, .txt.gz or .jsonl file, or a folder of them, as tokens (count, length).

    tokens: "characters", "bytes", "words" (and punctuation marks; the `most_words` most frequent, all others `<unk>`),
    or a Hugging Face tokenizer: its folder, its tokenizer.json, or its name. key: the field of .jsonl with the text.
    packing: "pack" joins all passages, an end between them, and cuts them into items; what is left at the very end,
    less than an item, is not used. A passage is a file, or a line of .jsonl. "pad" makes an item of each line and fills
    it up with a symbol for nothing; longer ones are cut into several. shortest: above 0 such a line is
    cut into pieces of shortest to length tokens, evenly drawn, and those of characters end with a word where they can.
    The text is read in pieces, once to know its symbols and once to cut it, and kept on the disk where it is large.
    Of packed text, blocks of 64 neighbouring items are held out together (of fewer, where there are fewer than 6,400),
    so that passages are held out and not gaps in those that were learned. Of padded text equal items stay together, as
    those of any other data.
    Raises Refused, with line or offset, for a file that is not text, and for text that is empty or of a single symbol.
    """

    path: str
    tokens: str = "characters"
    length: int = 128
    packing: Literal["pack", "pad"] = "pack"
    key: str = "text"
    most_words: int = 10_000
    shortest: int = 0

    def __post_init__(self) -> None:
        if self.shortest and (self.packing != "pad" or not 1 <= self.shortest <= self.length):
            raise Refused(
                f"shortest = {self.shortest} is for packing = 'pad', from 1 to the length {self.length:,}; with 0 "
                "lines are cut where they are full"
            )
        if not 2 <= self.length <= LONGEST or self.most_words < 2:
            raise Refused(
                f"text needs a length of 2 to {LONGEST:,} and most_words of at least 2, not {self.length:,} and "
                f"{self.most_words:,}"
            )

    def load(self) -> Dataset:
        """All items, and how they are spelled."""
        there = place((self.key, self._json), self._files)
        kept = find(there) or self._cut(there)
        spelling = dict(kept.about["spelling"])
        spelling["symbols"] = tuple(spelling["symbols"])
        items, path = kept.x, Path(self.path)
        if not len(items):
            few = f"{self.path} has {kept.about['tokens']:,} tokens, and one item has {self.length:,}"
            raise Refused(f"{few}: take a smaller data.length")
        together = max(1, min(BLOCK, len(items) // 100)) if self.packing == "pack" else 1
        vocabulary = int(spelling.pop("vocabulary"))
        name = path.resolve().name.partition(".")[0] or "text"
        notes = {"tokens": kept.about["tokens"], "unit": spelling["unit"]}
        return Dataset(items, name=name, vocabulary=vocabulary, spelling=spelling, notes=notes, together=together)

    def spelled_by(self, codec: Codec) -> Dataset:
        """All items in another text's tokens, in memory; raises Refused for symbols that it does not have."""
        rows = list((self._packed if self.packing == "pack" else self._padded)(codec, {"tokens": 0}))
        if not rows:
            raise Refused(f"{self.path} has no {self.length:,} tokens, which one item has")
        fields = {k: v for k, v in asdict(codec).items() if k not in BESIDE}
        return Dataset(
            np.concatenate(rows), name=Path(self.path).stem, vocabulary=fields.pop("vocabulary"), spelling=fields
        )

    def peek(self) -> Peek:
        """The length of an item, once the first piece of text is read."""
        for _ in zip(range(1), self._pieces("looking"), strict=False):
            pass
        return Peek((self.length,), False, tokens=True, spelled=True)

    @cached_property
    def _files(self) -> list[Path]:
        return files(self.path)

    @cached_property
    def _json(self) -> str:
        """The tokenizer's own file; nothing for units that need none."""
        return "" if self.tokens in ("characters", "bytes", "words") else _tokenizer(self.tokens)

    def _pieces(self, title: str) -> Iterator[Piece]:
        """All text, behind a bar where that takes long."""
        size = sum(file.stat().st_size for file in self._files)
        with progress_bar(total=size, desc=title, unit="B", unit_scale=True, delay=2, leave=False) as bar:
            for file in self._files:
                yield from passages(file, self.key, self.packing == "pad", bar.update)

    def _cut(self, there: Path) -> Decoded:
        """The items, made and kept."""
        codec, most = self._codec()
        fields = {k: v for k, v in asdict(codec).items() if k not in BESIDE}
        about: dict[str, Any] = {"tokens": 0, "spelling": fields}
        rows = self._packed(codec, about) if self.packing == "pack" else self._padded(codec, about)
        return gather(there, rows, most, Decoded(np.empty(0), about=about))

    def _codec(self) -> tuple[Codec, int | None]:
        """What spells the text, and at most how many items it makes; None: unknown."""
        pads = self.packing == "pad"
        if self._json:
            size = opened(self._json).get_vocab_size()
            return Codec(size + pads, unit="tokenizer", tokenizer=self._json, pad=size if pads else -1), None
        counts: Counter[str] = Counter()
        total, passed, lines = 0, 0, 0
        for piece in self._pieces("reading"):
            found = words(piece.text) if self.tokens == "words" else piece.text
            total += len(piece.text.encode()) if self.tokens == "bytes" else len(found)
            passed, lines = passed + piece.ends, lines + -(-len(piece.text) // self.length)
            counts.update(found)
        if not total:
            raise Refused(f"{self.path} holds no text")
        if len(counts) < 2:
            raise Refused(f"the text in {self.path} has one symbol only ({next(iter(counts))!r}): nothing to learn")
        most = lines + total // self.length + 1 if pads else (total + passed) // self.length + 1
        most = None if self.shortest else most
        if self.tokens == "bytes":
            return Codec(256 + pads, unit="bytes", pad=256 if pads else -1), most
        between = (END if self.tokens == "words" else BREAK,) if passed > 1 and not pads else ()
        beside = (*between, *([""] if pads else []))
        symbols = _symbols(counts, self.tokens == "words", self.most_words)
        symbols = (*symbols, *(symbol for symbol in beside if symbol not in symbols))
        unit = "words" if self.tokens == "words" else "characters"
        return Codec(len(symbols), unit=unit, symbols=symbols, pad=len(symbols) - 1 if pads else -1), most

    def _packed(self, codec: Codec, about: dict[str, Any]) -> Iterator[np.ndarray]:
        dtype = _dtype(codec.vocabulary)
        end = self._end(codec).astype(dtype)  # else all tokens would take the width of these
        rest, begins = np.empty(0, dtype), False
        for piece in self._pieces("cutting"):
            tokens = codec.tokens_of(piece.text).astype(dtype)
            rest = np.concatenate([rest, end, tokens] if begins else [rest, tokens])
            begins = piece.ends
            if len(rest) >= ROWS * self.length:
                whole = len(rest) // self.length * self.length
                yield rest[:whole].reshape(-1, self.length)
                about["tokens"] += whole
                rest = rest[whole:].copy()
        whole = len(rest) // self.length * self.length
        about["tokens"] += len(rest)
        if whole:
            yield rest[:whole].reshape(-1, self.length)

    def _padded(self, codec: Codec, about: dict[str, Any]) -> Iterator[np.ndarray]:
        dtype, rows, draw = _dtype(codec.vocabulary), [], np.random.default_rng(0)
        for piece in self._pieces("cutting"):
            tokens = codec.tokens_of(piece.text)
            about["tokens"] += len(tokens)
            for part in self._parts(tokens, codec, draw):
                row = np.full(self.length, codec.pad, dtype)
                row[: len(part)] = part
                rows.append(row)
            if len(rows) >= ROWS:
                yield np.stack(rows)
                rows = []
        if rows:
            yield np.stack(rows)

    def _parts(self, tokens: np.ndarray, codec: Codec, draw: np.random.Generator) -> Iterator[np.ndarray]:
        """A line, cut into pieces that fit an item."""
        space = codec.symbols.index(" ") if self.shortest and " " in codec.symbols else -1
        start = 0
        while start < len(tokens):
            size = int(draw.integers(self.shortest, self.length + 1)) if self.shortest else self.length
            part = tokens[start : start + size]
            start += len(part)
            spaces = np.flatnonzero(part == space)
            if len(spaces) and spaces[-1] and start < len(tokens):  # a word is not cut
                start += int(spaces[-1]) + 1 - len(part)
                part = part[: spaces[-1]]
            yield part

    def _end(self, codec: Codec) -> np.ndarray:
        """The tokens between two passages."""
        if codec.unit == "words":
            return np.array([codec.symbols.index(END)] if END in codec.symbols else [])
        if codec.unit == "characters" and BREAK not in codec.symbols:
            return np.empty(0, np.int64)  # there is one passage
        return codec.tokens_of(BREAK)


def _symbols(counts: Counter[str], are_words: bool, most: int) -> tuple[str, ...]:
    """Characters in their order; words by how frequent they are, with one for all others where these are not all."""
    if not are_words:
        return tuple(sorted(counts))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return (*ranked[:most], UNKNOWN) if len(ranked) > most else tuple(ranked)


def _dtype(vocabulary: int) -> type:
    return np.uint8 if vocabulary <= 2**8 else np.uint16 if vocabulary <= 2**16 else np.int64


def _tokenizer(name: str) -> str:
    """The JSON of a tokenizer, from its folder, its file, or from the hub by its name."""
    there = Path(name)
    file = there / "tokenizer.json" if there.is_dir() else there
    if file.is_file():
        try:
            json = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"the tokenizer {file} cannot be read: {error}") from None
        opened(json)
        return json
    if there.is_dir():
        raise Refused(f"the folder {name} has no tokenizer.json")
    try:
        from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise Refused(
            f"tokens = {name!r} is a tokenizer, unless it is characters, bytes or words; tokenizers need "
            "pip install 'undiffuse[text]'"
        ) from None
    try:
        return str(Tokenizer.from_pretrained(name).to_str())
    except Exception as error:  # the library raises nothing narrower
        raise Refused(
            f"tokens = {name!r} is none of characters, bytes, words, and no tokenizer that can be had: "
            f"{str(error)[:200]}"
        ) from None
