"""What the doctor finds, on this machine and on machines that lack things."""

import json

import jax
import pytest

from dreamer_lite import __main__ as commands
from dreamer_lite.tools import doctor
from dreamer_lite.tools.doctor import Finding
from dreamer_lite.worlds import rendering


def found(findings: list[Finding], name: str) -> Finding:
    return next(f for f in findings if f.name == name)


def test_it_looks_at_everything(capsys: pytest.CaptureFixture[str]) -> None:
    status = commands.main(["doctor", "--json"])
    findings = [Finding(**x) for x in json.loads(capsys.readouterr().out)]
    names = {f.name for f in findings}
    assert {"python", "device", "memory", "precision", "worlds", "drawing", "ffmpeg"} <= names
    assert status == (0 if all(f.good for f in findings) else 1)
    assert all(f.good or f.remedy for f in findings), "what is missing comes with a remedy"
    assert jax.__version__ in found(findings, "python").found
    commands.main(["doctor"])
    text = capsys.readouterr().out
    assert text.count("\n") >= len(findings) and ("->" in text) == (status == 1)


def test_a_card_that_jax_does_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "nvidia_card", lambda: "Tesla T4")
    monkeypatch.setattr(jax, "devices", lambda: [jax.local_devices(backend="cpu")[0]])
    (finding,) = doctor.device()
    assert not finding.good and "Tesla T4" in finding.found and "jax[cuda12]" in finding.remedy
    monkeypatch.setattr(doctor, "nvidia_card", lambda: None)
    assert next(iter(doctor.device())).good


def test_a_mujoco_that_is_too_new(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, good in (("3.17.0", True), ("4.0.1", False)):
        monkeypatch.setattr(doctor, "installed", lambda name, text=text: text)
        (finding,) = doctor.mujoco()
        assert finding.good == good and text in finding.found
    monkeypatch.setattr(doctor, "installed", lambda name: "missing")
    assert not list(doctor.mujoco())


def test_nothing_that_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "choose", lambda: rendering.Choice(None, "No EGL."))
    (finding,) = doctor.drawing()
    assert not finding.good and "No EGL." in finding.found and "apt install" in finding.remedy

    def refuse():
        raise ValueError("MUJOCO_GL=x names no way to draw.")

    monkeypatch.setattr(rendering, "choose", refuse)
    (finding,) = doctor.drawing()
    assert not finding.good and "MUJOCO_GL=x" in finding.found


def test_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_bytes", lambda: 2**29)
    (finding,) = doctor.memory()
    assert not finding.good and "0.5 GiB" in finding.found and "capacity" in finding.remedy
    monkeypatch.setattr(doctor, "free_bytes", lambda: None)
    assert next(iter(doctor.memory())).good


def test_a_finding_in_words() -> None:
    text = doctor.as_text([Finding("a", True, "here", "x"), Finding("b", False, "gone", "get it")])
    assert (
        text.splitlines()[0].startswith("ok") and "x" not in text.splitlines()[0].split("here")[1]
    )
    assert text.splitlines()[1].startswith("MISS") and text.splitlines()[2].endswith("-> get it")
