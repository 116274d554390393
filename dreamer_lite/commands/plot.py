"""`plot`: training curves of runs, as a figure or as a table."""

import argparse
import json
from pathlib import Path
from typing import Any

from dreamer_lite import files
from dreamer_lite.commands.agents import check_out
from dreamer_lite.commands.output import Refused, say


def plot(args: argparse.Namespace) -> int:
    """Plot the curves of return and losses, or write the returns as a table."""
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
