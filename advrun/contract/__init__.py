"""The contract of the units: what every attack, defence, model, data set, metric, threat and bound promises, ours and those of one's own.

One file for each kind, one function for each promise, whose name says what is promised. It raises `Broken` with a sentence; where a unit
cannot make the promise, `Inapplicable` with the reason. The tests and `advrun check --contract NAME` call the same functions.
"""

from advrun.contract.examine import Finding, examine
from advrun.contract.promise import Broken, Inapplicable, Promise

__all__ = ["Broken", "Finding", "Inapplicable", "Promise", "examine"]
