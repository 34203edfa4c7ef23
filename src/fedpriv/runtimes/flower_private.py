"""Everything of Flower that is needed here and is not public API. Nothing else imports from below flwr's face."""

import logging

from flwr.app import Context, Message, RecordDict
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

logging.getLogger("flwr").propagate = False

SERVER_NODE_ID = 1
RUN_ID = 1


def become_server() -> None:
    """Messages can be made only in a process that has an identity. It is global: one run a process."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = RUN_ID
    TaskIdentity.node_id = SERVER_NODE_ID


def empty_run() -> Run:
    """The ``Run`` that a Grid must know."""
    return Run.create_empty(RUN_ID)


def address(message: Message, message_id: str) -> None:
    """Give a message the id that a SuperLink would have given it."""
    message.metadata.__dict__["_message_id"] = message_id


def node_context(node_id: int) -> Context:
    """A node's Context; nothing is kept in it, since a client may be trained by another node next round."""
    return Context(run_id=RUN_ID, node_id=node_id, node_config={}, state=RecordDict(), run_config={})
