"""axe-core (Deque Systems, MPL-2.0), which finds what keeps people from using a page: npm fetches it, into a cache of the user's."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from selenium import webdriver

PIN = "axe-core@4.14.1"
SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
"""Of the package; another one is not run."""


def script() -> str:
    """The source of axe. Skips the test where npm is missing or has no network; with CI=true only where npm is missing."""
    npm = shutil.which("npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "advrun-tests"
    kept = cache / (PIN.replace("@", "-") + ".tgz")
    if not kept.is_file():
        if not npm:
            pytest.skip("no npm: axe cannot be fetched (apt-get install npm)")
        _fetch(npm, kept)
    found = hashlib.sha256(kept.read_bytes()).hexdigest()
    if found != SHA256:
        kept.unlink()
        pytest.fail(f"{PIN} has SHA-256 {found}, expected {SHA256}; it was deleted from {kept.parent}")
    with tarfile.open(kept) as archive:
        source = archive.extractfile("package/axe.min.js")
        return source.read().decode() if source else ""


def violations(driver: webdriver.Chrome, source: str, exclude: Sequence[str] = ()) -> list[str]:
    """What axe finds in the page that is open, but for what selectors exclude: rule, element, and what is wrong with it."""
    driver.set_script_timeout(120)
    driver.execute_script(source)
    run = "axe.run({include: [['html']], exclude: arguments[0].map((each) => [each])}).then(arguments[arguments.length - 1])"
    found = driver.execute_async_script(run, list(exclude))
    if not found["passes"]:
        pytest.fail("axe checked nothing")
    return [
        f"{each['id']}: {node['target']} {node['html'][:120]} {node.get('failureSummary', '')[:240]}"
        for each in found["violations"]
        for node in each["nodes"][:3]
    ]


def _fetch(npm: str, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        made = subprocess.run([npm, "pack", PIN, "--silent"], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        if made.returncode:
            said = f"npm cannot fetch {PIN}: {' '.join(made.stderr.split())[:200]}"
            pytest.fail(said) if os.environ.get("CI") == "true" else pytest.skip(said)
        next(Path(folder).glob("*.tgz")).replace(kept)
