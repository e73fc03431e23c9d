"""Whether a word is a known one with a slip of the hand. Pure."""

from __future__ import annotations


def is_misspelt(word: str, known: str, allowed: int) -> bool:
    """Whether `word` is `known` but for capitals, hyphens and `allowed` edits; the first letter is rarely a slip."""
    word = word.casefold().replace("-", "_")
    return word[:1] == known[:1] and abs(len(word) - len(known)) <= allowed and _edits(word, known) <= allowed


def _edits(one: str, other: str) -> int:
    """How many characters to insert, remove, replace or swap with their neighbour."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b)))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                row[j] = min(row[j], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]
