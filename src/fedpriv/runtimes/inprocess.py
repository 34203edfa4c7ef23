"""A run whose server is this process: its nodes are here, or wherever a pool of processes has them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid, ServerApp

from . import flower_private
from .pools import BuildClientApp, PoolKind, borrowed

Execute = Callable[[Sequence[Message]], list[Message]]


class InProcessGrid(Grid):
    """A Grid without a SuperLink.

    Args:
        node_ids: the nodes.
        execute: answers messages, in their order.
    """

    def __init__(self, *, node_ids: Sequence[int], execute: Execute) -> None:
        self._node_ids = list(node_ids)
        self._execute = execute
        self._run = flower_private.empty_run()
        self._sent = 0
        self._answers: dict[str, Message] = {}

    @property
    def run(self) -> Any:
        return self._run

    def set_run(self, run: Any) -> None:
        self._run = run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Deprecated in Flower; make a ``flwr.app.Message`` instead."""
        raise NotImplementedError("Make a flwr.app.Message; Grid.create_message is deprecated in Flower.")

    def get_node_ids(self) -> Iterable[int]:
        return list(self._node_ids)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        batch = list(messages)
        for message in batch:
            self._sent += 1
            flower_private.address(message, f"message-{self._sent}")
        ids = [message.metadata.message_id for message in batch]
        self._answers.update(zip(ids, self._execute(batch), strict=True))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._answers.pop(i) for i in message_ids if i in self._answers]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))


def run_inprocess(
    *,
    build: BuildClientApp,
    server_app: ServerApp,
    num_nodes: int,
    pool_kind: PoolKind | None,
    modules: Mapping[str, str],
    started: Callable[[list[int]], None],
) -> None:
    """Run a ServerApp against ``num_nodes`` nodes until it returns.

    Args:
        build: makes the ClientApp; picklable if there is a pool.
        pool_kind: which processes train, and may be used again by the next run; None: this one.
        modules: the user's own that ``build`` needs, each with a digest.
        started: is told the processes' ids when they are ready, before the ServerApp starts.
    """
    flower_private.become_server()
    node_ids = range(1, num_nodes + 1)
    context = flower_private.node_context(flower_private.SERVER_NODE_ID)
    if pool_kind is None:
        app = build()

        def execute(messages: Sequence[Message]) -> list[Message]:
            return [app(m, flower_private.node_context(m.metadata.dst_node_id)) for m in messages]

        started([])
        server_app(InProcessGrid(node_ids=node_ids, execute=execute), context)
        return
    with borrowed(pool_kind, modules=modules) as pool:
        pool.begin(build, modules=modules)
        started(pool.pids)
        server_app(InProcessGrid(node_ids=node_ids, execute=pool.run), context)
