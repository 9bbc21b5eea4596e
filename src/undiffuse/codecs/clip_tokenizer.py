"""CLIP's tokenizer: byte pairs of lower-case words, each ending in its own symbol."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any
from unicodedata import normalize

import regex

from undiffuse.core.errors import Refused

START, END = "<|startoftext|>", "<|endoftext|>"
PIECE = regex.compile(
    rf"{regex.escape(START)}|{regex.escape(END)}|'s|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+"
)
LAST = "</w>"  # behind the last symbol of a word


class ClipTokenizer:
    """Texts as numbers of a vocabulary of pairs: the pair that was merged first in training is merged first.

    vocabulary: symbols to numbers. merges: pairs of symbols, "a b", the first ones first. Symbols stand for bytes of
    UTF-8, each shown as one character. start, end, pad: what stands before, at the end and behind a text.
    Source: arXiv:2103.00020, sec. 2.4; arXiv:1508.07909 (byte pairs).
    """

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[str], start: str, end: str, pad: str) -> None:
        self.vocabulary, self.merges = dict(vocabulary), tuple(merges)
        self.start, self.end, self.pad = start, end, pad
        for name, symbol in (("bos_token", start), ("eos_token", end), ("pad_token", pad)):
            if symbol not in self.vocabulary:
                raise Refused(f"the tokenizer's {name} = {symbol!r} is not in its vocabulary")
        self._found: dict[str, list[int]] = {}

    @classmethod
    def read(cls, text: str) -> "ClipTokenizer":
        """The tokenizer that this JSON describes, see `written`; made once."""
        return _read(text)

    def written(self) -> str:
        """All of it as JSON."""
        fields = ("vocabulary", "merges", "start", "end", "pad")
        return json.dumps({name: getattr(self, name) for name in fields}, ensure_ascii=False)

    def tokens(self, text: str) -> list[int]:
        """The numbers of a text, without its start and its end."""
        plain = " ".join(normalize("NFC", text).split()).lower()
        return [number for piece in PIECE.findall(plain) for number in self._numbers(piece)]

    def padded(self, text: str, length: int) -> list[int]:
        """So many numbers: the start, the text's, the end, and padding; raises Refused, with the count, for longer."""
        found = self.tokens(text)
        if len(found) > length - 2:
            raise Refused(
                f"the text has {len(found)} tokens, and the encoder reads {length - 2}: shorten it by "
                f"{len(found) - length + 2} (it begins {text[:40]!r})"
            )
        ends = [self.vocabulary[self.start]], [self.vocabulary[self.end]]
        return [*ends[0], *found, *ends[1], *[self.vocabulary[self.pad]] * (length - 2 - len(found))]

    def text(self, numbers: Sequence[int]) -> str:
        """The text of numbers, without what starts, ends and pads it."""
        left_out = {self.vocabulary[symbol] for symbol in (self.start, self.end, self.pad)}
        symbols = "".join(self._symbols[number] for number in numbers if number not in left_out).replace(LAST, " ")
        shown = {character: byte for byte, character in _shown().items()}
        whole = bytes(shown.get(each, 32) for each in symbols)
        return whole.decode("utf-8", "replace").strip()

    def _numbers(self, piece: str) -> list[int]:
        if piece not in self._found:
            own = {START: self.start, END: self.end}.get(piece)
            symbols = [own] if own else self._merged(piece)
            unknown = self.vocabulary[self.end]
            self._found[piece] = [self.vocabulary.get(symbol, unknown) for symbol in symbols]
        return self._found[piece]

    def _merged(self, piece: str) -> list[str]:
        shown = _shown()
        symbols = [shown[byte] for byte in piece.encode("utf-8", "replace")]
        symbols[-1] += LAST
        while len(symbols) > 1:
            first = min(pairwise(symbols), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if first not in self._ranks:
                break
            joined: list[str] = []
            for symbol in symbols:
                if joined and (joined[-1], symbol) == first:
                    joined[-1] = joined[-1] + symbol
                else:
                    joined.append(symbol)
            symbols = joined
        return symbols

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        pairs = [tuple(pair.split(" ")) for pair in self.merges]
        return {(pair[0], pair[1]): rank for rank, pair in enumerate(pairs)}

    @cached_property
    def _symbols(self) -> dict[int, str]:
        return {number: symbol for symbol, number in self.vocabulary.items()}


@lru_cache(maxsize=4)
def _read(text: str) -> ClipTokenizer:
    said: Any = json.loads(text)
    return ClipTokenizer(**said)


@lru_cache(maxsize=1)
def _shown() -> dict[int, str]:
    """A character for each byte: itself where it can be seen, else one behind the 256 first."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + i) for i, byte in enumerate(others)}
