"""A contract made from what hosts hold now: one host, or one a major, each with its own spellings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from deploy.errors import HostFailed
from deploy.plan.merging import is_same, merge
from deploy.problems import Problem
from deploy.source import contracts
from deploy.source.contracts import RELATIONS, Contract, Entry, SchemaObject


@dataclass(frozen=True)
class Look:
    """What one host holds: the newest version that is recorded with all before it, and every object."""

    version: int
    major: int
    objects: tuple[SchemaObject, ...]


def make(looks: Mapping[str, Look], existing: Sequence[Contract], schemas: Sequence[str] = ()) -> Contract:
    """The contract of the version that all hosts hold, by their names. Raises HostFailed where they differ.

    What a file of that version says beside its objects stays, and spellings that it has accepted. Where nothing differs from
    the version before, its contract holds through this one.
    """
    versions = {look.version for look in looks.values()}
    if len(versions) > 1:
        held = ", ".join(f"{look.version} on {host}" for host, look in looks.items())
        raise HostFailed(Problem("contract", f"hosts hold different versions: {held}", "run deploy.apply on all of them"))
    merged = merge({host: look.objects for host, look in looks.items()})
    if merged.differing:
        raise HostFailed(Problem("contract", "hosts differ, so nothing was written", "make them alike"), *merged.differing)
    version = versions.pop()
    majors = {look.major for look in looks.values()}
    made = Contract(version, version, merged.entries, schemas=tuple(schemas), majors=tuple(sorted(majors)))
    covering = contracts.of_version(existing, version)
    if covering is not None and covering.version == version:
        return _renewed(covering, made)
    before = covering or next((one for one in reversed(existing) if one.version < version), None)
    if before is not None and _says_the_same(before, made):
        return replace(_renewed(before, made), through=max(before.through, version))
    if covering is not None:
        text = f"{contracts.file_name(covering.version)} holds through {covering.through}, and these hosts differ from it"
        raise HostFailed(Problem("contract", text, f"set its `through` below {version}, then run the command again"))
    return made


def _renewed(known: Contract, made: Contract) -> Contract:
    """With what people have written in the file, and the spellings that other hosts have given it."""
    accepted = {(entry.kind, entry.name, entry.part_of): entry.spellings for entry in known.entries}
    relations = {entry.name for entry in known.entries if entry.part_of is None and entry.kind in RELATIONS}
    entries = []
    for entry in made.entries:
        key = (entry.kind, entry.name, entry.part_of)
        if not known.closed and key not in accepted and (entry.part_of or entry.name) not in relations:
            continue
        older = {text for text in accepted.get(key, ()) if any(is_same(text, spelling) for spelling in entry.spellings)}
        entries.append(Entry(*key, tuple(sorted({*entry.spellings, *older}))))
    majors = tuple(sorted({*known.majors, *made.majors}))
    return replace(known, entries=tuple(entries), majors=majors, schemas=made.schemas or known.schemas)


def _says_the_same(before: Contract, made: Contract) -> bool:
    """Whether nothing differs but spellings."""
    accepted = {(entry.kind, entry.name, entry.part_of): entry.spellings for entry in before.entries}
    now = {(entry.kind, entry.name, entry.part_of): entry.spellings for entry in made.entries}
    return accepted.keys() == now.keys() and all(
        any(is_same(spelling, text) for spelling in accepted[key]) for key, spellings in now.items() for text in spellings
    )
