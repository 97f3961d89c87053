"""What the documents tell a user to type exists, with the options that they show; CI's demo runs it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.test_cli import commands

ROOT = Path(__file__).parents[1]


def typed_commands() -> list[str]:
    """Return every toolkit command line of the README, the documents and the demo."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    typed = [line for page in pages for line in re.findall(r"^(?:sudo )?(toolkit .*)$", blocks(page), flags=re.M)]
    demo = (ROOT / "docs" / "demo.sh").read_text().replace("\\\n", " ")
    return typed + re.findall(r"^run (toolkit .*)$", demo, flags=re.M)


def blocks(page: Path) -> str:
    """Return what a page shows between fences: what a reader types, or sees."""
    return "\n".join(re.findall(r"^```\w*\n(.*?)^```", page.read_text(), flags=re.M | re.S))


@pytest.mark.parametrize("line", typed_commands())
def test_a_command_that_is_shown_exists_with_its_options(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    known = commands()
    name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
    options = {option for parameter in known[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_documents_show_the_whole_chain() -> None:
    shown = " ".join(typed_commands())
    for name in ("synth", "crossval", "train", "export", "build-engine", "label", "cage run", "report"):
        assert f"toolkit {name}" in shown


@pytest.mark.parametrize("document", ["README.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target
