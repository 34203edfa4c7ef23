"""The federated algorithm: messages, the client's and the server's half, as Flower apps."""

from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from .algorithm import FederatedAveraging, Observer, RoundOutcome, ServerState
from .client_app import make_client_app
from .messages import DROPPED, FAILED, REPLIED, EvaluateReply, EvaluateTask, TrainReply, TrainTask
from .node import Node
from .server_app import make_server_app
from .server_optimizer import ServerOptimizer
from .server_rules import FedNovaServerRule, PlainServerRule, ScaffoldServerRule, ServerRule

__all__ = [
    "DROPPED",
    "FAILED",
    "REPLIED",
    "ClientApp",
    "EvaluateReply",
    "EvaluateTask",
    "FedNovaServerRule",
    "FederatedAveraging",
    "Grid",
    "Node",
    "Observer",
    "PlainServerRule",
    "RoundOutcome",
    "ScaffoldServerRule",
    "ServerOptimizer",
    "ServerRule",
    "ServerState",
    "TrainReply",
    "TrainTask",
    "make_client_app",
    "make_server_app",
]
