"""Text to tokens and back: by characters, bytes, words, or a tokenizer; how it was spelled travels with the model."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Literal

import numpy as np
import regex

from undiffuse.codecs.clip_tokenizer import ClipTokenizer
from undiffuse.codecs.tokens import TokensCodec
from undiffuse.core.errors import Refused, near

Unit = Literal["characters", "bytes", "words", "tokenizer", "clip"]
# pieces between the default word boundaries of Unicode (UAX 29), where marks stay with their letters; such with letters
# or digits are one word where nothing stands between them (scripts without spaces), or one hyphen
WORD = regex.compile(r"(?:\w.*?\b)+(?:[-\u2010\u2011](?:\w.*?\b)+)*|\S.*?\b", regex.V1 | regex.WORD | regex.DOTALL)
TIGHT = re.compile(r" ([.,;:!?%)\]}…”])|([(\[{“]) ")  # punctuation that keeps to the word beside it
UNKNOWN = "<unk>"
BLANK = "_"


@dataclass(frozen=True)
class TextCodec(TokensCodec):
    """Tokens that spell a text: z = x as int64, as the codec `tokens` has it.

    unit: what a token is. symbols: of characters and words, in the order of their tokens; words that are not among them
    are `<unk>`. tokenizer: the JSON of a Hugging Face tokenizer, or of CLIP's, see `ClipTokenizer`. pad: the token
    behind the end of a text; -1: none.
    Raises Refused where these do not make as many symbols as the vocabulary has.
    """

    unit: Unit = "characters"
    symbols: tuple[str, ...] = ()
    tokenizer: str = ""
    pad: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        spelled = self.unit in ("characters", "words")
        if self.vocabulary and spelled and not self.symbols:
            raise Refused(
                "codec 'text' is for texts, and these data spell none: `undiffuse train DATA` takes the recipe that "
                "fits them, and --set codec.name=tokens is for whole numbers"
            )
        if self.vocabulary and (
            (spelled and len(self.symbols) != self.vocabulary)
            or (self.unit in ("tokenizer", "clip")) != bool(self.tokenizer)
            or (self.unit == "bytes" and self.vocabulary < 256)
            or not -1 <= self.pad < self.vocabulary
        ):
            raise Refused(
                f"a text codec of {self.vocabulary} {self.unit} has {len(self.symbols)} symbols, "
                f"{'a' if self.tokenizer else 'no'} tokenizer and pad = {self.pad}: they do not fit together"
            )

    def tokens_of(self, text: str) -> np.ndarray:
        """The tokens of a text, (count,) int64.

        Raises Refused for a character that is not among the symbols, with the nearest, and for a word where no symbol
        stands for unknown ones.
        """
        if self.unit == "characters":
            points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
            found = self._points[np.minimum(points, len(self._points) - 1)]
            if len(found) and int(found.min()) < 0:
                raise self._unknown(chr(int(points[int(found.argmin())])))
            return found
        if self.unit == "bytes":
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).astype(np.int64)
        if self.unit == "words":
            return np.array([self._word(word) for word in words(text)], np.int64)
        if self.unit == "clip":
            return np.array(ClipTokenizer.read(self.tokenizer).tokens(text), np.int64)
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    @property
    def reader(self) -> Callable[[Sequence[int] | np.ndarray], str]:
        return self.text_of

    @property
    def spelling(self) -> tuple[Any, ...]:
        return self.vocabulary, self.unit, self.symbols, self.tokenizer

    def text_of(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens (count,); padding is nothing, and a mask that is left a blank."""
        row = np.asarray(tokens)
        row = row[row != self.pad]
        if not len(row) or int(row.max()) < self.vocabulary:
            return self._joined(row.tolist())
        blank, between = (BLANK, "") if self.letters else (BLANK * 2, " ")
        parts = []
        for masked, group in groupby(row.tolist(), lambda token: token >= self.vocabulary):
            run = list(group)
            parts += [blank] * len(run) if masked else [self._joined(run)]
        return between.join(parts)

    def template(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of a text with blanks, (count,), and booleans: True where the text says what is there."""
        found = self.parts(text)
        tokens = np.concatenate([np.empty(0, np.int64), *(tokens for _, tokens, _ in found)])
        return tokens, np.concatenate([np.empty(0, bool), *(np.full(len(t), known) for _, t, known in found)])

    def parts(self, text: str) -> list[tuple[str, np.ndarray, bool]]:
        """The blanks of a text and what stands between them, as it is written, its tokens, and whether it is known.

        Of characters and bytes every `_` is one token that is free; of all else every run of them.
        """
        at_least = 2 if BLANK in self.symbols else 1
        found: list[tuple[str, np.ndarray, bool]] = []
        for part in re.split(rf"({BLANK}{{{at_least},}})", text):
            if part and not part.strip(BLANK) and len(part) >= at_least:
                found.append((part, np.zeros(len(part) if self.letters else 1, np.int64), False))
            elif part:
                found.append((part, self.tokens_of(part), True))
        return found

    @property
    def letters(self) -> bool:
        """Whether a token is one character or byte of the text."""
        return self.unit in ("characters", "bytes")

    def _joined(self, tokens: list[int]) -> str:
        if self.unit == "bytes":
            return bytes(tokens).decode("utf-8", "replace")
        if self.unit == "clip":
            return ClipTokenizer.read(self.tokenizer).text(tokens)
        if self.unit == "tokenizer":
            return self._tokenizer.decode(tokens)
        spelled = [self.symbols[token] for token in tokens]
        return "".join(spelled) if self.letters else TIGHT.sub(r"\1\2", " ".join(spelled))

    @cached_property
    def _points(self) -> np.ndarray:
        """The token of each code point, -1 where there is none; the last entry stands for all beyond."""
        points = [(ord(symbol), i) for i, symbol in enumerate(self.symbols) if symbol]
        table = np.full(max((point for point, _ in points), default=0) + 2, -1, np.int64)
        table[[point for point, _ in points]] = [i for _, i in points]
        return table

    @cached_property
    def _words(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    def _word(self, word: str) -> int:
        token = self._words.get(word, self._words.get(UNKNOWN))
        if token is None:
            raise self._unknown(word)
        return token

    @cached_property
    def _tokenizer(self) -> Any:
        return opened(self.tokenizer)

    def _unknown(self, symbol: str) -> Refused:
        likely = near(symbol.lower() if symbol.lower() in self.symbols else symbol, self.symbols)
        shown = "".join(self.symbols[:100]) if self.letters else f"{len(self.symbols):,} words"
        kind = "character" if self.letters else "word"
        return Refused(f"the {kind} {symbol!r} is not among the run's symbols{likely}; they are: {shown}")


def words(text: str) -> list[str]:
    """The words and the punctuation marks of a text: all of it but the spaces between them."""
    return WORD.findall(text)


def opened(json: str) -> Any:
    """The tokenizer that this JSON describes; raises Refused if it describes none, or the library is not there."""
    try:
        from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise Refused(
            "a tokenizer needs its library: pip install 'undiffuse[text]', or tokens = 'characters'"
        ) from None
    try:
        return Tokenizer.from_str(json)
    except Exception as error:  # the library raises nothing narrower
        raise Refused(f"the tokenizer cannot be read: {str(error)[:200]}") from None
