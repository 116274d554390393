"""How the time of an update grows with batch size, imagination horizon and number of starts."""

from typing import Any

import numpy as np

from dreamer_lite.tools.bench import Note, compile_update, problem

Growth = dict[str, dict[int, tuple[float, float]]]


def growth(preset: str, note: Note) -> Growth:
    """{setting: {value: (seconds per update, MB that XLA plans for it)}} over three doublings."""
    config = problem(preset).config
    length = max(16, config.length)
    doublings = {
        "batch": (config.batch, {}),
        "horizon": (5, {}),
        "starts": (length // 8, {"length": length}),
    }
    found: Growth = {}
    for name, (least, others) in doublings.items():
        found[name] = {}
        for value in (least, 2 * least, 4 * least, 8 * least):
            note(f"{preset}: timing {name} = {value} ...")
            update = compile_update(problem(preset, **others, **{name: value}))
            found[name][value] = update.best(3), update.bytes / 1e6
    return found


def plot(found: Growth, preset: str) -> Any:
    """A matplotlib figure of `growth`: time against each setting, with the best straight line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        x = np.array(list(points), float)
        y = 1e3 * np.array([seconds for seconds, _ in points.values()])
        slope, start = np.polyfit(x, y, 1)
        axes.plot(x, start + slope * x, color="0.5", label="straight line")
        axes.plot(x, y, "o", color="#0072b2", label="measured")
        axes.set(xlabel=name, ylim=(0, None), xticks=x)
    figure.axes[0].set_ylabel("ms per update")
    figure.axes[0].legend(frameon=False)
    figure.suptitle(preset, parse_math=False)
    return figure


def in_words(found: Growth) -> str:
    """One line for each setting."""
    lines = []
    for name, points in found.items():
        values = (f"{x}: {1e3 * t:.1f} ms, {mb:.0f} MB" for x, (t, mb) in points.items())
        lines.append(f"{name:8} {'; '.join(values)}")
    return "\n".join(lines)
