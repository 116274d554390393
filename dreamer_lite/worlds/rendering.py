"""How MuJoCo draws without a screen: chosen before its first import, which settles it for good.

`MUJOCO_GL` is respected where the user has set it. Else EGL is taken if it really starts, else
OSMesa if its library is there. If neither, drawing is off: physics works, and only a request for
an image ends in a sentence with what to install. `dmc` and `dreamer-lite doctor` use this module.
"""

import atexit
import concurrent.futures
import ctypes
import ctypes.util
import functools
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

VARIABLE = "MUJOCO_GL"
BACKENDS = ("egl", "osmesa", "glfw")
OFF = ("off", "disable", "disabled", "false", "0")  # as dm_control has it
ON = ("on", "enable", "enabled", "true", "1")  # a window system, glfw
REMEDY = "run `sudo apt install libegl1 libgl1` (or `libosmesa6`) and start again"


class Choice(NamedTuple):
    """What draws, and why; `backend` is "egl", "osmesa", "glfw", or None if nothing can."""

    backend: str | None
    reason: str  # one sentence


@functools.cache
def choose() -> Choice:
    """Chooses once, and sets MUJOCO_GL for all that is imported later.

    Raises:
      ValueError: MUJOCO_GL is set to something that would break the import; one sentence.
    """
    if "dm_control._render" in sys.modules:
        return _too_late(sys.modules["dm_control._render"].BACKEND)
    wanted = os.environ.get(VARIABLE)
    if wanted == "":  # as good as not set; dm_control would insist on a window
        del os.environ[VARIABLE]
    elif wanted is not None:
        return _as_set(wanted.lower(), wanted)
    if sys.platform != "linux":
        return Choice("glfw", f"{sys.platform} draws by its own window system.")
    only = os.environ.get("PYOPENGL_PLATFORM")  # dm_control's import fails with another
    for backend, works in (("egl", egl_starts), ("osmesa", osmesa_loads)):
        if only in (None, "", backend) and works():
            os.environ[VARIABLE] = backend
            return Choice(backend, f"{backend} works here and was chosen ({VARIABLE} was not set).")
    if window_opens():
        return Choice("glfw", "There is a screen, and neither EGL nor OSMesa.")
    os.environ[VARIABLE] = "off"  # else dm_control tries a window, with a warning that helps nobody
    return Choice(None, f"No image can be drawn without EGL or OSMesa: {REMEDY}.")


def _too_late(backend: str | None) -> Choice:
    """The choice when dm_control was imported by somebody else, who settled it."""
    if backend in ("egl", "osmesa") or (backend == "glfw" and not _screenless()):
        return Choice(backend, f"dm_control was imported earlier, and took {backend}.")
    return Choice(
        None,
        f"dm_control was imported earlier, without a way to draw: start again with {VARIABLE}=egl.",
    )


def _screenless() -> bool:
    return sys.platform == "linux" and not os.environ.get("DISPLAY")


def _as_set(wanted: str, written: str) -> Choice:
    """The choice when MUJOCO_GL is set."""
    os.environ[VARIABLE] = wanted  # dm_control knows no capitals
    if wanted in OFF:
        return Choice(None, f"{VARIABLE}={written} turns drawing off: unset it to draw.")
    if wanted not in BACKENDS + ON:
        raise ValueError(
            f"{VARIABLE}={written} names no way to draw: set it to egl or osmesa, or unset it."
        )
    works = {"egl": egl_starts, "osmesa": osmesa_loads}.get(wanted)
    if works is not None and not works():
        raise ValueError(f"{VARIABLE}={written} does not work here: unset it, or {REMEDY}.")
    if works is None and sys.platform == "linux" and not window_opens():
        os.environ[VARIABLE] = "off"
        return Choice(None, f"{VARIABLE}={written} draws on a screen, and there is none: unset it.")
    return Choice(wanted if wanted in BACKENDS else "glfw", f"{VARIABLE}={written} was set.")


def require() -> Choice:
    """The choice, where an image is needed. Raises ValueError, one sentence, if none can be."""
    choice = choose()
    if choice.backend is None:
        raise ValueError(choice.reason)
    return choice


def describe() -> str:
    """One sentence for `doctor`; never raises."""
    try:
        return choose().reason
    except ValueError as error:
        return str(error)


def egl_starts() -> bool:
    """Whether EGL's library loads and one of its devices opens, as dm_control will ask for it.

    A library without a driver would make the import of dm_control fail, physics included.
    """
    query_devices, platform_device = b"eglQueryDevicesEXT", 0x313F
    pointer, handles = ctypes.c_void_p, ctypes.c_void_p * 16
    try:
        egl = ctypes.CDLL("libEGL.so.1")
        ctypes.CDLL("libGL.so.1")
        egl.eglGetProcAddress.restype = pointer
        found = [egl.eglGetProcAddress(x) for x in (query_devices, b"eglGetPlatformDisplayEXT")]
        if not all(found):
            return False
        count = ctypes.c_int()
        query = ctypes.CFUNCTYPE(
            ctypes.c_uint, ctypes.c_int, ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_int)
        )(found[0])
        display_of = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(found[1])
        devices = handles()
        if not query(len(devices), devices, ctypes.byref(count)):
            return False
        egl.eglInitialize.argtypes = [pointer, pointer, pointer]
        displays = [display_of(platform_device, d, None) for d in devices[: count.value]]
        return any(display and egl.eglInitialize(display, None, None) for display in displays)
    except (OSError, AttributeError):
        return False


@functools.cache
def window_opens() -> bool:
    """Whether a window opens on the screen that DISPLAY names, tried in a process of its own.

    DISPLAY may name a screen that is gone, and a window needs libGL as well: then dm_control would
    fail at the first image.
    """
    if _screenless():
        return False
    program = (
        "import glfw, sys; glfw.init(); glfw.window_hint(glfw.VISIBLE, 0); "
        "sys.exit(not glfw.create_window(8, 8, '', None, None))"
    )
    try:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def osmesa_loads() -> bool:
    """Whether OSMesa's library is there."""
    name = ctypes.util.find_library("OSMesa")
    try:
        return name is not None and ctypes.CDLL(name) is not None
    except OSError:
        return False


# An OpenGL context belongs to the thread that made it, and training may step in any thread.
# So one thread, which runs until Python ends, does all the drawing.

_tasks: queue.SimpleQueue = queue.SimpleQueue()
_open: weakref.WeakSet = weakref.WeakSet()


def on_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Calls `function` on the drawing thread and waits; it raises what the function raises.

    A window system is the exception: it wants the main thread, so there it is the caller's.
    """
    if choose().backend == "glfw" or threading.current_thread() is _start_thread():
        return function(*args)
    answer: concurrent.futures.Future = concurrent.futures.Future()
    _tasks.put((answer, function, args))
    return answer.result()


@functools.cache
def _start_thread() -> threading.Thread:
    thread = threading.Thread(target=_draw_for_others, name="drawing", daemon=True)
    thread.start()
    return thread


def _draw_for_others() -> None:
    while True:
        answer, function, args = _tasks.get()
        try:
            answer.set_result(function(*args))
        except BaseException as error:  # for the caller, who waits
            answer.set_exception(error)
        del answer, function, args


def free_with(owner: Any, physics: Any) -> Callable[[], Any]:
    """Frees a physics when its owner is forgotten, or earlier, when the result is called."""
    finalizer = weakref.finalize(owner, on_thread, physics.free)
    finalizer.atexit = False
    return finalizer


def free_before_dm_control(physics: Any) -> None:
    """Frees a physics when Python ends, before dm_control tries to, from the wrong thread.

    To be called after a context was made, which registers what dm_control does at the end.
    """
    _open.add(physics)
    atexit.unregister(_free_all)
    atexit.register(_free_all)  # what is registered last runs first


def _free_all() -> None:
    for physics in list(_open):
        on_thread(physics.free)
