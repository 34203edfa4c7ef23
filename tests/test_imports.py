"""Every module imports, every public name exists, and imports point one way (docs/architecture.md)."""

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedpriv

PACKAGE = Path(fedpriv.__file__).parent
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "fedpriv.") if "__main__" not in m.name)

# What each room (a folder or module of the package) may import from its neighbours, itself apart.
BASICS = {"errors", "streams"}
BELOW_TRAINING = BASICS | {"data", "models", "accounting", "privacy"}
BELOW_FEDERATION = BELOW_TRAINING | {"training"}
BELOW_RUNTIMES = BELOW_FEDERATION | {"federation"}
GLUE = {"config", "config_checks", "config_schema", "config_words", "own_code", "experiment"}
GLUE |= {"progress", "interactive", "flower_apps", "typed_code", "sweeps", "replays"}
GLUE |= {"cli", "__main__", "__init__"}
READERS = {"attacks", "audits", "conformance", "evaluation", "records", "reports", "runs", "verification", "tracking"}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "streams": set(),
    "data": BASICS,
    "models": BASICS,
    "targets": BASICS,
    "accounting": BASICS,
    "privacy": BASICS | {"accounting"},
    "training": BELOW_TRAINING,
    "federation": BELOW_FEDERATION,
    "runtimes": BELOW_RUNTIMES,
    "attacks": BELOW_FEDERATION,
    "audits": BASICS | {"accounting", "training"},
    "conformance": BELOW_RUNTIMES | {"runtimes", "records", "targets"},
    "evaluation": BELOW_FEDERATION,
    "records": BASICS,
    "tracking": BASICS | {"records"},
    "verification": BASICS | {"accounting", "audits", "records"},
    "runs": BASICS | {"accounting", "records", "verification"},
    "reports": BELOW_RUNTIMES | READERS,
    # The glue sees a config, or brings rooms together; nothing in a room knows of it.
    "config_words": set(),
    "own_code": BASICS | {"targets", "typed_code"},
    "typed_code": set(),
    "config_schema": set(),
    "config_checks": BASICS | {"accounting", "config_schema"},
    "config": BASICS | {"config_checks", "config_schema", "config_words"},
    "experiment": BELOW_RUNTIMES | READERS | {"runtimes", "config", "own_code", "targets"},
    "progress": {"accounting", "records", "reports"},
    "replays": BASICS | {"config", "experiment", "records", "tracking"},
    "interactive": BASICS
    | {"config", "experiment", "progress", "records", "replays", "runs", "runtimes", "sweeps", "targets"},
    "flower_apps": BASICS | {"config", "experiment", "federation", "progress"},
    "sweeps": BELOW_RUNTIMES | READERS | {"targets"} | GLUE - {"cli", "__main__", "__init__"},
    "cli": BELOW_RUNTIMES | READERS | {"runtimes", "targets"} | GLUE - {"__main__", "__init__"},
    "__main__": {"cli"},
    "__init__": {"interactive", "reports", "runs"},
}

LIBRARIES: dict[str, set[str]] = {
    "flwr": {"federation", "runtimes", "conformance"},
    "opacus": {"training", "accounting"},
    "hydra": {"config", "sweeps", "cli"},
    "omegaconf": {"config", "sweeps", "cli"},
    "ray": {"runtimes"},
    "art": {"attacks"},
}
PUBLIC_FLOWER = {
    "flwr.app",
    "flwr.clientapp",
    "flwr.clientapp.mod",
    "flwr.serverapp",
    "flwr.serverapp.strategy",
    "flwr.simulation",
}
PRIVATE_FLOWER_MODULE = "runtimes/flower_private.py"


def imported(source: str, package: str) -> Iterator[str]:
    """Absolute dotted names that a module of ``package`` imports, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if base in ("fedpriv", "flwr"))


def violations(path: str, source: str) -> list[str]:
    """What a module at ``path`` (relative to the package) imports against the rules."""
    room = Path(path).parts[0].removesuffix(".py")
    package = ".".join(["fedpriv", *Path(path).parts[:-1]])
    found = []
    for name in imported(source, package):
        top, _, rest = name.partition(".")
        if top in LIBRARIES and room not in LIBRARIES[top]:
            found.append(f"{path}: {top} belongs in {', '.join(sorted(LIBRARIES[top]))} only")
        if top == "flwr" and path != PRIVATE_FLOWER_MODULE and name not in PUBLIC_FLOWER | {"flwr"}:
            found.append(f"{path}: {name} is not public API of Flower; put it in {PRIVATE_FLOWER_MODULE}")
        neighbour = rest.partition(".")[0]
        if top == "fedpriv" and neighbour in ROOMS and neighbour not in ROOMS[room] | {room}:
            found.append(f"{path}: {room} must not know {neighbour}")
    return found


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_module_imports_and_has_every_public_name(name):
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert len(set(public)) == len(public)
    assert [n for n in public if not hasattr(module, n)] == []


def test_every_module_is_found():
    assert len(MODULES) >= len([p for p in sources() if p.name not in ("__init__.py", "__main__.py")])


def test_every_room_has_its_rule():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in sources()}
    assert rooms - set(ROOMS) == set()


def test_imports_point_one_way():
    found = [v for p in sources() for v in violations(p.relative_to(PACKAGE).as_posix(), p.read_text())]
    assert found == []


def test_no_room_knows_the_glue():
    assert all(ROOMS[room].isdisjoint(GLUE) for room in ROOMS if room not in GLUE)


def test_rules_have_no_cycle():
    def reach(room: str, path: tuple[str, ...]) -> None:
        assert room not in path, " -> ".join([*path, room])
        for neighbour in ROOMS[room]:
            reach(neighbour, (*path, room))

    # Readers read each other's files freely; below them the street has one way.
    for room in set(ROOMS) - READERS - GLUE:
        reach(room, ())


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("data/planted.py", "from fedpriv.privacy import Mechanism"),
        ("data/planted.py", "import fedpriv.models.dense"),
        ("models/planted.py", "def f():\n    from fedpriv import data"),
        ("privacy/planted.py", "from ..training import Task"),
        ("privacy/mechanisms/planted.py", "from ...federation.messages import TrainTask"),
        ("training/planted.py", "from fedpriv.federation import Node"),
        ("federation/planted.py", "from fedpriv.config import Config"),
        ("federation/planted.py", "from fedpriv.evaluation import accuracy_spread"),
        ("runtimes/planted.py", "from fedpriv.records.run_folder import RunFolder"),
        ("records/planted.py", "from fedpriv.federation import ServerState"),
        ("experiment/assembly.py", "from flwr.clientapp import ClientApp"),
        ("evaluation/planted.py", "if True:\n    import flwr"),
        ("federation/planted.py", "from opacus import PrivacyEngine"),
        ("privacy/planted.py", "import omegaconf"),
        ("experiment/lifecycle.py", "from hydra.utils import instantiate"),
        ("experiment/lifecycle.py", "def f():\n    import ray"),
        ("experiment/lifecycle.py", "from art.estimators import classification"),
        ("federation/planted.py", "from flwr.server.strategy import FedAvg"),
        ("federation/planted.py", "from flwr import server"),
        ("runtimes/inprocess.py", "from flwr.supercore.run import Run"),
        ("experiment/lifecycle.py", "from fedpriv import cli"),
    ],
)
def test_a_planted_import_is_caught(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("privacy/mechanisms/fine.py", "from ..clipping import ClippingGrid\nfrom fedpriv.streams import Streams"),
        ("federation/fine.py", "from flwr.serverapp.strategy import FedAvg\nfrom . import messages"),
        ("runtimes/flower_private.py", "from flwr.supercore.run import Run"),
        ("config.py", "import hydra\nfrom fedpriv import __version__"),
        ("cli.py", "from fedpriv.experiment import run"),
    ],
)
def test_an_allowed_import_passes(path, source):
    assert violations(path, source) == []


def test_flower_is_told_to_stay_silent_before_it_is_imported():
    import os

    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"
    assert os.environ["FLWR_DISABLE_UPDATE_CHECK"] == "1"


def test_importing_the_package_imports_nothing_heavy():
    import subprocess

    code = "import sys, fedpriv, fedpriv.config; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"torch", "flwr", "opacus", "hydra", "pandas", "sklearn"}.isdisjoint(shown.split())
