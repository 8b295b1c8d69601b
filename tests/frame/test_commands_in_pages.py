"""Every command that a page shows can be typed: its name, and the options that it is given, are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gnncomm.cli import main
from gnncomm.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHOWN = re.compile(r"(?:^|[`/ ])gnncomm (\w+)((?:[^`#\n]|\\\n)*)", re.M)


def shown() -> dict[str, set[tuple[str, str]]]:
    """Command -> pairs of an option and the page that shows it."""
    found: dict[str, set[tuple[str, str]]] = {name: set() for name in COMMANDS}
    for page in PAGES:
        for code in re.findall(
            r"^```(?:bash|text)?\n.*?^```$|`gnncomm [^`\n]+`", page.read_text(encoding="utf-8"), re.S | re.M
        ):
            for command, rest in SHOWN.findall(code):
                if command in COMMANDS or rest.lstrip().startswith("--"):
                    pairs = {(option, page.name) for option in re.findall(r"(?<![\w-])--([a-z][\w.-]*)", rest)}
                    found.setdefault(command, set()).update(pairs)
    return found


def test_the_reader_finds_them() -> None:
    found = shown()
    assert sum(len(pairs) for pairs in found.values()) > 50
    assert ("channel", "README.md") in found["eval"]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_options_in_the_pages_exist(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    pairs = shown()[command]
    assert main([command, "--help"]) == 0
    known = set(re.findall(r"--([a-z][\w.-]*)", capsys.readouterr().out)) | {
        "help",
        "learner",
    }  # which decides the others
    assert {(option, page) for option, page in pairs if option not in known} == set()


def test_no_other_command_is_shown() -> None:
    assert shown().keys() - {*COMMANDS, "help", "COMMAND"} == set()


def test_numbers_of_options_are_written_as_the_command_line_reads_them() -> None:
    text = {page: page.read_text(encoding="utf-8") for page in PAGES}
    grouped = {
        (page.name, number)
        for page, said in text.items()
        for _, rest in SHOWN.findall(said)
        for number in re.findall(r"--[\w.-]+ (\d+[_,]\d[\d_,]*)", rest)
    }
    assert grouped == set(), "plain digits only: 60000, not 60_000"
