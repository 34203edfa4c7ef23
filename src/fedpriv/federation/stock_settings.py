"""What fedpriv's server tells a stock client beside what the strategy says: a record of its own, read only there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from flwr.app import ConfigRecord, Context, RecordDict

ROUND = "server-round"  # Flower's own key, which strategies set
_RECORD = "fedpriv.settings"
_RESERVED = "fedpriv."


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which release of which client a message asks for.

    Attributes:
        noise_multiplier: of the client's local steps; NaN: none was planned, so nothing private may be released.
    """

    round: int
    client: int
    attempt: int
    noise_multiplier: float

    def added_to(self, content: RecordDict) -> RecordDict:
        """A copy of every record, and these settings."""
        copied = RecordDict({key: record.copy() for key, record in content.items()})
        copied[_RECORD] = ConfigRecord(
            {
                "round": self.round,
                "client": self.client,
                "attempt": self.attempt,
                "noise-multiplier": self.noise_multiplier,
            }
        )
        return copied

    @staticmethod
    def of(content: RecordDict, context: Context) -> "Settings":
        """As fedpriv's server says. From any other server: the node's own client, without noise.

        The node's own client is its config's ``partition-id``, else its id less one.
        """
        if _RECORD in content.config_records:
            told = content.config_records[_RECORD]
            return Settings(
                round=int(told["round"]),  # type: ignore[arg-type]
                client=int(told["client"]),  # type: ignore[arg-type]
                attempt=int(told["attempt"]),  # type: ignore[arg-type]
                noise_multiplier=float(told["noise-multiplier"]),  # type: ignore[arg-type]
            )
        return Settings(
            round=next((int(value) for name, value in _config(content) if name == ROUND), 0),  # type: ignore[call-overload]
            client=int(context.node_config.get("partition-id", context.node_id - 1)),
            attempt=0,
            noise_multiplier=math.nan,
        )


def trespass(content: RecordDict, *, round_number: int) -> str | None:
    """What of a strategy's message is fedpriv's to say; None where it keeps to its own."""
    names = [*content, *(name for name, _ in _config(content))]
    for name in names:
        if name.startswith(_RESERVED):
            return f"{name}, a name that is fedpriv's own"
    for name, value in _config(content):
        if name == ROUND and value != round_number:
            return f"{ROUND}={value} in round {round_number}"
    return None


def _config(content: RecordDict) -> Iterator[tuple[str, object]]:
    for record in content.config_records.values():
        yield from record.items()
