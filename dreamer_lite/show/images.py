"""The parts of films: captions, borders, and the difference of two images.

Numpy arrays in and out, (..., height, width, 3) uint8; text is drawn by Pillow with its own font.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

# Okabe and Ito's palette on a dark ground: readable with every common kind of colour blindness.
GROUND, TEXT, FAINT, LINE = (15, 18, 28), (240, 240, 235), (160, 165, 175), (105, 110, 120)
ORANGE, SKY, GREEN, PURPLE = (230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167)

PANEL = 320  # pixels, the least height or width to which small images are enlarged
STRIPE = 8  # pixels, period of the stripes that distinguish two colours without colour


@functools.lru_cache(maxsize=8)
def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font at `size` pixels."""
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=512)
def caption(
    width: int,
    height: int,
    left: str = "",
    right: str = "",
    size: int = 18,
    colour: Colour = TEXT,
    right_colour: Colour = TEXT,
) -> np.ndarray:
    """One line of text on the dark ground, (height, width, 3) uint8; do not write into it.

    `left` and `right` stand at the two ends; a text that is too long is set smaller.
    """
    strip = Image.new("RGB", (width, height), GROUND)
    draw = ImageDraw.Draw(strip)
    while size > 8 and draw.textlength(f"{left}   {right}", font(size)) > width - 8:
        size -= 1
    draw.text((4, height / 2), left, colour, font(size), anchor="lm")
    draw.text((width - 4, height / 2), right, right_colour, font(size), anchor="rm")
    image = np.asarray(strip)
    image.flags.writeable = False
    return image


def enlarge(frames: np.ndarray, least: int = PANEL) -> np.ndarray:
    """Repeat pixels until the longer side reaches `least`: browsers blur small frames."""
    times = -(-least // max(frames.shape[-3:-1]))
    return frames.repeat(times, -3).repeat(times, -2)


def frame(image: np.ndarray, colour: Colour, width: int, dashed: bool = False) -> np.ndarray:
    """Put a border of `width` pixels around an image (h, w, 3); a dashed one has gaps."""
    h, w = (side + 2 * width for side in image.shape[:2])
    framed = np.empty((h, w, 3), np.uint8)
    framed[:] = colour
    if dashed:
        y, x = np.mgrid[:h, :w]
        along = np.where((y < width) | (y >= h - width), x, y)
        framed[along // (2 * width) % 2 == 1] = GROUND
    framed[width:-width, width:-width] = image
    return framed


def stripes(height: int, width: int) -> np.ndarray:
    """A diagonal pattern (height, width) bool, on in half of the pixels."""
    return np.add(*np.mgrid[:height, :width]) // (STRIPE // 2) % 2 == 0


def difference(dream: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Where two images (h, w, 3) differ, on a faint grey copy of the real one.

    Plain orange where the imagined image is brighter, striped blue where the real one is: the
    stripes distinguish the two also without colour.
    """
    signed = dream.astype(np.float32) - real
    largest = np.take_along_axis(signed, np.abs(signed).argmax(-1)[..., None], -1)
    strength = np.clip(1.5 * largest / 255, -1, 1)
    grey = 0.25 * real.mean(-1, keepdims=True) + 0.75 * np.array(GROUND)
    striped = stripes(*real.shape[:2])[..., None]
    missing = np.where(striped, SKY, 0.45 * np.array(SKY))
    image = grey + np.maximum(strength, 0) * (np.array(ORANGE) - grey)
    image += np.maximum(-strength, 0) * (missing - grey)
    return np.round(np.clip(image, 0, 255)).astype(np.uint8)


def painter(world: Any, seen: Iterable[dict[str, np.ndarray]]) -> Callable[..., np.ndarray]:
    """A function from one observation, real or imagined, to an image (h, w, 3) uint8.

    It is the world's own `render`, or, where a world cannot draw its observations, gauges: a line
    per number, whose ends are the extremes of `seen`, observations with any leading axes.
    """
    spaces = dict(sorted(world.obs_space.items()))
    first = {key: np.zeros(space.shape, space.dtype) for key, space in spaces.items()}
    if world.render(first) is not None:
        return lambda obs: enlarge(world.render(obs))
    names = []
    for key, space in spaces.items():
        names += [key] if space.size == 1 else [f"{key} {i}" for i in range(space.size)]
    flat = np.concatenate([as_numbers(obs, spaces).reshape(-1, len(names)) for obs in seen])
    low, high = flat.min(0), flat.max(0)
    return lambda obs: gauges(as_numbers(obs, spaces), low, high, names)


def as_numbers(obs: dict[str, np.ndarray], spaces: dict[str, Any]) -> np.ndarray:
    """Observations with leading axes (...) as (..., n) float32; classes as one-hot."""
    parts = []
    for key, space in spaces.items():
        x = np.asarray(obs[key])
        if space.is_discrete and x.dtype.kind in "iu":
            x = np.eye(space.classes)[x]
        lead = x.ndim - len(space.shape) - space.is_discrete
        parts.append(x.reshape(*x.shape[:lead], -1).astype(np.float32))
    return np.concatenate(parts, -1)


def gauges(values: np.ndarray, low: np.ndarray, high: np.ndarray, names: list[str]) -> np.ndarray:
    """A line per number with a disc where it stands between `low` and `high`, all (n,).

    (PANEL, PANEL, 3) uint8. The names are left out where the lines are too close for them.
    """
    image = Image.new("RGB", (PANEL, PANEL), GROUND)
    draw = ImageDraw.Draw(image)
    step = PANEL / len(values)
    named = step >= 16
    left, right = (PANEL * 0.36 if named else 16), PANEL - 16
    position = np.clip((values - low) / np.maximum(high - low, 1e-8), 0, 1)
    radius = min(8.0, 0.4 * step)
    for i, name in enumerate(names):
        y = (i + 0.5) * step
        if named:
            draw.text((8, y), name, TEXT, font(14), anchor="lm")
        draw.line((left, y, right, y), LINE, 2)
        x = left + position[i] * (right - left)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), SKY)
    return np.asarray(image)


def pad_to_even(frames: np.ndarray) -> np.ndarray:
    """Add a dark row or column where height or width is odd: H.264 wants even sizes."""
    odd_height, odd_width = frames.shape[-3] % 2, frames.shape[-2] % 2
    if not (odd_height or odd_width):
        return frames
    shape = (*frames.shape[:-3], frames.shape[-3] + odd_height, frames.shape[-2] + odd_width, 3)
    padded = np.empty(shape, np.uint8)
    padded[:] = GROUND
    padded[..., : frames.shape[-3], : frames.shape[-2], :] = frames
    return padded


BORDER, GAP, BAR = 8, 16, 6  # pixels


def side_by_side(
    panels: Sequence[np.ndarray],
    titles: Sequence[str],
    notes: Sequence[str],
    borders: Sequence[tuple[Colour, bool]],
    last_note: Callable[[int], np.ndarray] | None = None,
) -> np.ndarray:
    """Framed images (h, w, 3) in a row, with titles above and notes below.

    A border is a colour and whether it is dashed. `last_note` draws the note below the last
    panel from its width, if `notes` has none for it.
    """
    framed = [frame(x, y[0], BORDER, y[1]) for x, y in zip(panels, borders, strict=True)]
    width = framed[0].shape[1]
    above = [caption(width, 32, title, size=20) for title in titles]
    below = [caption(width, 36, note) for note in notes]
    below += [last_note(width)] if last_note else []
    columns = [np.concatenate(parts) for parts in zip(above, framed, below, strict=True)]
    gap = np.full((columns[0].shape[0], GAP, 3), GROUND, np.uint8)
    return np.concatenate([gap, *(part for column in columns for part in (column, gap))], 1)


def triptych(
    panels: list[np.ndarray],
    titles: list[str],
    notes: list[str],
    observing: bool,
    header: str,
    corner: str,
    done: float,
    closing: float,
) -> np.ndarray:
    """Reality, dream and difference (h, w, 3) in a row, with titles above and notes below.

    The border of the imagined rollout (the dream) is green and plain while `observing`, purple and
    dashed in open loop; `header` says it in words. `notes` stand below the first two panels, the
    key to the difference below the third. A bar fills with `done` in [0, 1]; its mark at `closing`
    is where the open loop begins. Height and
    width of the result are even.
    """
    colour = GREEN if observing else PURPLE
    borders = [(FAINT, False), (colour, not observing), (FAINT, False)]
    body = side_by_side(panels, titles, notes, borders, key_to_difference)
    width = body.shape[1]
    head = caption(width - 2 * GAP, 44, header, corner, 26, colour, FAINT)
    bar = np.full((BAR, width - 2 * GAP, 3), 40, np.uint8)
    filled, closed = round(done * bar.shape[1]), round(closing * bar.shape[1])
    bar[:, :filled] = PURPLE
    bar[:, : min(filled, closed)] = GREEN
    bar[:, max(0, closed - 1) : closed + 1] = TEXT
    side = np.full((head.shape[0] + BAR, GAP, 3), GROUND, np.uint8)
    top = np.concatenate([side, np.concatenate([head, bar]), side], 1)
    return pad_to_even(np.concatenate([top, body]))


@functools.lru_cache(maxsize=8)
def key_to_difference(width: int) -> np.ndarray:
    """What orange and striped blue mean, (36, width, 3) uint8."""
    image = np.array(caption(width, 36))
    half = width // 2
    image[:, 28:half] = caption(half - 28, 36, "only imagined", size=16)
    image[:, half + 28 :] = caption(width - half - 28, 36, "only real", size=16)
    image[10:26, 8:24] = ORANGE
    blue = np.where(stripes(16, 16)[..., None], SKY, 0.45 * np.array(SKY))
    image[10:26, half + 8 : half + 24] = blue.astype(np.uint8)
    return image
