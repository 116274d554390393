"""The pages for a class agree with the notebooks: minutes, marks, sections, numbers."""

import re
from pathlib import Path

import nbformat
import pytest

from dreamer_lite.runs import places

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS, DOCS = ROOT / "notebooks", ROOT / "docs"
LAB, INSTRUCTORS = (
    (NOTEBOOKS / name).read_text(encoding="utf-8") for name in ("LAB.md", "INSTRUCTORS.md")
)
ALGORITHM, SAMPLE = (
    (DOCS / name).read_text(encoding="utf-8") for name in ("algorithm.md", "sample_report.md")
)
SOURCES = {
    path.stem[:2]: path.read_text(encoding="utf-8") for path in (NOTEBOOKS / "src").glob("*.py")
}


def table(text: str, first: str) -> list[list[str]]:
    """The cells of the lines below a Markdown table's head that begins with these words."""
    lines = iter(text.splitlines())
    assert any(line.startswith(first) for line in lines), first
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found[1:]


def minutes(number: str) -> tuple[int, int, int]:
    """Minutes to read, to write and to run, from a notebook's header."""
    (cells,) = table(SOURCES[number].replace("# |", "|"), "| Minutes to read")
    found = [int(cell.partition(",")[0]) for cell in cells[:3] if re.match(r"\d+(,|$)", cell)]
    assert len(found) == 3, f"the header of {number} has no minutes to read, to write and to run"
    return found[0], found[1], found[2]


def outputs(number: str) -> str:
    """All that the executed solution of a notebook says."""
    (path,) = (NOTEBOOKS / "solutions").glob(f"{number}_*.ipynb")
    said = []
    for cell in nbformat.read(path, 4).cells:
        for output in cell.get("outputs", []):
            data, about = output.get("data", {}), output.get("metadata", {})
            said += [output.get("text", ""), data.get("text/markdown", ""), about]
    return "\n".join(str(words) for words in said)


def decimals(text: str) -> list[str]:
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", text)


def is_there(number: str, said: list[str]) -> bool:
    """Whether a number is one of these, rounded to as many digits."""
    digits = len(number.partition(".")[2])
    return any(f"{float(other):.{digits}f}" == number for other in said)


NEW = [number for number in sorted(SOURCES) if "| to write |" in SOURCES[number]]


@pytest.mark.parametrize("number", NEW)
def test_instructors_have_the_minutes_of_the_headers(number: str) -> None:
    (line,) = (cells for cells in table(INSTRUCTORS, "| notebook | read |") if cells[0] == number)
    assert tuple(map(int, line[1:4])) == minutes(number)


@pytest.mark.parametrize("number", NEW)
def test_the_readme_has_the_minutes_of_the_headers(number: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^\| \[{number} · .*?\) \| (\d+) \+ (\d+) \|", readme, re.M)
    read, _, run = minutes(number)
    assert tuple(map(int, found)) == (read, run)


def test_instructors_list_every_notebook_once() -> None:
    listed = [cells[0] for cells in table(INSTRUCTORS, "| notebook | read |")]
    assert listed == sorted(SOURCES)


def track(letter: str) -> list[list[str]]:
    return table(LAB.partition(f"## Track {letter}")[2], "| minutes |")


@pytest.mark.parametrize("letter, hours", [("A", 4), ("B", 16)])
def test_the_hours_of_a_track_are_honest(letter: str, hours: int) -> None:
    """Each line has the minutes of its notebook's header, and the sum is what is promised."""
    lines = track(letter)
    assert abs(sum(int(cells[0]) for cells in lines) - 60 * hours) <= 15
    assert f"**{hours}**" not in LAB and re.search(rf"\*\*{letter} · .*\| {hours} \|", LAB)
    for spent, what, how in lines:
        link = re.search(r"\((\d\d)_\w+\.ipynb\)", what)
        if link and link[1] in NEW and link[1] != "09":  # whose run takes no time of the reader
            read, write, run = minutes(link[1])
            assert int(spent) == (read if "Read only" in how else read + write + run), what
            if "Read only" in how:
                assert f"it takes {read + write + run} minutes" in how
    assert sum(int(c[0]) for c in lines if "09_full_run" in c[1]) >= minutes("09")[0]


@pytest.mark.parametrize("letter", ["A", "B"])
def test_the_marks_of_a_track_are_100(letter: str) -> None:
    column = "AB".index(letter) + 1
    marks = [cells[column] for cells in table(LAB, "| | A | B |")]
    assert sum(int(mark) for mark in marks if mark) == 100


def headings(number: str) -> list[str]:
    return re.findall(r"^# ## (\d+) · ", SOURCES[number], re.M)


def test_sections_that_the_pages_name_exist() -> None:
    shown = [cells[0] for cells in table(INSTRUCTORS, "| where | change |")]
    places = re.findall(r"^(\d\d), section (\d+)$", "\n".join(shown), re.M)
    assert len(places) == len(shown) > 12
    asked = LAB.partition("four questions:")[2].partition("Track B adds")[0]
    pattern = r"(\d\d), sections? (\d+)(?:\s+(?:to|and) (\d+))?"
    for number, first, last in re.findall(pattern, asked):
        places += [(number, first), *([(number, last)] if last else [])]
    assert len(places) > 20
    for number, section in places:
        assert section in headings(number), f"{number} has no section {section}"


@pytest.mark.parametrize("cells", table(INSTRUCTORS, "| where | change |"), ids=lambda c: c[0])
def test_numbers_for_a_class_are_those_of_the_executed_notebooks(cells: list[str]) -> None:
    said = decimals(outputs(cells[0][:2]))
    for number in decimals(cells[2]):
        assert is_there(number, said), f"{number} is not in the outputs of {cells[0]}"


def test_numbers_of_the_sample_report_are_those_of_notebook_10() -> None:
    said = decimals(outputs("10"))
    measured = SAMPLE.partition("**3. How good")[2]
    numbers = decimals(measured)
    assert len(numbers) > 25
    assert [number for number in numbers if not is_there(number, said)] == []


def test_every_question_of_track_a_is_answered_from_its_own_pages() -> None:
    """Its questions name notebooks and pages that the track contains."""
    own = {m[1] for m in (re.search(r"\((\d\d)_", cells[1]) for cells in track("A")) if m}
    asked = LAB.partition("four questions:")[2].partition("Track B adds")[0]
    asked = re.sub(r"track B[^.)]*", "", asked)
    assert {number for number in re.findall(r"\b(\d\d), section", asked)} <= own
    assert any("algorithm.md" in cells[1] for cells in track("A"))


def test_what_is_handed_in_is_what_the_notebooks_leave() -> None:
    """The executed notebooks list each file of a run and each film; the agent's files are last."""
    asked = LAB.partition("## What you hand in")[2].partition("The report answers")[0]
    named = set(re.findall(r"`(\w+\.(?:json|jsonl|safetensors|mp4))`", asked))
    assert len(named) > 4
    source = (NOTEBOOKS / "src" / "09_full_run.py").read_text(encoding="utf-8")
    assert "file = run_folder / places.AGENT\ninfo = agents.export(run_folder, file)" in source
    said = outputs("09") + outputs("10") + " ".join(places.FILES)
    assert [name for name in sorted(named) if name not in said] == []


def test_the_algorithm_is_25_lines_and_names_what_exists() -> None:
    (code,) = re.findall(r"(?ms)^```$(.*?)^```$", ALGORITHM)
    numbers = re.findall(r"(?m)^ ?(\d+)\b", code)
    assert list(map(int, numbers)) == list(range(1, 26))
    assert "DreamerV3 in 25 lines" in ALGORITHM
    file = (NOTEBOOKS / "dreamer.py").read_text(encoding="utf-8")
    named = re.findall(r"`([\w.]+)`", ALGORITHM.partition("## Where it stands")[2])
    assert len(named) > 12
    for name in named:
        assert re.search(rf"\b(def|class) {name.rpartition('.')[2]}\b", file), name
    stops = table(ALGORITHM, "| line | stop |")
    lines = dict(zip(map(int, numbers), code.strip("\n").splitlines()))
    told = {int(n) for cells in stops for n in re.findall(r"\d+", cells[0])}
    assert {n for n, line in lines.items() if "sg(" in line} <= told
