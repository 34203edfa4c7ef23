"""When clients take part no more, because they would release more than they allow."""

from dataclasses import dataclass
from typing import final

import numpy as np


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Retirement:
    """How often every client may still take part.

    Attributes:
        since: last round that is not counted.
        left: of each client (int64, by client id), so many participations; where the server adds the noise, so
            many rounds, whether or not a coin draws it.
    """

    since: int
    left: np.ndarray
