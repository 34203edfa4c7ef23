"""Server and nodes that somebody else connects make sure that they mean the same experiment.

A node clips, batches and holds data as its own config says, but the ledger states what the server's says.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, Context, Error, Message
from flwr.serverapp import Grid

_RECORD = "fedpriv.experiment"
_RAISED = 2  # Flower's error code CLIENT_APP_RAISED_EXCEPTION


class NamingGrid(Grid):
    """A Grid whose messages name the experiment that they belong to.

    Args:
        experiment: its run id: a digest of config, data, the user's own code and fedpriv's version.
    """

    def __init__(self, grid: Grid, *, experiment: str) -> None:
        self._grid, self._experiment = grid, experiment

    @property
    def run(self) -> Any:
        return self._grid.run

    def set_run(self, run: Any) -> None:
        self._grid.set_run(run)

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Deprecated in Flower; make a ``flwr.app.Message`` instead."""
        raise NotImplementedError("Make a flwr.app.Message; Grid.create_message is deprecated in Flower.")

    def get_node_ids(self) -> Iterable[int]:
        return list(self._grid.get_node_ids())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return list(self._grid.push_messages(self._named(messages)))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return list(self._grid.pull_messages(message_ids))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return list(self._grid.send_and_receive(self._named(messages), timeout=timeout))

    def _named(self, messages: Iterable[Message]) -> list[Message]:
        named = list(messages)
        for message in named:
            message.content[_RECORD] = ConfigRecord({"id": self._experiment})
        return named


@dataclass(frozen=True, kw_only=True)
class OneExperimentApp:
    """A ClientApp that answers no message of another experiment."""

    app: Callable[[Message, Context], Message]
    experiment: str

    def __call__(self, message: Message, context: Context) -> Message:
        named = message.content.config_records.get(_RECORD, ConfigRecord({"id": "of no name"}))["id"]
        if named != self.experiment:
            return Message(Error(_RAISED, self._refusal(str(named))), reply_to=message)
        del message.content[_RECORD]
        return self.app(message, context)

    def _refusal(self, named: str) -> str:
        return (
            f"this node has experiment {self.experiment}, the server's is {named}: their configs, data, own code or "
            "fedpriv versions differ. Give server and nodes the same. Nothing was trained."
        )
