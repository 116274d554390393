"""The dream page as its reader has it: keys, screens, notebooks; and what its trust meter is worth.

It is opened in a real Chromium that refuses every request to a network. `test_page_numbers` proves
that it computes what JAX does.
"""

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, needs_browser
from test_accessibility import GRAPHIC, TEXT, contrast

from dreamer_lite import assets
from dreamer_lite.__main__ import main
from dreamer_lite.page import bundle, data, trust
from dreamer_lite.runs import agents

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def windows() -> Iterator[Any]:
    # What a window asks for (`reduced_motion`) may reach a frame after its script has run.
    with chromium("--force-prefers-reduced-motion") as launched:
        yield launched


PHONE = {"width": 320, "height": 640}


# The page of Breakout's agent, opened as its reader opens it.


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes."""
    out = tmp_path_factory.mktemp("page") / "dream.html"
    assert main(["page", "--agent", "minatar-breakout", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def breakout(page: Path) -> dict[str, Any]:
    """The data in it."""
    found = re.search(
        r'<script type="application/json" id="data">(.*)</script>', page.read_text("utf-8")
    )
    assert found
    return json.loads(found[1])


@pytest.fixture
def opened(windows: Any, breakout: dict[str, Any], tmp_path: Path) -> Iterator[Any]:
    """open(changes of the data, options of the window) -> a window that has it; no request, no
    error."""
    trouble: list[str] = []
    contexts = []

    def open_page(changes: dict[str, Any] | None = None, **options: Any) -> Any:
        file = tmp_path / "dream.html"
        file.write_text(bundle.html({**breakout, **(changes or {})}), encoding="utf-8")
        options = {"reduced_motion": "reduce", **options}
        contexts.append(windows.new_context(offline=True, **options))
        window = contexts[-1].new_page()
        window.on(
            "request", lambda x: x.url.startswith(("file:", "data:")) or trouble.append(x.url)
        )
        window.on("console", lambda x: x.type in ("error", "warning") and trouble.append(x.text))
        window.on("pageerror", lambda error: trouble.append(str(error)))
        window.goto(file.as_uri())
        window.wait_for_selector(".stage")
        return window

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def pictures(window: Any) -> list[str]:
    """What the two canvases show: reality, dream."""
    return window.evaluate(
        "[...document.querySelectorAll('.stage canvas')].map((x) => x.toDataURL())"
    )


@needs_browser
def test_keys_and_buttons_steer_both(opened: Any) -> None:
    window = opened()
    status, before = window.locator("[role=status]"), pictures(window)
    window.keyboard.press("ArrowLeft")  # nothing has the focus
    assert status.inner_text().startswith("Step 1, left")
    assert all(a != b for a, b in zip(before, pictures(window)))
    window.locator(".stage").focus()
    for key, words in (
        ("a", r"Step 2, \w+ \(agent decides\)"),
        ("o", "The model observes reality"),
        ("a", "Step 3"),
        ("k", "This moment is kept"),
        ("1", "Step 4, left"),
        ("b", "Back at the kept moment"),
        ("3", "Step 4, right"),
        ("s", "Real moment 1"),
        ("n", "Real moment 2"),
        ("r", "Real moment 2"),
    ):
        window.keyboard.press(key)
        assert re.match(words, status.inner_text()), (key, status.inner_text())
        if words == "Step 3":
            assert "the model observes" in window.locator(".imagined").inner_text()
            assert pictures(window)[0] != before[0]
        if words == "Step 4, right":
            plans = window.locator(".plan").all_inner_texts()
            assert [text.split(".")[0] for text in plans] == ["Plan A: left", "Plan B: right"]
    window.get_by_role("button", name="→ right").click()
    assert status.inner_text().startswith("Step 1, right")


@needs_browser
def test_the_same_moment_noise_and_actions_give_the_same_dream(opened: Any) -> None:
    window = opened()
    window.locator(".stage").focus()

    def run(keys: str) -> list[str]:
        for key in keys:
            window.keyboard.press(key)
        return pictures(window)

    first = run("113aa")
    assert run("r113aa") == first
    assert any(run("s113aa") != first for _ in range(20))  # other noise


@needs_browser
def test_it_plays_by_itself_unless_motion_is_unwanted(opened: Any) -> None:
    still = opened()
    assert still.get_by_role("button", name="play", exact=True).is_visible()
    window = opened(reduced_motion="no-preference")
    before = pictures(window)
    window.wait_for_function(
        "(before) => document.querySelectorAll('.stage canvas')[1].toDataURL() !== before",
        arg=before[1],
    )
    window.get_by_role("button", name="pause").click()
    rest = pictures(window)
    window.wait_for_timeout(400)
    assert pictures(window) == rest


@needs_browser
def test_every_control_is_reached_by_tab_and_has_a_name(opened: Any) -> None:
    window = opened()
    focusable = "button:not(:disabled), select, input, summary, [tabindex]"
    controls = window.locator(focusable).count()
    reached = set()
    for _ in range(controls + 1):
        window.keyboard.press("Tab")
        name = window.evaluate(
            "() => { const x = document.activeElement; return x === document.body ? '' : "
            "(x.ariaLabel || x.labels?.[0]?.textContent || x.textContent).trim(); }"
        )
        assert name or window.evaluate("document.activeElement === document.body")
        reached.add(name)
    assert len(reached - {""}) == controls
    assert window.locator("[aria-live], [role=status], [role=alert]").count() == 1
    assert window.locator("canvas:not([aria-label])").count() == 0
    window.get_by_role("button", name="agent decides").focus()
    window.keyboard.press("Space")
    assert window.locator("[role=status]").inner_text().startswith("Step 1")


@needs_browser
def test_it_fits_a_phone_and_both_themes_can_be_read(opened: Any) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        window = opened(viewport=PHONE, has_touch=True, color_scheme=scheme)
        assert window.evaluate("document.documentElement.scrollWidth") <= 320
        window.get_by_role("button", name="agent decides").tap()
        assert window.locator("[role=status]").inner_text().startswith("Step 1")
        small = "[...document.querySelectorAll('button')].filter((x) => x.offsetHeight < 44).length"
        assert window.evaluate(small) == 0
        colours = window.evaluate(
            "(names) => { const style = getComputedStyle(document.documentElement);"
            "return Object.fromEntries(names.map((x) => [x, style.getPropertyValue('--' + x)])); }",
            "ground raised text faint line accent observed imagined warning".split(),
        )
        grounds.add(colours["ground"])
        for name in ("text", "faint", "accent", "observed", "imagined", "warning"):
            assert contrast(colours[name], colours["ground"]) >= TEXT, (scheme, name)
        assert contrast(colours["text"], colours["raised"]) >= TEXT
        assert contrast(colours["line"], colours["ground"]) >= GRAPHIC
    assert len(grounds) == 2


def answer_times(window: Any) -> list[float]:
    """Milliseconds from a key to the frame that shows its step, 60 times."""
    return window.evaluate(
        """async () => {
          const taken = [];
          for (let i = 0; i < 60; i++) {
            const begun = performance.now();
            const key = i % 2 ? "ArrowLeft" : "ArrowRight";
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            await new Promise(requestAnimationFrame);
            taken.push(performance.now() - begun);
          }
          return taken;
        }"""
    )


@needs_browser
@pytest.mark.slow
def test_play_keeps_30_steps_a_second(opened: Any) -> None:
    """On a machine that is busy with other programs, steps come later."""
    window = opened()
    window.get_by_label("speed (steps a second)").evaluate(
        "(x) => { x.value = 30; x.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    window.get_by_role("button", name="play", exact=True).click()
    between = window.evaluate(
        """async () => {
          const caption = document.querySelectorAll(".stage figcaption")[1];
          const times = [];
          const seen = new MutationObserver(() => times.push(performance.now()));
          seen.observe(caption, { childList: true, characterData: true, subtree: true });
          await new Promise((done) => setTimeout(done, 2000));
          return times.slice(1).map((t, i) => t - times[i]);
        }"""
    )
    assert 30 < np.median(between) < 40, between


@needs_browser
def test_a_key_is_answered_within_50_ms(opened: Any) -> None:
    taken = answer_times(opened())
    assert np.percentile(taken, 25) < 50, taken  # a busy machine may be the cause of longer ones


@needs_browser
def test_text_of_an_agent_stays_text(opened: Any) -> None:
    evil = "</script><img src=x onerror=\"document.title='run'\"><!--<script>"
    window = opened({"title": evil, "action_names": [evil, "left", "right"]})
    window.get_by_role("button", name="<img").click()
    assert window.locator("h1").inner_text() == evil and window.title() == evil
    assert "<img" in window.locator("[role=status]").inner_text()
    assert window.locator("img").count() == 0


# Where outputs are shown. VS Code: the policy of its notebooks (backLayerWebView.ts), where it sets
# one. Colab: an output is a frame of another origin.
HOSTS = {
    "JupyterLab, Kaggle": "{}",
    "VS Code": """<meta http-equiv="Content-Security-Policy" content="default-src 'none';
        script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline';
        img-src https: http: data:; font-src https:; connect-src https:; child-src https: data:;">
        {}""",
    "Colab": """<iframe sandbox="allow-downloads allow-forms allow-modals allow-scripts"
        style="width:100%;height:900px" srcdoc="{}"></iframe>""",
}


@needs_browser
@pytest.mark.parametrize("host", HOSTS)
def test_in_a_notebook_it_is_a_frame_that_needs_no_kernel(
    windows: Any, breakout: dict[str, Any], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    bundle.show(breakout)
    window = windows.new_page(reduced_motion="reduce")
    output = f"<p>before</p>{shown[0].data}"
    window.set_content(HOSTS[host].format(html.escape(output) if host == "Colab" else output))
    frame = window.frame_locator("iframe")
    if host == "Colab":
        frame = frame.frame_locator("iframe")
    frame.locator(".stage").click()
    heard = "window.heard = 0; document.addEventListener('keydown', () => { window.heard += 1; })"
    window.evaluate(heard)
    window.keyboard.press("ArrowLeft")
    assert frame.locator("[role=status]").inner_text().startswith("Step 1, left")
    assert window.evaluate("window.heard") == 0
    window.close()


def test_the_page_is_small_and_allows_no_request(page: Path, breakout: dict[str, Any]) -> None:
    text = page.read_text("utf-8")
    assert text == bundle.html(breakout) and len(text.encode()) < 4e6
    assert "default-src 'none'" in text and "connect-src" not in text
    assert not re.search(r"https?://", bundle.module() + bundle.style())


def test_a_damaged_agent_is_refused_as_by_other_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for suffix in (".safetensors", ".json"):
        shutil.copy(assets.path(f"agents/catch{suffix}"), tmp_path)
    file = tmp_path / "catch.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    said = []
    for command in ("page", "evaluate"):
        assert main([command, "--agent", str(file)]) == 2
        said.append(capsys.readouterr().err)
    assert "is damaged" in said[0] and said[0] == said[1]
    assert list(tmp_path.glob("*.html")) == []


# The trust meter


def test_auc_and_fit_on_numbers_by_hand() -> None:
    good = np.array([False] * 30 + [True] * 30)
    score = np.arange(60.0)
    assert trust.auc(score, good) == 1 and trust.auc(-score, good) == 0
    assert trust.auc(np.zeros(60), good) == 0.5
    assert trust.auc(score, good | True) is None
    fit = trust.logistic(np.stack([score, score[::-1] * 0 + 7], -1), good)
    assert trust.auc(trust.probability(fit, np.stack([score, score * 0 + 7], -1)), good) == 1
    assert abs(trust.probability(fit, np.array([[29.5, 7.0]]))[0] - 0.5) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["minatar-breakout", "pendulum", "pong", "atari-breakout", "walker-walk", "road-runner"],
)
def test_trust_tells_good_frames_from_bad_ones_better_than_steps_do(name: str) -> None:
    """On episodes that the fit has not seen; of Catch, nearly every frame is good."""
    found = data.collect(agents.load(name))
    assert found["trust"]["auc"] > max(0.65, found["trust"]["auc_steps"])
    assert len(bundle.html(found).encode()) < (15e6 if found["world"].startswith("atari/") else 4e6)
