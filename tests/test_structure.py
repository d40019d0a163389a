"""Architecture as a test: one door to TensorFlow, imports that only go down, and a command line that starts at once."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import advrun

PACKAGE = Path(advrun.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
RANKS = [
    ["errors", "types", "__init__"],
    ["files", "console", "folders", "fonts", "process", "pools"],
    ["npz", "hdf5", "images"],
    ["checkpoints", "registry", "engine"],
    ["config", "geometry"],
    ["losses", "data", "masked", "jpeg", "dcgan"],
    ["system", "results", "paired", "meanings", "closest"],
    ["proof", "optimality"],
    ["evidence", "agreement", "roc"],
    ["flags"],
    ["certificates"],
    ["contradictions"],
    ["worst", "metrics", "probed", "datasets", "download"],
    ["lesson", "samples"],
    ["attack"],
    ["robust"],
    ["train"],
    ["turns"],
    ["batchwise"],
    ["craft", "defend"],
    ["survey", "certify", "retry", "planted", "identity"],
    ["evaluate"],
    ["api"],
    ["bounds"],
    ["models", "attacks", "defenses", "layers", "threats"],
    ["report"],
    ["runs", "doctor"],
    ["dryrun", "options", "serve"],
    ["cell", "contract", "physical", "prove", "compare", "upkeep", "verdicts", "verify"],
    ["picture", "ledger"],
    ["cli"],
    ["__main__"],
]
INNER = {
    "config": [
        ["yamlfile"],
        ["forms", "overrides"],
        ["mappings", "sweeps"],
        ["entries"],
        ["chains"],
        ["experiment", "describe"],
        ["__init__"],
    ],
    "system": [
        ["formats", "repair", "copies", "detectors"],
        ["stages"],
        ["modelfile", "inputs"],
        ["ends", "draws"],
        ["foreign", "votes"],
        ["candidates", "oracle"],
        ["readings"],
        ["classifier", "ledger", "vocabulary", "wire"],
        ["readout", "witness"],
        ["binarised"],
        ["blackbox", "climbing"],
        ["check"],
        ["__init__"],
    ],
    "console": [["spelling", "speeds"], ["course"], ["screen", "listening"], ["speak"], ["relay"], ["__init__"]],
    "pools": [["__init__"], ["_machine", "_child", "_post"], ["_cluster"], ["serial", "processes", "ray"]],
    "contract": [
        ["victims", "promise"],
        ["distances", "systems", "oracles"],
        ["attacks", "defenses", "models", "datasets", "metrics", "threats", "bounds"],
        ["examine"],
        ["__init__"],
    ],
    "runs": [
        ["__init__"],
        ["keys", "meetings"],
        ["metering", "needs"],
        ["possible"],
        ["loading", "plan"],
        ["board", "crew", "expected", "outcomes"],
        ["manifest"],
        ["index"],
        ["claims", "columns", "examples", "shares", "store"],
        ["log", "record"],
        ["gallery", "known", "oracles", "pictured", "proofs", "untouched"],
        ["kept"],
        ["forecast"],
        ["leftovers", "standing"],
        ["opened", "freight"],
        ["work"],
        ["hand"],
        ["outpost", "schedule", "signals"],
        ["runner"],
        ["proving"],
    ],
    "compare": [["__init__"], ["sides"], ["changes"], ["pairs"], ["told"], ["shown"], ["commands"]],
    "physical": [["__init__"], ["chosen", "sheet", "corners", "table"], ["photos"], ["commands"]],
    "verify": [["__init__"], ["minutes"], ["seals"], ["rows"], ["pages", "examples"], ["whole"], ["commands"]],
    "ledger": [["__init__"], ["taken", "shown"], ["results", "files"], ["commands"]],
    "picture": [["__init__"], ["pixels", "bench", "thread"], ["study"], ["answers", "drawing"], ["server"], ["commands"]],
}
"""The order within the rooms."""
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}


def module(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_the_engine_imports_tensorflow_and_keras(file):
    used = {name.split(".")[0] for name in imports(file)}
    if module(file) != "engine":
        assert not used & {"tensorflow", "tf_keras", "keras"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down(file):
    for name in imports(file, top_level_only=True):
        parts = name.split(".")
        if parts[0] == "advrun" and len(parts) > 1 and parts[1] in RANK:
            assert RANK[parts[1]] <= RANK[module(file)], f"{file.name} imports {name}"


@pytest.mark.parametrize("room", INNER)
def test_imports_go_down_within_a_room(room):
    rank = {name: number for number, names in enumerate(INNER[room]) for name in names}
    for file in (PACKAGE / room).rglob("*.py"):
        own = file.relative_to(PACKAGE / room).parts[0].removesuffix(".py")
        for name in imports(file, top_level_only=True):
            parts = name.split(".")
            if parts[:2] == ["advrun", room] and len(parts) > 2 and parts[2] in rank:
                assert rank[parts[2]] <= rank[own], f"{file.name} imports {name}"
        assert own in rank


def test_every_module_has_a_rank():
    assert {module(file) for file in FILES} <= set(RANK)


def test_no_two_things_of_one_name():
    """A class name means one thing in the whole package; the private workings of attacks aside."""
    places: dict[str, list[str]] = {}
    for file in FILES:
        if module(file) == "attacks":
            continue
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(file.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@pytest.mark.parametrize(
    "code", ["import advrun.cli", "from advrun import attacks, Linf, Classifier", "import advrun.config, advrun.config.describe"]
)
def test_importing_loads_no_tensorflow(code):
    check = f"{code}; import sys; sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'matplotlib', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_no_asserts_and_no_prints_in_the_package():
    for file in FILES:
        tree = ast.parse(file.read_text())
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), file
        if module(file) != "console":
            calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
            assert "print" not in calls, file
