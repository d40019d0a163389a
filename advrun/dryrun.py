"""What `--dry-run` shows: each cell, whether it is done, who would do it, and for how long."""

from __future__ import annotations

from typing import Any

from advrun.console import write, write_json
from advrun.console.course import about


def show_plan(cells: list[Any], forecast: Any, pool: str, as_json: bool, *, keys: bool = False) -> None:
    """One line for each cell, but for metrics.

    Args:
        cells: `runner.Status` of each.
        forecast: of those that are to be done (`runs/forecast.py`).
        pool: who would do them, such as "processes:4".
        as_json: a line of JSON for each, metrics too.
        keys: show the beginning of each key, and metrics too.
    """
    if as_json:
        for each in cells:
            line = {"cell": each.cell.label, "kind": each.cell.kind, "stage": each.cell.stage, "done": each.done, "key": each.cell.key}
            seconds = forecast.seconds.get(each.cell.key)
            write_json(line | ({} if seconds is None else {"seconds": round(seconds, 2), "worker": forecast.worker[each.cell.key]}))
        return
    workers = len(set(forecast.worker.values()))
    for each in cells:
        if keys or not each.cell.metric:
            key, when = f"{each.cell.key[:12]} " if keys else "", _when(each, forecast, workers)
            write(f"{'done' if each.done else 'to do':<6} {key}{each.cell.stage:<7} {each.cell.kind:<8} {each.cell.label}{when}")
    metrics = [each.done for each in cells if each.cell.metric]
    if metrics:
        write(f"{sum(metrics)} of {len(metrics)} metrics of these rows are done")
    write(f"{sum(each.done for each in cells)} of {len(cells)} cells are done")
    if forecast.seconds:
        how = f"as {forecast.measured} cells before took" if forecast.measured else "a guess, for nothing was measured here yet"
        write(f"the rest takes about {about(forecast.total)} with {pool} ({workers} worker{'s' * (workers > 1)}; {how})")


def _when(each: Any, forecast: Any, workers: int) -> str:
    """`  (about 0:12, worker 2)`."""
    if each.cell.key not in forecast.seconds:
        return ""
    where = f", worker {forecast.worker[each.cell.key]}" if workers > 1 else ""
    return f"  (about {about(forecast.seconds[each.cell.key])}{where})"
