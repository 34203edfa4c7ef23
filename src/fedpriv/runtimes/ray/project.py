"""The folder of a private SuperLink: its home, and a Flower project that only names what fedpriv holds."""

import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PYPROJECT = """\
[project]
name = "fedpriv-on-ray"
version = "1.0.0"
description = "Carries messages for fedpriv"
license = "Apache-2.0"

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "fedpriv"

[tool.flwr.app.components]
serverapp = "fedpriv.runtimes.ray.bridge:app"
clientapp = "fedpriv.runtimes.ray.host:app"

[tool.flwr.app.config]
socket = "{socket}"
actors = {actors}
"""
_CONFIG = """\
[superlink]
default = "here"

[superlink.here]
address = "127.0.0.1:{port}"
insecure = true
"""
_LONGEST = 40  # characters; Ray's sockets below it have names of 60 more, and Linux takes 107
_FEWEST_NODES = 32


@dataclass(frozen=True, kw_only=True)
class Project:
    """Commands and places of one simulation.

    Attributes:
        folder: holds all of it; owner-only.
        port: of the SuperLink, on 127.0.0.1.
        superlink, run: commands, one after the other.
        environ: of both, and so of what they start.
    """

    folder: Path
    port: int
    superlink: tuple[str, ...]
    run: tuple[str, ...]
    environ: Mapping[str, str]

    @property
    def socket(self) -> Path:
        """Where the bridge finds this process."""
        return self.folder / "bridge"


def make_project(*, workers: int, threads: int, cpus: int, address: str | None) -> Project:
    """Write the folder.

    Args:
        cpus: of an actor, as Ray counts.
        address: of a cluster; None: Ray is started with room for ``workers`` actors.
    """
    folder = Path(tempfile.mkdtemp(prefix="fp-", dir=_short_folder()))
    home, app, port = folder / "flwr", folder / "app", _free_port()
    home.mkdir()
    app.mkdir()
    (home / "config.toml").write_text(_CONFIG.format(port=port))
    (app / "pyproject.toml").write_text(_PYPROJECT.format(socket=folder / "bridge", actors=workers))
    # A node takes one message at a time, and waits a tenth of a second for the next: some more for many messages.
    settings = [f"num-supernodes={max(workers, _FEWEST_NODES)}", f"client-resources-num-cpus={cpus}"]
    settings += ["init-args-logging-level='error'"]
    if address is None:
        settings.append(f"init-args-num-cpus={workers * threads}")
    programs = Path(sys.executable).parent
    return Project(
        folder=folder,
        port=port,
        superlink=(
            *(str(programs / "flower-superlink"), "--insecure", "--simulation", "--isolation", "subprocess"),
            *("--host", "127.0.0.1", "--port", str(port), "--disable-runtime-dependency-installation"),
        ),
        run=(
            *(str(programs / "flwr"), "run", str(app), "here", "--stream"),
            *("--federation-config", " ".join(settings)),
        ),
        environ={
            **os.environ,
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what will be the default; else each run is told so
            "RAY_ADDRESS": address or "local",  # or Ray would join any cluster that it finds on this machine
            **({"RAY_TMPDIR": str(folder)} if address is None else {}),
            "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        },
    )


def _short_folder() -> str:
    usual = tempfile.gettempdir()
    return usual if len(usual) <= _LONGEST else "/tmp"


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
