"""Many runs from one command, on Hydra's launchers and sweepers."""

from fedpriv.sweeps.sweep import Swept, sweep
from fedpriv.sweeps.telling import tell

__all__ = ["Swept", "sweep", "tell"]
