"""What runs the README and the runbooks fails when they show something else than what happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import transcript

PAGE = """## How
```ini
# file
x
```
```console
$ printf '%s\\n' one 'two 15 ms' three four; \\
  echo "exit $?"
{shown}$ true
```
"""


def play(shown: str, folder: Path) -> None:
    _, console = transcript.blocks(PAGE.replace("{shown}", shown))
    assert [command for command, _ in console.commands][1] == "true"
    for command, lines in console.commands:
        transcript.run(command, lines, folder, os.environ)


@pytest.mark.parametrize(
    "shown", ["", "one\ntwo 17 ms\n", "…\nthree\nfour\n", "one\n…\nfour\nexit 0\n", "t…ms\n   three\n…\nexit …\n"]
)
def test_what_is_shown_is_found(shown: str, tmp_path: Path) -> None:
    play(shown, tmp_path)


@pytest.mark.parametrize("shown", ["five\n", "one\nthree\n", "four\n…\none\n", "one\n…\none\n", "two 15 s\n", "on\n", "exit 1\n"])
def test_what_is_not_there_or_elsewhere_fails(shown: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="this is shown"):
        play(shown, tmp_path)


def test_a_command_that_fails_fails_unless_its_exit_code_is_shown(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit code 3"):
        transcript.run("exit 3", [], tmp_path, os.environ)


def test_lines_of_hosts_are_found_in_any_order_but_not_across_other_lines() -> None:
    out = "--> A\n    [b] 1\n    [a] 1\n    [a] 2\n--> B\n    [a] 3\n"
    assert transcript.first_missing(["[a] 1", "[a] 2", "[b] 1", "--> B"], out) is None
    assert transcript.first_missing(["[a] 1", "[a] 3"], out) == "[a] 1\n[a] 3"


ASK = f"""import sys
try:
    print(f"got <{{input('{transcript.PROMPT}')}}>", sys.stdin.isatty())
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("shown", [["", "got <> True"], ["n", "got <n> True"], ["^Cstopped"]])
def test_a_key_is_typed_where_the_page_shows_it(shown: list[str], tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(ASK, encoding="utf-8")
    transcript.run("python ask.py", [f"{transcript.PROMPT}{shown[0]}", *shown[1:]], tmp_path, os.environ)
