"""Libraries that only some trackers need."""

from importlib.util import find_spec

from fedpriv.errors import ConfigError


def needs(library: str, *, tracker: str) -> None:
    """Refuse a tracker whose library is not installed; what is named as it is an extra of fedpriv.

    Raises:
        ConfigError: before anything is trained.
    """
    if find_spec(library) is None:
        raise ConfigError(f"tracking={tracker} needs {library}: pip install 'fedpriv[{library}]'.")
