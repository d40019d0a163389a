"""Random numbers that a unit draws from anything but `rng`: they are not the image's own, and no resume brings them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import unwrap
from pathlib import Path
from typing import Any

import numpy as np

from advrun import folders
from advrun.engine.backend import tf
from advrun.errors import PluginError

DRAWING = ("Random", "Multinomial", "TruncatedNormal", "Rng")
"""What the types of operations that draw begin with, `Parameterized`, `Stateless` and `Stateful` aside."""
WITHIN = ("While", "If", "Case", "PartitionedCall")
"""The same of operations that run other graphs."""


@contextmanager
def keyed(function: Callable[..., Any]) -> Iterator[None]:
    """While inside, the unit that `function` belongs to draws from `rng` alone.

    Looked at are operations that it adds to a graph, in loops and branches too: one that draws, in a line of its own file or of another in
    the same folder. What an attacked system draws (dropout that was left on) is no fault of the attack. And NumPy's global numbers, which
    would be drawn once, when the graph is made. Eagerly only the latter.

    Raises PluginError with the file and the line.
    """
    code = getattr(unwrap(getattr(function, "func", function)), "__code__", None)
    if code is None:  # an object that is called: nothing says where it was written
        yield
        return
    file = Path(code.co_filename)
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    before, first = _numpy(), 0 if graph is None else len(graph.get_operations())
    yield
    if _numpy() != before:
        raise PluginError(_refusal(file, code.co_firstlineno, "NumPy's global random numbers, once for all images,"))
    for operation in _drawing(graph, first):
        own = [frame for frame in operation.traceback if "site-packages" not in frame.filename]
        if own and Path(own[-1].filename).parent == file.parent:
            raise PluginError(_refusal(Path(own[-1].filename), own[-1].lineno, f"random numbers ({operation.type})"))


def _refusal(file: Path, line: int, what: str) -> str:
    return (
        f"{folders.shown(file)}:{line}: draws {what} past `rng`; draw from that, as in rng.uniform(x.shape), so that a run can be repeated"
    )


def _numpy() -> tuple[Any, ...]:
    _, key, *rest = np.random.get_state()
    return (np.asarray(key).tobytes(), *rest)


def _drawing(graph: Any, first: int = 0) -> Iterator[Any]:
    """The operations from number `first` on that draw, and those in the graphs that they run."""
    for operation in graph.get_operations()[first:] if graph is not None else ():
        kind = operation.type.removeprefix("Stateless").removeprefix("Stateful").removeprefix("Parameterized")
        if kind.startswith(DRAWING):
            yield operation
        elif kind.startswith(WITHIN):
            for attribute in operation.op_def.attr:
                if attribute.type in ("func", "list(func)"):
                    said = operation.get_attr(attribute.name)
                    for function in said if isinstance(said, list) else [said]:
                        yield from _drawing(getattr(graph._get_function(function.name), "graph", None))
