"""What SQLx does with the names of files. The real sqlx is held to this table, and so are we."""

from __future__ import annotations

NAMES = {
    "+7_x.sql": (7, "x", "simple"),
    "-3_x.sql": (-3, "x", "simple"),
    "0_z.sql": (0, "z", "simple"),
    "007_x.sql": (7, "x", "simple"),
    "9223372036854775807_m.sql": (2**63 - 1, "m", "simple"),
    "-9223372036854775808_m.sql": (-(2**63), "m", "simple"),
    "1_.sql": (1, "", "simple"),
    "1_up.sql": (1, "up", "simple"),
    "1_.up.sql": (1, "", "up"),
    "1_a.Up.sql": (1, "a.Up", "simple"),
    "1_a.up.sql": (1, "a", "up"),
    "1_a.down.sql": (1, "a", "down"),
    "1_a.sql.sql": (1, "a", "simple"),
    "1_a.up.sql.up.sql": (1, "a", "up"),
    "1_a.sql.up.sql": (1, "a.sql", "up"),
    "1_a_.sql": (1, "a ", "simple"),
    "1__init.sql": (1, " init", "simple"),
    "1_000_x.sql": (1, "000 x", "simple"),
    "1_a b-c.d.sql": (1, "a b-c.d", "simple"),
    "1_only.down.sql": (1, "only", "down"),
    "20260111030835_create_integration_health_tables.sql": (20260111030835, "create integration health tables", "simple"),
}
"""Version, description and kind."""

IGNORED = ["foo.sql", "1.sql", "README.md", "1_foo.SQL", "1_a.up.SQL", "1_foo.sql~", "1_foo.txt"]

FATAL = [
    "_foo.sql",
    "foo_bar.sql",
    "V1__init.sql",
    ".1_foo.sql",
    "._1_foo.sql",
    " 1_x.sql",
    "1 _x.sql",
    "9223372036854775808_m.sql",
    "-9223372036854775809_m.sql",
    "１_x.sql",
    "١_arabic_digit.sql",
    "1e3_x.sql",
    "+_x.sql",
]
