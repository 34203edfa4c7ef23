"""``privacy.group_norms``: whose gradients are clipped to a norm of their own."""

from fedpriv.config import Config
from fedpriv.data import FederatedData
from fedpriv.errors import ConfigError
from fedpriv.training import ExampleGroups


def example_groups(config: Config, data: FederatedData) -> ExampleGroups | None:
    """The sensitive groups of the data, with their norms; None where the data names none.

    Raises:
        ConfigError: norms of an attribute or of a group that the data does not name.
    """
    norms: dict[str, dict[int, float]] = {}
    for attribute, own in (config.privacy.group_norms or {}).items():
        if attribute not in data.groups:
            known = f"it names {', '.join(data.groups)}" if data.groups else "it names none"
            raise ConfigError(
                f"privacy.group_norms: the data names no group {attribute!r} ({known}). Name the column in "
                "data.groups, or leave privacy.group_norms out."
            )
        names = data.names_of(attribute)
        if stray := next((name for name in own if str(name) not in names), None):
            raise ConfigError(
                f"privacy.group_norms.{attribute}: there is no group {stray!r}; there are {', '.join(names)}."
            )
        norms[attribute] = {names.index(str(name)): float(norm) for name, norm in own.items()}
    if not data.groups:
        return None
    return ExampleGroups(names={name: data.names_of(name) for name in data.groups}, norms=norms)
