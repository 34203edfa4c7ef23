"""What else decides a run's bits: package versions, fedpriv's own source, and the CPU's features."""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fedpriv

_PACKAGES = (
    "torch", "numpy", "flwr", "opacus", "dp-accounting", "hydra-core", "omegaconf", "safetensors",
    "pyarrow", "filelock", "rich", "scikit-learn", "scipy", "mlxtend", "matplotlib",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """The installed version of each package a run uses, of fedpriv and Python; missing ones left out."""
    found = {"fedpriv": fedpriv.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def source_revision() -> str:
    """A short hash of every `*.py` file of the installed fedpriv, the same with and without git."""
    root = Path(fedpriv.__file__).parent
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py")):
        data = (root / name).read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()[:16]


@cache
def cpu_features() -> Mapping[str, str]:
    """What chooses the CPU kernels: architecture, processor, instruction sets, torch's own choice."""
    import torch

    info = _processor()
    flags = sorted((info.get("flags") or info.get("Features") or "").split())
    return {
        "machine": platform.machine(),
        "processor": info.get("model name") or platform.processor(),
        "flags": hashlib.sha256(" ".join(flags).encode()).hexdigest()[:16],
        "torch": torch.backends.cpu.get_cpu_capability(),
    }


def environment_fingerprint() -> dict[str, Any]:
    """All of the above as JSON values, to be kept in a checkpoint and compared (`difference`) on resume."""
    return {"packages": package_versions(), "revision": source_revision(), "cpu": dict(cpu_features())}


def difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, one phrase a difference; empty where they are equal."""
    before, after = _flat(then), _flat(now)
    return [
        f"{name} was {before.get(name, 'absent')}, is {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _flat(fingerprint: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fingerprint.items():
        flat |= _flat(value, f"{prefix}{name} ") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _processor() -> dict[str, str]:
    """The first processor in Linux's /proc/cpuinfo; empty elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
