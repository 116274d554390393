"""`make site`: what is gathered; and, where Sphinx is at hand, the pages, without any network.

The slow tests need an environment with docs/site/requirements.txt: .venv/site, which `make site`
makes, or the Python that DREAMER_LITE_SPHINX names.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import browser
import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "site"))
sys.path.insert(0, str(ROOT / "notebooks"))

import build  # noqa: E402
import make_site  # noqa: E402

SPHINX = Path(os.environ.get("DREAMER_LITE_SPHINX", ROOT / ".venv" / "site" / "bin" / "python"))
ADDRESS = "https://github.com/some/where"
# Loads everything that lies below the first screen, and says how wide the page is.
SCROLLED = "() => { scrollTo(0, document.body.scrollHeight); return document.body.scrollWidth }"


def test_requirements_are_pinned():
    lines = (ROOT / "docs/site/requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(re.sub(r"\s#.*", "", line)) for line in lines if not line.startswith("#")]
    assert [str(r.specifier)[:2] for r in found] == ["=="] * 4


@pytest.fixture
def stage(tmp_path, monkeypatch) -> Path:
    """Gathered without the agent, which takes longest."""
    monkeypatch.setattr(make_site, "dream", lambda path: path.write_text("a dream", "utf-8"))
    make_site.gather(tmp_path)
    return tmp_path


def test_every_notebook_and_page_of_text_is_listed_once(stage):
    front = (stage / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"(?m)^(?:notebooks|docs|assets)/\S+$|^CONTRIBUTING$", front)
    pages = [p.relative_to(stage).with_suffix("") for p in stage.rglob("*") if p.suffix in
             (".md", ".ipynb") and "extra" not in p.parts]  # fmt: skip
    assert sorted(listed) == sorted(str(page) for page in pages if str(page) != "index")
    assert {f"notebooks/{source.stem}" for source in build.sources()} <= set(listed)
    assert {f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")} <= set(listed)
    assert front.index("<iframe") < front.index("## Start") and "breakout_dream.gif" not in front


def test_pages_of_notebooks_show_stored_outputs_and_offer_downloads(stage):
    for source in build.sources():
        stored = nbformat.read(build.places(source)[1][0], 4)
        page = nbformat.read(stage / "notebooks" / f"{source.stem}.ipynb", 4)
        counts = [sum(len(c.get("outputs", [])) for c in nb.cells) for nb in (stored, page)]
        assert counts[0] == counts[1]
        bar = page.cells[0].source
        assert "colab" not in bar, "no repository is set"
        for link in re.findall(r'href="\.\./(downloads/[^"]+)"', bar):
            assert (stage / "extra" / link).stat().st_size > 1000, link
        assert bar.count("downloads/") == 3
        compile(
            (stage / f"extra/downloads/{source.stem}.py").read_text("utf-8"), source.stem, "exec"
        )
        pictures = [o.data["text/html"] for c in page.cells for o in c.get("outputs", [])
                    if "<img alt=" in o.get("data", {}).get("text/html", "")]  # fmt: skip
        assert all('alt=""' not in picture for picture in pictures)
        steered = [cell.source for cell in page.cells if "../dream.html" in cell.source]
        assert len(steered) == (source.stem[:2] in ("00", "10"))


def test_badges_and_links_to_code_appear_where_a_repository_is_set(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "setting", lambda: (ADDRESS, "colab"))
    source = build.sources(wanted=["02"])[0]
    (tmp_path / "notebooks").mkdir()
    make_site.notebook(source, tmp_path)
    page = nbformat.read(tmp_path / "notebooks" / f"{source.stem}.ipynb", 4)
    badge = "colab.research.google.com/github/some/where/blob/colab/notebooks/02_"
    assert badge in page.cells[0].source
    text = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    assert f"]({ADDRESS}/blob/colab/dreamer_lite/training/replay.py)" in text
    assert "](03_predicting_anything.ipynb)" in text, "the next notebook is a page of the site"


@pytest.mark.parametrize(
    ("address", "text", "expected"),
    [
        ("", "[a](../dreamer_lite/config.py)", "[a](../dreamer_lite/config.py)"),
        ("", "[the agents](../assets/agents)", "the agents"),
        ("", "[b](faq.md#x) [c](../README.md) [d](#e)", "[b](faq.md#x) [c](../index.md) [d](#e)"),
        ("", "`f[i](x)` [n](nowhere.md)", "`f[i](x)` [n](nowhere.md)"),
        (ADDRESS, "[all](../assets/agents)", f"[all]({ADDRESS}/tree/v1/assets/agents)"),
        (ADDRESS, "[a](../Makefile#x)", f"[a]({ADDRESS}/blob/v1/Makefile#x)"),
    ],
)  # fmt: skip
def test_links_that_lead_to_no_page(tmp_path, monkeypatch, address, text, expected):
    monkeypatch.setattr(build, "setting", lambda: (address, "v1"))
    assert make_site.relinked(text, "docs", tmp_path) == expected
    copied = tmp_path / "dreamer_lite" / "config.py"
    assert copied.exists() == ("config.py" in text and not address)


@pytest.mark.parametrize(("out", "expected"), [("", "Say where: OUT=DIR"), ("x", "x is there alr")])
def test_a_bad_place_is_answered_by_a_sentence(tmp_path, monkeypatch, capsys, out, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").touch()
    assert make_site.main(["--out", out]) == 2
    assert capsys.readouterr().err.startswith(expected)


def test_make_runs_this_command(tmp_path):
    (tmp_path / "site").mkdir()
    for file in (tmp_path / ".ready", tmp_path / "site" / ".ready"):
        file.touch()
    line = ["make", "-n", "--no-print-directory", "site", f"VENV={tmp_path}", "OUT=x"]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    words = f'docs/site/make_site.py --out "x" --sphinx "{tmp_path}/site/bin/python"'
    assert result.stdout.splitlines()[-1] == f'"{tmp_path}/bin/python" {words}'


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The whole site. Sphinx's warnings are errors."""
    if not SPHINX.exists():
        pytest.skip(f"there is no {SPHINX}: `make site` makes it")
    out = tmp_path_factory.mktemp("site") / "out"
    command = [sys.executable, "docs/site/make_site.py", "--out", out, "--sphinx", SPHINX]
    library = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=library, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.slow
@browser.needs_browser
def test_pages_need_no_network(site):
    asked, troubles = [], []
    with browser.chromium() as launched:
        context = launched.new_context(viewport={"width": 1200, "height": 900}, offline=True)
        context.on("request", lambda r: asked.append(r.url))
        page = context.new_page()
        page.on("console", lambda m: m.type == "error" and troubles.append(m.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))

        page.goto((site / "index.html").as_uri())
        dream = page.frame_locator("iframe.dream")
        dream.get_by_role("button", name="right").click()
        dream.locator("canvas").first.wait_for(state="visible")
        assert page.locator("iframe.dream").bounding_box()["y"] < 300, "on the first screen"
        page.get_by_role("button", name="theme").first.click()  # light, dark, automatic
        assert page.locator("body").get_attribute("data-theme") in ("light", "dark")

        page.goto((site / "notebooks/04_rssm.html").as_uri())
        page.wait_for_selector("mjx-container svg")
        assert page.locator("mjx-container").count() == page.locator(".math").count() > 20
        assert page.locator("mjx-merror").count() == 0
        page.evaluate(SCROLLED)
        assert page.evaluate("[...document.images].every(i => i.alt && i.complete)")
        assert "03_pred" in page.locator("a.prev-page").get_attribute("href")
        page.locator("a.next-page").click()
        page.wait_for_url("**/05_world_model.html")

        assert troubles == []

        # Opened from a file, the search finds pages but may not fetch what it would quote of them.
        page.goto(f"{(site / 'search.html').as_uri()}?q=posterior")
        page.wait_for_selector("#search-results li a")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.slow
def test_links_between_pages_lead_somewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|link)\b[^>]*?(?:src|href)="(?:https?:)?//', text), (
            page
        )
        for link in re.findall(r'<a\b[^>]*?href="([^"]+)"', text):
            file = link.partition("#")[0].partition("?")[0]
            if ":" not in file:
                assert (page.parent / file).resolve().exists(), f"{link} in {page.name}"
