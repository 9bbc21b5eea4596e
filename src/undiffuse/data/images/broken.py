"""What is broken in a set: counted and named, and left out where that is wished."""

import logging
from dataclasses import dataclass, field
from typing import Any, TypeVar

from undiffuse.core.errors import Refused

NAMED = 5

T = TypeVar("T")
Outcome = tuple[T | None, str]  # what came out, or what is wrong


@dataclass
class Broken:
    """Items that cannot be read, by name, each with what is wrong; what: how one is called."""

    what: str = "image"
    reasons: dict[str, str] = field(default_factory=dict)

    def keep(self, whole: dict[int, T], i: int, outcome: Outcome[T], name: str) -> None:
        """Puts what came out into `whole`, or its name among the broken."""
        value, wrong = outcome
        if value is None:
            self.reasons[name] = wrong
        else:
            whole[i] = value

    def settle(self, skip: bool, where: str, count: int) -> dict[str, Any]:
        """What `describe` says of them, and a warning; raises Refused if they are not to be left out, or are all."""
        if not self.reasons:
            return {}
        if not skip or len(self.reasons) >= count:
            raise self.refusal(where, count)
        logging.getLogger("undiffuse").warning("%s; left out", self._said(where, count))
        examples = dict(list(self.reasons.items())[:NAMED])
        return {"broken": {"count": len(self.reasons), "examples": examples}}

    def refusal(self, where: str, count: int) -> Refused:
        """The error that counts them and names the first."""
        advice = "" if len(self.reasons) >= count else "\nRemove them, or go on without them: --skip-broken"
        return Refused(self._said(where, count) + advice)

    def _said(self, where: str, count: int) -> str:
        first = [f"{name} ({wrong})" for name, wrong in list(self.reasons.items())[:NAMED]]
        more = len(self.reasons) - len(first)
        listed = ", ".join(first + [f"and {more:,} more"] * (more > 0))
        are = "is" if len(self.reasons) == 1 else "are"
        return f"{len(self.reasons):,} of {count:,} {self.what}s in {where} {are} broken: {listed}"
