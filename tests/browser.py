"""Drives a real JupyterLab in a real browser, as a student would: open, run all, press, look.

The server listens on loopback, with a token. Waiting is done by asking the server or the page,
never by sleeping for luck: the toolbar says "idle" before the connection to the kernel is there.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --disable-background-networking --no-first-run "
    "--disable-component-update --disable-sync --mute-audio"
).split()
# All cells stay in the page; no question about news.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# What the cells of a notebook have printed, shown and failed with.
# A folded cell shows no prompt; it is done when those after it are, for they run in order.
STATE = """() => {
  const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')];
  const prompts = cells.map(c => c.querySelector('.jp-InputPrompt').textContent);
  const bad = ['application/vnd.jupyter.stderr', 'application/vnd.jupyter.error'];
  return {
    done: prompts.map(p => p === '' || /\\[\\d+\\]/.test(p)),
    trouble: [...document.querySelectorAll('.jp-OutputArea-output')]
      .filter(o => bad.includes(o.dataset.mimeType)).map(o => o.textContent.slice(-400)),
  };
}"""
# Chromium's own words that are no fault of a page.
HARMLESS = ("favicon", "extensions/", "preload")


def why_not() -> str:
    """Why this machine cannot drive a browser, or nothing."""
    if CHROMIUM is None:
        return "there is no chromium here (Debian: apt install chromium)"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return ""


class Lab:
    """A JupyterLab in `folder`, which holds copies of the notebooks."""

    def __init__(self, folder: Path):
        self.folder, self.token = folder, secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        settings = folder / ".settings"
        for name, values in SETTINGS.items():
            file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values), encoding="utf-8")
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "DREAMER_LITE_FAST": "1",
            "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTER_CONFIG_DIR": str(folder / ".config"),
            "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),  # pyright: ignore
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        }
        environment.pop("DREAMER_LITE_STRICT", None)
        root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        self.log = (folder / ".server.log").open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1",
             f"--ServerApp.port={self.port}", f"--IdentityProvider.token={self.token}",
             f"--ServerApp.root_dir={folder}", *root],
            env=environment, stdout=self.log, stderr=self.log, cwd=folder,
        )  # fmt: skip
        wait(self.answers, 240, lambda: f"no JupyterLab on {self.base}: see {self.log.name}")

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(Path(self.log.name).read_text(encoding="utf-8")[-800:])
        with contextlib.suppress(OSError):
            return bool(self.ask("GET", "/api/status"))
        return False

    def ask(self, method: str, path: str) -> Any:
        """The server's answer to a request with the token."""
        address = f"{self.base}{path}?token={self.token}"
        with urllib.request.urlopen(urllib.request.Request(address, method=method)) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:  # a kernel that does not end, or a busy machine
            self.process.kill()
            self.process.wait(60)
        self.log.close()


def wait(question: Callable[[], Any], seconds: float, otherwise: Callable[[], str]) -> None:
    """Ask until the answer is yes; fail with what `otherwise` says after so many seconds."""
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.1)


class Student:
    """A reader in front of one notebook."""

    def __init__(self, lab: Lab, page: Any, pictures: Path):
        self.lab, self.page, self.pictures = lab, page, pictures
        self.console: list[str] = []
        page.set_default_timeout(90_000)
        page.on("console", lambda m: m.type == "error" and self.console.append(m.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))

    def visit(self, name: str) -> None:
        """Open a notebook in a workspace of its own, with a fresh kernel."""
        for session in self.lab.ask("GET", "/api/sessions"):
            self.lab.ask("DELETE", f"/api/sessions/{session['id']}")
        workspace = secrets.token_hex(4)
        self.page.goto(
            f"{self.lab.base}/lab/workspaces/{workspace}/tree/{name}?token={self.lab.token}"
        )
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        wait(lambda: self.kernel_is("idle"), 90, lambda: "the kernel never came")

    def kernel_is(self, state: str) -> bool:
        try:
            kernels = self.lab.ask("GET", "/api/kernels")
        except urllib.error.HTTPError:  # a kernel that is only just beginning
            return False
        return any(k["connections"] and k["execution_state"] == state for k in kernels)

    def run_all(self, seconds: float) -> None:
        """Run all cells and wait until every one is done, without a word on stderr."""
        self.menu("Run All Cells")
        self.wait_for(all, seconds)

    def run_above(self, code: str, seconds: float) -> None:
        """Run all cells above the one with this code."""
        self.select(code)
        self.menu("Run All Above Selected Cell")
        above = self.page.evaluate(
            "code => [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')]"
            ".findIndex(cell => cell.textContent.includes(code))",
            code,
        )
        self.wait_for(lambda done: all(done[:above]), seconds)

    def run_on(self, code: str, seconds: float) -> None:
        """Run the cell with this code and all below it."""
        self.select(code)
        self.menu("Run Selected Cell and All Below")
        self.wait_for(all, seconds)

    def menu(self, item: str) -> None:
        """Choose something in the menu *Run*."""
        self.page.click(".lm-MenuBar-itemLabel:text-is('Run')")
        self.page.click(f".lm-Menu-itemLabel:text-is('{item}')")

    def select(self, code: str) -> None:
        """Click into the first cell with this code."""
        self.page.locator(
            f".jp-CodeCell:has-text({json.dumps(code)}) .jp-InputPrompt"
        ).first.click()

    def wait_for(self, enough: Callable[[list[bool]], bool], seconds: float) -> None:
        """Wait until enough(which cells are done) and the kernel rests; no error may appear."""

        def done() -> bool:
            state = self.page.evaluate(STATE)
            assert not state["trouble"], state["trouble"]
            return enough(state["done"]) and self.kernel_is("idle")

        wait(done, seconds, lambda: f"not done after {seconds} s: {self.page.evaluate(STATE)}")

    def look(self, name: str) -> None:
        """Keep a picture of the whole window."""
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def press(self, label: str, within: str = ".jp-Notebook") -> None:
        """Reach a button by the keyboard and press it with the space bar."""
        button = self.page.locator(f"{within} button:text-is('{label}')").first
        button.scroll_into_view_if_needed()
        button.focus()
        self.page.keyboard.press("Space")

    def turn(self, label: str) -> None:
        """Reach the box of a number by the keyboard and raise it by one step."""
        box = self.page.get_by_label(label, exact=True).first
        box.wait_for(state="visible")
        box.focus()
        before = box.input_value()
        self.page.keyboard.press("ArrowUp")
        wait(lambda: box.input_value() != before, 30, lambda: f"{label!r} stays at {before}")

    def tick(self, label: str) -> None:
        """Reach a checkbox by the keyboard and turn it."""
        self.page.locator(f".widget-checkbox:has-text('{label}') input").first.focus()
        self.page.keyboard.press("Space")

    def status(self) -> list[str]:
        """What the widgets say of themselves."""
        return self.page.locator("[role=status]").all_inner_texts()

    def pixels(self, selector: str) -> str:
        """What an image shows now: its data."""
        return self.page.locator(selector).first.get_attribute("src") or ""

    def films(self) -> list[dict[str, float]]:
        """How far the browser is with every film: can it play (readyState 2 and more), how long."""
        self.page.wait_for_function(
            "[...document.querySelectorAll('video')].every(v => v.readyState >= 2)"
        )
        return self.page.evaluate(
            "[...document.querySelectorAll('video')].map(v => "
            "({ready: v.readyState, seconds: v.duration, width: v.videoWidth}))"
        )

    def check(self) -> None:
        """No error in the console, none in any output."""
        assert self.page.evaluate(STATE)["trouble"] == []
        assert [text for text in self.console if not any(word in text for word in HARMLESS)] == []


@contextlib.contextmanager
def chromium(*more: str) -> Iterator[Any]:
    """A browser without a window, started with `more` flags."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        flags = [*FLAGS, *more]
        launched = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        yield launched
        launched.close()


@contextlib.contextmanager
def browser(lab: Lab, pictures: Path) -> Iterator[Student]:
    """A browser with one window in front of this server."""
    with chromium() as launched:
        page = launched.new_page(viewport={"width": 1200, "height": 1000})
        yield Student(lab, page, pictures)


needs_browser = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")
