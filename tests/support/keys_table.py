"""The README's table of data keys, from their declarations; its text has the connection keys.

`cd tests && python -m support.keys_table` prints it.
"""

from __future__ import annotations

from typing import Any, get_type_hints

from deploy import settings
from deploy.values import milliseconds

_HINTS = get_type_hints(settings.Settings, include_extras=True)


def render() -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {_defaults(name)} | {key.sentence} |"
        for name, key in settings.KEYS.items()
        if name not in settings.CONNECTION_KEYS
    ]
    return "\n".join(lines)


def _defaults(name: str) -> str:
    ours = _shown(name, settings.DEFAULTS[name])
    if name not in settings.ANOTHER_SOURCE:
        return ours
    return f"{ours}; another source: {_shown(name, settings.ANOTHER_SOURCE[name])}"


def _shown(name: str, value: Any) -> str:
    if value is None:
        return settings.KEYS[name].default
    is_time = any(getattr(one, "func", None) is milliseconds for one in _HINTS[name].__metadata__)
    return f"`{value / 1000:g}s`" if is_time and value else f"`{value}`"


if __name__ == "__main__":
    print(render())
