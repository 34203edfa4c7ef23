"""``privacy.layer_norms``: to what each layer is clipped."""

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from fedpriv.errors import ConfigError


def norms_of_layers(names: Sequence[str], *, norm: float, own: Mapping[str, float]) -> dict[str, float]:
    """Layer -> its L2 norm.

    Args:
        names: of the layers, each once.
        norm: of all together; each of L layers is clipped to ``norm / sqrt(L)``,
        own: unless a pattern (as ``fc1`` or ``conv*``) says otherwise; of several that match, the first.

    Raises:
        ConfigError: a pattern that no layer has.
    """
    for pattern in own:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"privacy.layer_norms: no layer is {pattern}; there are {', '.join(names)}.")
    equal = norm / math.sqrt(len(names))
    return {name: next((own[pattern] for pattern in own if fnmatchcase(name, pattern)), equal) for name in names}
