"""What the plan of an operation shows of what will run."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host, state

from deploy.report.run import Run


def show(lines: Sequence[str], texts: Sequence[tuple[str | None, str]]) -> None:
    """While planning: the lines. With --diff or -vv the SQL too, under its file's name; with -y, when it is about to run."""
    log = Run.current(host).log
    planning = not state.is_executing
    if planning:
        for line in lines:
            log(line)
    if (state.config.DIFF and (planning or not state.should_check_for_changes())) or (planning and state.print_input):
        for file, sql in texts:
            if file is not None:
                log(f"{file}:")
            for line in sql.splitlines():
                log(f"  {line.expandtabs()}")
