"""The kinds of work, one file each: `runs/work/KIND.py` holds the function KIND, which does a cell of that kind.

    KIND(worker: Worker, cell: Cell) -> (files, info)

files maps a path of the results folder to a function that writes it; info is what the cell's manifest keeps. What such a file
imports is in the key of its cells (`runs/keys.py`).
"""
