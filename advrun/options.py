"""Options that several commands share, and how their values are read: what no configuration could make right is a wrong command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from advrun.errors import ConfigError


class Read(click.ParamType):  # type: ignore[type-arg]  # older ones take none
    """A value that a function reads. Where that raises ConfigError, the command line is wrong (exit code 2).

    name: what it is, in a word. read: takes the text; imports what it needs itself, so that the command line starts at once.
    """

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What the text says; click calls it for defaults too, and for what was read already."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ConfigError as error:
            option = param.opts[0] if param else ""
            self.fail(str(error).removeprefix(f"{option} "), param, ctx)


def _assignment(text: str) -> str:
    from advrun.config.overrides import parted

    parted(text)
    return text


def _pool(text: str) -> str:
    from advrun import pools

    pools.chosen(text)
    return text


def _shard(text: str) -> Any:
    from advrun.runs.shares import Shard

    return Shard.parse(text)


SET = click.option(
    "--set",
    "overrides",
    type=Read("assignment", _assignment),
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a setting: attacks.0.eps=4/255. Repeatable.",
)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show the plan and what is done; compute nothing.")
WAIT = click.option("--wait", is_flag=True, help="Wait while another process writes the same results folder.")
FAIL_FAST = click.option("--fail-fast", is_flag=True, help="Stop at the first cell that fails.")
YES = click.option("--yes", "spend", is_flag=True, help="Ask services whose answers cost money; without it, only say what they may cost.")
POOL = click.option(
    "--pool",
    type=Read("pool", _pool),
    metavar="NAME[:N]",
    help="Who does the cells: serial, processes, processes:4, ray, ray:HOST:PORT.",
)
SHARD = click.option(
    "--shard",
    "portion",
    type=Read("share", _shard),
    metavar="I/N",
    help="Do the I-th of N shares; N such runs may fill one folder together.",
)
