"""Many databases on one server: time and peak memory of a deploy. Prints the rows of the table in benchmarks/README.md.

    .venv/bin/python benchmarks/fleet.py [DATABASES ...]

It starts the embedded server with max_connections = 50 and removes it afterwards.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import measure
from support.servers import Server
from support.versions import programs

RUNS = (
    ("first `deploy.apply`", ("-y", "deploy.apply")),
    ("second `deploy.apply`, nothing to do", ("-y", "deploy.apply")),
    ("`deploy.verify`", ("-y", "deploy.verify")),
    ("`deploy.apply` with a plan (`--dry`)", ("--dry", "deploy.apply")),
)


def main(counts: list[int]) -> None:
    for count in counts:
        server = Server.create(programs(), max_connections="50")
        try:
            names = "".join(f"CREATE DATABASE tenant_{number};\n" for number in range(count))
            server.client("psql", "-Xq", "postgres", stdin=names)
            with tempfile.TemporaryDirectory() as folder:
                services = Path(folder) / "services.conf"
                services.write_text(f"[app]\nhost=127.0.0.1\nport={server.port}\nuser=postgres\n")
                environment = {**server.environment(), "PGSERVICEFILE": str(services)}
                for title, words in RUNS:
                    got = measure.pyinfra("@pgdatabases/app/tenant_*", *words, environment=environment, folder=Path(folder))
                    assert got.code == 0, got.out
                    print(f"| {count} | {title} | {got.seconds:.1f} | {got.cpu:.1f} | {got.megabytes:.0f} |", flush=True)
        finally:
            server.stop()
            server.remove()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(f"{os.cpu_count()} cores")
    main([int(word) for word in sys.argv[1:]] or [1, 100, 500])
