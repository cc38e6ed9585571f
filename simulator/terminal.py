"""What a person sees: progress while it runs, a table at the end."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from simulator.tally import Tally

LINE_EVERY_S = 5.0
REFRESH_EVERY_S = 0.5


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def figures(tally: Tally, rate: float) -> dict[str, str]:
    """The figures of the progress display, in their order; ``rate`` in readings/s."""
    latency = tally.latency_ms()
    return {
        "readings/s": f"{rate:,.0f}",
        "accepted": f"{tally.accepted:,}",
        "rejected": f"{tally.rejected:,}",
        "duplicates": f"{tally.duplicates:,}",
        "retried": f"{tally.retried:,}",
        "failed": f"{tally.failed + tally.unknown:,}",
        "in flight": f"{tally.in_flight:,}",
        "p50": _ms(latency["p50"]),
        "p95": _ms(latency["p95"]),
        "p99": _ms(latency["p99"]),
    }


def _board(shown: dict[str, str], elapsed_s: float) -> Table:
    # Two columns, not ten: these fit any terminal.
    table = Table(title=f"Simulator, {elapsed_s:.0f} s", title_justify="left", show_header=False, box=None)
    table.add_column()
    table.add_column(justify="right")
    for name, value in shown.items():
        table.add_row(name, value)
    return table


async def show_progress(tally: Tally, console: Console) -> None:
    """Show the run's progress until cancelled: live on a terminal, a line every 5 s elsewhere."""
    began = monotonic()
    every_s = REFRESH_EVERY_S if console.is_terminal else LINE_EVERY_S
    then, readings = began, 0

    def rate() -> float:
        nonlocal then, readings
        now = monotonic()
        found = (tally.readings - readings) / max(now - then, 1e-9)
        then, readings = now, tally.readings
        return found

    if not console.is_terminal:
        while True:
            await asyncio.sleep(every_s)
            text = "  ".join(f"{name} {value}" for name, value in figures(tally, rate()).items())
            console.print(f"{then - began:5.0f} s  {text}", highlight=False, soft_wrap=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            await asyncio.sleep(every_s)
            live.update(_board(figures(tally, rate()), then - began), refresh=True)


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """The end of a run as a table of two columns."""
    table = Table(title="Simulator", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in summary.items():
        if isinstance(value, int | float):
            table.add_row(name.replace("_", " "), f"{value:,}")
    for name, value in summary["latency_ms"].items():
        table.add_row(f"latency {name}", _ms(value))
    for status, count in summary["statuses"].items():
        table.add_row(f"answers {status}", f"{count:,}")
    console.print(table)
