"""What a person sees while advrun works: bars on a terminal, plain lines elsewhere, JSON lines with --json, or nothing."""

from advrun.console.course import Course
from advrun.console.relay import Relay
from advrun.console.speak import Bar, Console, write, write_json
from advrun.console.speeds import Part, Speeds
from advrun.console.spelling import spelt

__all__ = ["Bar", "Console", "Course", "Part", "Relay", "Speeds", "spelt", "write", "write_json"]
