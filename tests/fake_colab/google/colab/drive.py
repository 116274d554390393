"""Stands in for Google Drive: a folder of this machine, named by FAKE_DRIVE, is mounted."""

import os
import sys
from pathlib import Path


def mount(place: str) -> None:
    """As on Colab, MyDrive is there afterwards; no test may write to /content, so it is elsewhere.

    `place` is where Colab would mount; whoever asks is sent to FAKE_DRIVE instead.
    """
    drive = Path(os.environ["FAKE_DRIVE"])
    (drive / "MyDrive").mkdir(parents=True, exist_ok=True)
    usual = os.path.ismount
    os.path.ismount = lambda path: Path(path) == drive or usual(path)
    sys.modules["dreamer_lite.files"].DRIVE = drive  # pyright: ignore
