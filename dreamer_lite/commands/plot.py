"""`plot`: training curves of runs or of a sweep, as a figure or as a table."""

import argparse
import json
from pathlib import Path
from typing import Any

from dreamer_lite import files
from dreamer_lite.commands.agents import check_out
from dreamer_lite.commands.output import Refused, refusing, say


def plot(args: argparse.Namespace) -> int:
    """Plot the curves of return and losses, or write the returns as a table."""
    if args.sweep is not None:
        return plot_sweep(args.sweep, args.out)
    check_out(args.out, ".png", ".svg", ".csv")
    curves = [(folder.absolute().name, read_metrics(folder)) for folder in args.run]
    from dreamer_lite.show import plots

    if args.out.suffix == ".csv":
        args.out.write_text(plots.as_csv(curves), encoding="utf-8", errors="surrogateescape")
    else:
        plots.curves(curves).savefig(args.out, dpi=150)
    say(plots.describe_curves(curves))
    say(f"The curves: {args.out}")
    return 0


def plot_sweep(folder: Path, out: Path) -> int:
    """Plot a band for each setting, or write the table of the settings; print the table."""
    check_out(out, ".png", ".svg", ".csv", ".json")
    from dreamer_lite.runs import sweep as sweeps
    from dreamer_lite.show import sweeps as bands

    with refusing():
        sweep = sweeps.Sweep(sweeps.read_request(folder), folder)
    settings: dict[str, list[bands.Curve]] = {label: [] for label in sweep.settings}
    for run in sweep.runs:
        if (folder / run.name / "summary.json").exists():  # else nothing has been saved yet
            settings[run.setting] += read_curve(folder / run.name)
    with refusing():
        bands.check(settings)
    rows = bands.table(settings)
    if out.suffix == ".csv":
        out.write_text(bands.as_csv(rows), encoding="utf-8")
    elif out.suffix == ".json":
        about = sweep.request._asdict()
        out.write_text(json.dumps(about | bands.as_json(settings)) + "\n", encoding="utf-8")
    else:
        bands.draw(settings, sweep.request.world).savefig(out, dpi=150)
    say(bands.as_text(rows))
    say(f"The {'bands' if out.suffix in ('.png', '.svg') else 'table'}: {out}")
    return 0


def read_curve(folder: Path) -> list[Any]:
    """The curve of a run from its first finished episode on; none before it."""
    import numpy as np

    from dreamer_lite.show import plots, sweeps

    records = plots.with_episodes(read_metrics(folder))
    if not records:
        return []
    try:
        summary = json.loads(files.read_regular(folder / "summary.json"))
        repeat = summary["env_frames"] / summary["agent_steps"]  # frames per agent step
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise Refused(f"{folder / 'summary.json'} is missing or damaged ({error}).") from error
    names = ("agent_steps", "seconds", "return_mean")
    steps, seconds, returns = (plots.column(records, name) for name in names)
    return [sweeps.Curve(np.round(steps * repeat), seconds, returns)]


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The progress records of a run, without a last line that is still being written.

    Raises Refused if there are none, or if the file is damaged.
    """
    from dreamer_lite.show import plots

    file = folder / "metrics.jsonl"
    try:
        lines = files.read_regular(file).splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith(b"\n")]
    except OSError as error:
        raise Refused(f"Cannot read {file} ({error.strerror}): name a run folder.") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{file} is damaged: {error}.") from error
    for number, record in enumerate(records, 1):
        if not plots.is_record(record, records[0]):
            raise Refused(f"{file} is damaged: line {number} is no progress record.")
    if not records:
        raise Refused(f"{file} holds no records yet.")
    return records
