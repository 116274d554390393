"""The notebooks in a real JupyterLab in a real browser: run all, press every control, look.

Screenshots are kept in the folder DREAMER_LITE_SCREENSHOTS, if that is set.
"""

import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from browser import ROOT, Lab, Student, browser, needs_browser, wait

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, folder)
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


def test_00_plays_films_and_lets_its_reader_steer(student):
    student.visit("00_the_dream.ipynb")
    student.run_all(240)
    films = student.films()
    assert films and all(film["seconds"] > 1 and film["width"] > 100 for film in films)
    dream = student.page.frame_locator("iframe[title^='The dream']")
    status = dream.locator("[role=status]")
    stage, page_frame = dream.locator(".stage"), student.page.locator("iframe")
    page_frame.scroll_into_view_if_needed()  # out of sight it stands still
    cells = student.page.locator(".jp-Cell").count()
    stage.click()
    for key, words in (("r", "Real moment 1"), ("ArrowLeft", "Step 1, left"), ("a", "Step 2")):
        student.page.keyboard.press(key)
        wait(lambda words=words: status.inner_text().startswith(words), 20, status.inner_text)
    student.page.keyboard.press("b")  # in the Lab: a new cell below
    assert student.page.locator(".jp-Cell").count() == cells, "the keys are the dream's"
    student.look("00")
    student.page.click(".lm-MenuBar-itemLabel:text-is('File')")
    student.page.click(".lm-Menu-itemLabel:text-is('Save Notebook')")
    saved = student.lab.folder / "00_the_dream.ipynb"
    wait(lambda: "<iframe" in saved.read_text(encoding="utf-8"), 60, lambda: "it was not saved")
    student.page.reload()  # what was saved is there again, without a kernel's help
    page_frame.wait_for(state="attached")
    page_frame.scroll_into_view_if_needed()
    stage.click()
    student.page.keyboard.press("ArrowLeft")
    wait(lambda: ", left" in status.inner_text(), 20, status.inner_text)
    student.check()


def says(student: Student, words: str, seconds: float = 90) -> None:
    """Some widget must say so."""
    wait(
        lambda: any(words in text for text in student.status()),
        seconds,
        lambda: f"nothing says {words!r}: {student.status()}",
    )


@pytest.mark.slow
def test_07_pauses_goes_on_stops_and_is_turned_by_keyboard(student):
    student.visit("08_dreamer.ipynb")
    student.run_above("dashboard.wait()", 300)
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
def test_05_answers_its_buttons(student):
    student.visit("06_imagination.ipynb")
    student.run_all(600)
    student.press("again")
    student.page.wait_for_selector(".widget-html img")
    for label in ("left", "stay", "right", "again"):
        changes(student, ".widget-html img", lambda label=label: student.press(label))
    student.look("06")
    student.check()


@pytest.mark.slow
def test_09_plays_pauses_and_is_turned_by_keyboard(student):
    student.visit("10_dreams_vs_reality.ipynb")
    student.run_all(600)
    films = student.films()
    assert films and all(film["seconds"] > 1 and film["width"] > 100 for film in films)
    for label in ("left", "agent decides", "restart"):
        changes(student, ".widget-html img", lambda label=label: student.press(label))
    changes(student, ".widget-html img", lambda: student.turn("real moment"))
    student.turn("temperature")
    student.look("10")
    student.check()
