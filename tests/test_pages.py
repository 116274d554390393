"""The pages of text: the README's length, links, commands, code, and what paper_to_code names."""

import ast
import importlib
import re
import shlex
import types
from pathlib import Path

import pytest

from dreamer_lite import presets
from dreamer_lite.commands.parser import make_parser

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dreamer_lite"

PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "assets").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.md")),
)


def test_the_readme_is_short() -> None:
    """At most 700 words, with code and tables, without the BibTeX entry."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text, entries = re.subn(r"(?ms)^```bibtex$.*?^```$", "", readme)
    assert entries == 1
    words = [word for word in text.split() if re.search(r"\w", word)]
    assert len(words) <= 700, f"README.md has {len(words)} words"


def anchors(page: Path) -> set[str]:
    """What `#...` may name on a page: its headings in small letters, joined by hyphens."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    for link in links:
        name, _, anchor = link.partition("#")
        if "://" in name or name.startswith("mailto:"):
            continue
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} in {page.name}"
        assert not anchor or anchor in anchors(target), f"{link} in {page.name}"


def blocks(language: str) -> list[str]:
    """What stands in fenced blocks of one language on all pages."""
    fence = rf"(?ms)^```{language}$(.*?)^```$"
    return [code for page in PAGES for code in re.findall(fence, page.read_text("utf-8"))]


def test_code_on_the_pages_names_what_exists() -> None:
    """Imports of the library, and what is taken from its modules: `agents.load` of a snippet."""
    used = 0
    for code in blocks("python"):
        tree = ast.parse(code)
        modules = {}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dreamer_lite"):
                origin = importlib.import_module(str(node.module))
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    found = getattr(origin, alias.name, None) or importlib.import_module(name)
                    modules[alias.asname or alias.name] = found
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = modules.get(node.value.id)
                if isinstance(owner, types.ModuleType):
                    assert hasattr(owner, node.attr), f"{node.value.id}.{node.attr}"
                    used += 1
    assert used >= 3


def test_commands_on_the_pages_are_understood() -> None:
    """Every line of a fenced block that starts with `dreamer-lite`."""
    lines = [line for code in blocks("bash") for line in code.splitlines()]
    commands = [line for line in lines if line.startswith("dreamer-lite ")]
    assert len(commands) > 15
    for command in commands:
        make_parser().parse_args(shlex.split(command, comments=True)[1:])


# assets/paper_to_code.md

PAGE = (ROOT / "assets" / "paper_to_code.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|(?!.*---)(.*)\| (\d\d) \|$", PAGE, re.M)


def test_every_equation_has_a_source() -> None:
    for line, _ in ROWS:
        source = line.replace(r"\|", "").split("|")[1]
        assert re.search(r"\*(paper|released code|ours)\*, \w", source), line


def test_the_page_from_paper_to_code_names_what_exists() -> None:
    assert len(ROWS) > 20
    for line, number in ROWS:
        names = re.findall(r"`([\w.]+)`", line)
        assert [n for n in names if not n.startswith("test_")], line
        assert [n for n in names if n.startswith("test_")], line
        for name in names:
            assert name_exists(name), f"{name} in {line}"
        assert list((ROOT / "notebooks" / "src").glob(f"{number}_*.py")), f"notebook {number}"


def name_exists(dotted: str) -> bool:
    """Whether `room.module.name` is defined in the package, or `test_module.name` in the tests."""
    path = dotted.split(".")
    file = ROOT / "tests" if path[0].startswith("test_") else PACKAGE
    while path and file.is_dir():
        module = path.pop(0)
        file = file / module if (file / module).is_dir() else file / f"{module}.py"
    body = ast.parse(file.read_text(encoding="utf-8")).body if file.exists() else []
    for name in path:
        found = [node for node in body if getattr(node, "name", None) == name]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return bool(path)


def test_departures_on_that_page_are_settings_or_files() -> None:
    for setting in re.findall(r"`(\w+)=", PAGE.partition("## Where we depart")[2]):
        assert setting in presets.make_config("catch").__dataclass_fields__


def test_no_text_cites_a_page_that_readers_do_not_have() -> None:
    """Equations are cited from the paper or from the released code, by name."""
    folders = ("dreamer_lite", "tests", "notebooks", "docs", "assets")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    texts = [p for p in (*files, *PAGES) if p.suffix in {".py", ".md", ".ipynb", ".toml"}]
    cited = re.compile(r"\bSPEC(?:\.md| \d)")
    assert [str(p) for p in texts if cited.search(p.read_text(encoding="utf-8"))] == []
