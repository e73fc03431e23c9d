"""Text that others wrote, as a terminal and a report may show it. The lowest room: it imports nothing of the package."""

from __future__ import annotations

import json

LONGEST = 2_000
"""Characters of one text of a server that are shown."""

_SELECTORS = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | _SELECTORS
"""What Unicode counts as printable and nobody sees."""


def printable(text: str, keep: str = "\n") -> str:
    r"""`text` with what is no visible character as JSON's escape (`\u001b`, `\u202e`): controls, bidi, zero width, surrogates.

    So JSON stays the same JSON, and what is printable already stays as it is. Characters in `keep` stay too.
    """
    hidden = {char for char in set(text) if char not in keep and (not char.isprintable() or char in _INVISIBLE)}
    return text.translate({ord(char): json.dumps(char)[1:-1] for char in hidden})


def one_line(text: str) -> str:
    """The same for a line of its own: a line break is an escape too, and can't begin a line that looks like one of ours."""
    return printable(text, keep="")


def cut(text: str) -> str:
    """The first characters of a text that is too long to be read, and how many are left out."""
    more = len(text) - LONGEST
    return text if more <= 0 else f"{text[:LONGEST]}… ({more} more characters)"
