"""One HTML file, from the ES modules in `js/`, the style sheet, and the data of an agent.

The file makes no request to any network, and its Content-Security-Policy allows none: only this
one script, by its checksum, and this one style sheet may run. The data are JSON that no HTML parser
can leave, and the script shows text only as text.
"""

import base64
import hashlib
import html as escaping
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("js")
START = "view/page.js"  # the module that builds the page
_IMPORT = re.compile(r'^import\s[^;]*?from "([^"]+)";\n', re.MULTILINE)


def module(start: str = START) -> str:
    """All programs as one ES module, each after those that it imports.

    Imports are removed, because all top-level names are in one scope then; two equal ones would be
    a syntax error.
    """
    done: dict[Path, str] = {}

    def add(file: Path) -> None:
        if file in done:
            return
        text = file.read_text(encoding="utf-8")
        for name in _IMPORT.findall(text):
            add((file.parent / name).resolve())
        done[file] = f"// {file.relative_to(FOLDER).as_posix()}\n{_IMPORT.sub('', text)}"

    add((FOLDER / start).resolve())
    return "\n".join(done.values())


def style() -> str:
    """The style sheet."""
    return (FOLDER / "view" / "page.css").read_text(encoding="utf-8")


def html(data: Mapping[str, Any]) -> str:
    """The whole page, from what `data.collect` found."""
    script = f'{module()}\nopenPage(document.querySelector("main"));\n'
    script, sheet = f"\n{script}", f"\n{style()}"
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{checksum(script)}'",
            f"style-src '{checksum(sheet)}'",
            "img-src data:",  # the empty icon, so that no browser asks a server for one
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    # "<" could end the element, or begin a comment; JSON reads its escape as the same letter.
    content = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escaping.escape(str(data["title"]))}</title>
<style>{sheet}</style>
</head>
<body>
<main class="page"><p>This page needs JavaScript.</p></main>
<script type="application/json" id="data">{content}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def checksum(text: str) -> str:
    """How a Content-Security-Policy names a script or a style sheet."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def show(data: Mapping[str, Any], height: int = 760) -> None:
    """Display the page in a notebook, in a frame of its own, `height` pixels high.

    It needs no kernel: it goes on while a cell runs, and is still there when the notebook is opened
    again. The frame has the keys to itself, and may run its script and nothing else.
    """
    from IPython.display import HTML, display

    page = escaping.escape(html(data), quote=True)
    display(
        HTML(
            "<p>Click on the images below, then use the arrow keys. If there are none, run this "
            f'cell.</p><iframe title="{escaping.escape(str(data["title"]), quote=True)}" '
            f'sandbox="allow-scripts" style="width:100%;height:{height}px;border:0" '
            f'srcdoc="{page}"></iframe>'
        )
    )
