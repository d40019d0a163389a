"""Progress as one line of a log, and as two bars on a terminal; both fit the width, whatever the labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from advrun.console.course import Course, clock_time, duration

if TYPE_CHECKING:
    from advrun.console.speak import Bar

BAR = 24
"""Columns of a bar."""
SHOWN = 8
"""Workers whose bars are shown; of more only the first."""


def shortened(text: str, width: int, dots: str = "…") -> str:
    """`text` in at most `width` columns: what is left out is the middle, for labels begin with a model and end with an attack."""
    if len(text) <= width:
        return text
    kept = max(width - len(dots), 0)
    return (text[: kept - kept // 2] + dots + text[len(text) - kept // 2 :])[: max(width, 0)]


def cut(text: str, width: int, dots: str = "…") -> str:
    """`text` in at most `width` columns: what is left out is the end."""
    return text if len(text) <= width else text[: max(width - len(dots), 0)].rstrip() + dots[: max(width, 0)]


def one_line(bar: Bar | None, course: Course | None, width: int = 80, dots: str = "…") -> str:
    """`41 %  ends 22:47  attack lnet hybrid pgd linf 8/255 [320/1000]`, for logs."""
    parts = [percent(course), end(course), "" if bar else place(course)] if course else []
    if course and course.workers > 1 and bar:
        parts.append(place(course))
    start = "  ".join(filter(None, parts))
    if bar is None:
        return start
    count = f" [{bar.done}/{bar.total}]"
    start += "  " if start else ""
    label = shortened(bar.label, width - len(start) - len(count), dots)
    line = f"{start}{label}{count}"
    left = width - len(line) - 2
    return f"{line}  {cut(bar.note, left, dots)}" if bar.note and left >= 12 else cut(line, width, dots)


def percent(course: Course) -> str:
    """`41 %`."""
    return f"{round(100 * course.share())} %"


def end(course: Course) -> str:
    """`ends 22:47`; nothing while that is not known."""
    moment = course.ends()
    return f"ends {clock_time(moment)}" if moment else ""


def place(course: Course) -> str:
    """`cell 3 of 88`."""
    return f"cell {max(course.entered, 1)} of {len(course.parts)}"


class Screen:
    """What `rich.live.Live` shows, made anew at each refresh: a line for the run, one for its part, and what the part says of itself."""

    def __init__(self, bars: list[Bar], course: Course | None, dots: str) -> None:
        self.bars, self.course, self.dots = bars, course, dots

    def __rich_console__(self, terminal: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        width = options.max_width - len("100 % ") - BAR - 1
        if self.course and self.course.parts:
            yield self._line(self.course.share(), cut(self._of_all(self.course), width, self.dots))
        newest = {bar.worker: bar for bar in tuple(self.bars)}
        for _, bar in sorted(newest.items())[:SHOWN]:
            count = f" [{bar.done}/{bar.total}]"
            label = shortened(bar.label, width - len(count), self.dots)
            yield self._line(bar.done / max(bar.total, 1), label + count)
            if bar.note:
                yield Text(" " * (len("100 % ") + BAR + 1) + cut(bar.note, width, self.dots), "dim")
        if len(newest) > SHOWN:
            yield Text(f"and {len(newest) - SHOWN} workers more", "dim")

    @staticmethod
    def _of_all(course: Course) -> str:
        return ", ".join(filter(None, (place(course), f"{duration(course.elapsed)} so far", end(course))))

    @staticmethod
    def _line(share: float, text: str) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid()
        for _ in range(3):
            grid.add_column(no_wrap=True)
        grid.add_row(f"{round(100 * share):>3} % ", ProgressBar(1.0, share, width=BAR), Text(f" {text}"))
        return grid
