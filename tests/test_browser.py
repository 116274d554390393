"""The notebooks in a real JupyterLab in a real browser: run all, press every control, look.

Screenshots are kept in the folder DREAMER_LITE_SCREENSHOTS, if that is set.
"""

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import ROOT, Lab, Student, browser, needs_browser, wait

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


# Notebook 08's training for tests would end before a reader has clicked three times.
SHORT, LONGER = "updates = 100 if FAST", "updates = 600 if FAST"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, folder)
    eight = folder / "08_dreamer.ipynb"
    text = eight.read_text(encoding="utf-8")
    assert text.count(SHORT) == 1
    eight.write_text(text.replace(SHORT, LONGER), encoding="utf-8")
    server = Lab(folder)
    yield server
    server.close()


@pytest.fixture
def student(lab, tmp_path):
    pictures = Path(os.environ.get("DREAMER_LITE_SCREENSHOTS", tmp_path))
    pictures.mkdir(parents=True, exist_ok=True)
    with browser(lab, pictures) as student:
        yield student


def changes(student: Student, selector: str, act, seconds: float = 60) -> None:
    """What `act` does must change the picture."""
    before = student.pixels(selector)
    act()
    wait(
        lambda: student.pixels(selector) != before, seconds,
        lambda: f"{selector} stays as it was, and beside it stands: {student.status()}",
    )  # fmt: skip


def test_a_stranger_without_the_token_is_turned_away(lab):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{lab.base}/api/contents")
    assert refused.value.code == 403


def small(student: Student, name: str, *cells: str) -> Path:
    """A notebook of a few cells, opened."""
    file = student.lab.folder / name
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(made, file)
    student.visit(name)
    return file


def steer(window: Any, *keys: tuple[str, str]) -> None:
    """Click on the images of the dream page, press keys, and wait for what the page says."""
    window.locator("iframe").scroll_into_view_if_needed()  # out of sight it stands still
    dream = window.frame_locator("iframe[title^='The dream']")
    dream.locator(".stage").click()
    status = dream.locator("[role=status]")
    for key, words in keys:
        window.keyboard.press(key)
        wait(lambda words=words: re.match(words, status.inner_text()), 30, status.inner_text)


AS_ALWAYS = (("r", "Real moment"), ("ArrowLeft", "Step 1, left"), ("a", "Step 2"))


def test_the_dream_page_needs_no_kernel(student, tmp_path):
    """It answers while a cell runs, has the keys to itself, and is there in what was saved."""
    file = small(
        student,
        "page.ipynb",
        "from dreamer_lite import page\nfrom dreamer_lite.runs import agents\n"
        "page.show(page.collect(agents.load('catch')))",
        "import time; time.sleep(10_000)",
    )
    window = student.page
    student.menu("Run All Cells")
    window.locator("iframe").wait_for(state="attached", timeout=400_000)
    steer(window, *AS_ALWAYS)
    for key in "abdd":  # in the Lab: new cells above and below, and one deleted
        window.keyboard.press(key)
    assert window.locator(".jp-Cell").count() == 2, "the keys are the dream's"
    assert student.kernel_is("busy")
    student.look("page")
    window.click(".lm-MenuBar-itemLabel:text-is('File')")
    window.click(".lm-Menu-itemLabel:text-is('Save Notebook')")
    wait(lambda: "<iframe" in file.read_text(encoding="utf-8"), 60, lambda: "it was not saved")
    student.visit(file.name)  # with a kernel that has run nothing
    window.locator("iframe").wait_for(state="attached")
    steer(window, *AS_ALWAYS)
    student.check()
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(file)]
    subprocess.run([*command, "--output-dir", str(tmp_path)], check=True, capture_output=True)
    window.context.set_offline(True)
    window.goto((tmp_path / "page.html").as_uri(), wait_until="domcontentloaded")
    steer(window, *AS_ALWAYS)


def test_00_plays_films_and_lets_its_reader_steer(student):
    student.visit("00_the_dream.ipynb")
    student.run_all(240)
    films = student.films()
    assert films and all(film["seconds"] > 1 and film["width"] > 100 for film in films)
    steer(student.page, *AS_ALWAYS)
    student.look("00")
    student.check()


def says(student: Student, words: str, seconds: float = 90) -> None:
    """Some widget must say so."""
    wait(
        lambda: any(words in text for text in student.status()),
        seconds,
        lambda: f"nothing says {words!r}: {student.status()}",
    )


BOARD = f"""import sys
sys.path.append({str(ROOT / "tests")!r})
import small_run
from dreamer_lite.course.widgets import Dashboard
board = Dashboard(small_run.config(), 10**6, "run")
board.start()"""


def able(student: Student) -> set[str]:
    """The buttons that can be pressed."""
    return set(student.page.locator(".jp-OutputArea button:enabled").all_inner_texts())


def interrupt(student: Student) -> None:
    student.page.click(".lm-MenuBar-itemLabel:text-is('Kernel')")
    student.page.click(".lm-Menu-itemLabel:text-is('Interrupt Kernel')")


def test_a_dashboard_says_when_its_buttons_work(student):
    """Grey while a cell runs; of use after an interrupt, and after *Run all* pressed twice."""
    small(student, "board.ipynb", BOARD, "board.wait()", "print('waited')")
    student.menu("Run All Cells")
    says(student, "running, update", 300)
    says(student, "A cell waits for the end: its square stop button stops")
    assert student.kernel_is("busy") and able(student) == set()
    picture = student.page.locator(".jp-OutputArea img[alt^='running, update']")
    picture.first.wait_for(state="attached")
    interrupt(student)
    says(student, "stopped, update")
    student.page.get_by_text("waited", exact=True).wait_for()
    wait(lambda: able(student) == {"go on"}, 30, lambda: str(able(student)))
    student.look("board_interrupted")
    student.menu("Run All Cells")
    says(student, "A cell waits for the end", 300)
    student.menu("Run All Cells")  # the first run still waits, and its outputs are gone
    wait(lambda: not student.status(), 30, lambda: str(student.status()))
    interrupt(student)  # ends the first, so that the second begins
    says(student, "A cell waits for the end", 300)
    interrupt(student)
    wait(lambda: able(student) == {"go on"}, 60, lambda: str(able(student)))
    student.press("go on")
    says(student, "running, update")
    wait(lambda: able(student) == {"pause", "stop"}, 60, lambda: str(able(student)))
    student.press("stop")
    wait(lambda: able(student) == {"go on"}, 60, lambda: str(able(student)))
    student.check()


# The displayed equations: how they begin, and by how many pixels they are wider than their place.
EQUATIONS = """() => [...document.querySelectorAll('mjx-container[display="true"]')].map(
  x => [x.textContent.slice(0, 60), x.scrollWidth - x.closest('.jp-RenderedMarkdown').clientWidth]
)"""


def clipped(student: Student, file: Path) -> list[str]:
    """The displayed equations of a notebook that are wider than their place."""
    cells = nbformat.read(file, 4).cells
    count = sum(c.source.count("$$") // 2 for c in cells if c.cell_type == "markdown")
    student.visit(file.name)
    found: list[Any] = []

    def all_set() -> bool:
        found[:] = student.page.evaluate(EQUATIONS)
        return len(found) >= count

    wait(all_set, 90, lambda: f"{file.name}: {len(found)} of {count} equations")
    return [f"{file.stem}: {text} by {over} pixels" for text, over in found if over > 0]


@pytest.mark.slow
def test_equations_fit_a_small_screen_beside_the_list_of_files(student):
    student.page.set_viewport_size({"width": 1024, "height": 768})
    files = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert [words for file in files for words in clipped(student, file)] == []


@pytest.mark.slow
def test_08_pauses_goes_on_stops_and_is_turned_by_keyboard(student):
    student.visit("08_dreamer.ipynb")
    student.run_above("dashboard.wait()", 900)  # the checks above it take minutes
    says(student, "running, update", 300)
    student.press("pause")
    says(student, "paused, update")
    resting = student.status()
    student.look("08_paused")
    student.page.wait_for_timeout(1500)
    assert student.status() == resting, "it must rest"
    student.press("go on")
    says(student, "running, update")
    student.press("stop")
    says(student, "stopped, update")
    says(student, "The run is saved")
    student.press("go on")
    says(student, "running, update")
    student.run_on("dashboard.wait()", 300)
    says(student, "finished, update")
    student.press("Imagination, actor and critic (06, 07)")
    student.turn("horizon")
    says(student, "--set horizon=11")
    student.tick("horizon 30")
    says(student, "dreamer_lite.course.curves horizon_30")
    student.look("08_panel")
    student.check()


@pytest.mark.slow
def test_06_answers_its_buttons(student):
    student.visit("06_imagination.ipynb")
    student.run_all(600)
    student.press("again")
    student.page.wait_for_selector(".widget-html img")
    for label in ("left", "stay", "right", "again"):
        changes(student, ".widget-html img", lambda label=label: student.press(label))
    student.look("06")
    student.check()


@pytest.mark.slow
def test_10_plays_films_and_lets_its_reader_steer(student):
    student.visit("10_dreams_vs_reality.ipynb")
    student.run_all(600)
    films = student.films()
    assert films and all(film["seconds"] > 1 and film["width"] > 100 for film in films)
    steer(student.page, *AS_ALWAYS)
    student.look("10")
    student.check()
