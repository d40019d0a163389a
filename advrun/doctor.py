"""`advrun doctor`: what runs here, on what, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from importlib.metadata import PackageNotFoundError

KERAS_FLOOR = (3, 15, 1)
"""Older versions can be made to run code, or read files of the host, by a model file (CVE-2026-1462 and before)."""
PACKAGES = (
    *("tensorflow", "keras", "numpy", "click", "pyyaml", "h5py", "pydantic"),
    *("rich", "pillow", "scipy", "matplotlib", "jinja2", "filelock", "lazy_loader"),
)
OPTIONAL = {
    "ray": "runs on several machines",
    "google-cloud-vision": "attacks on Google Cloud Vision",
    "starlette": "advrun page",
    "uvicorn": "advrun page",
}


def examine() -> tuple[dict[str, str], list[str]]:
    """What there is, by name, and what stands in the way of a run, in words."""
    report, problems = {"advrun": _version("advrun"), "python": platform.python_version()}, []
    for package in PACKAGES:
        report[package] = _version(package)
        if report[package] == "missing":
            problems.append(f"{package} is missing: pip install {package}")
    keras = report["keras"]
    if keras != "missing" and _numbers(keras) < KERAS_FLOOR:
        floor = ".".join(map(str, KERAS_FLOOR))
        problems.append(f"keras {keras} is older than {floor}, which loads model files unsafely: pip install 'keras>={floor}'")
    for package, purpose in OPTIONAL.items():
        version = _version(package)
        report[package] = version if version != "missing" else f"not installed (optional: {purpose})"
    if not problems:
        report |= _devices()
    report["cores"] = str(os.cpu_count())
    report["memory"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return report, problems


def _devices() -> dict[str, str]:
    from advrun import engine

    names = engine.devices()
    gpu = engine.has_gpu()
    enabled = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "") == "1"
    return {
        "devices": ", ".join(names),
        "GPU": "used, with memory growth and XLA" if gpu else "none found: TensorFlow computes on the CPU",
        "oneDNN": "on" if enabled else "off (TF_ENABLE_ONEDNN_OPTS=0 in the environment); 2 to 4 x slower on a CPU",
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except PackageNotFoundError:
        return "missing"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
