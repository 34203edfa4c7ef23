"""What can go wrong, as a person should read it.

    FedprivError                  exit code 1
    ├── InputError                exit code 2: config, data or a folder that the user can mend
    │   ├── ConfigError           a key, a value or a combination of them
    │   ├── DataError             a file or an array
    │   ├── DamagedRunError       a run folder that is not what was written
    │   └── BusyRunError          a run folder that another process is writing
    ├── BudgetExhaustedError      exit code 3: not even the first release fits the budget
    └── InterruptedRunError       exit code 130: stopped by the user, resumable

Every message names what is wrong and how to mend it; none is shown with a traceback.
"""

from pathlib import Path


class FedprivError(Exception):
    """Base of every error that fedpriv raises on purpose."""

    exit_code = 1


class InputError(FedprivError):
    """The user can mend this: bad config, bad data, damaged folder."""

    exit_code = 2


class ConfigError(InputError):
    """A config key, a value, or a combination that cannot be run."""


class DataError(InputError):
    """A file or array that is missing, broken or not what the config says."""


class DamagedRunError(InputError):
    """A run folder whose files are not what a run wrote."""


class BusyRunError(InputError):
    """A run folder, at ``path``, whose owner is another process, now."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"Another process is running the run in {path}. Wait until it ends, or stop it, then try again."
        )
        self.path = path


class BudgetExhaustedError(FedprivError):
    """The privacy budget does not allow even one release."""

    exit_code = 3


class AuditError(FedprivError):
    """A run's canaries show more than its claim allows."""


class InterruptedRunError(FedprivError):
    """The user stopped the run; its folder can be resumed."""

    exit_code = 130


def in_one_line(error: BaseException) -> str:
    """An error of somebody else's code, for a message of ours."""
    return " ".join(f"{type(error).__name__}: {error}".split())
