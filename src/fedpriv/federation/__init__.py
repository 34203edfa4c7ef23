"""The federated algorithm: messages, the client's and the server's half, as Flower apps."""

from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from .algorithm import FederatedAveraging, Observer, RoundOutcome, ServerState
from .client_app import make_client_app
from .messages import DROPPED, FAILED, REPLIED, EvaluateReply, EvaluateTask, TrainReply, TrainTask
from .node import Node
from .one_experiment import NamingGrid, OneExperimentApp
from .passive_server import PassiveServer, ReadRound
from .server_app import Algorithm, make_server_app
from .server_optimizer import ServerOptimizer
from .server_rules import FedNovaServerRule, PlainServerRule, ScaffoldServerRule, ServerRule
from .stock_algorithm import StockAlgorithm
from .stock_client import EVALUATE_DIAGNOSTICS, App, HostedApp, make_stock_client_app
from .stock_world import quiet_flower

__all__ = [
    "DROPPED",
    "EVALUATE_DIAGNOSTICS",
    "FAILED",
    "REPLIED",
    "Algorithm",
    "App",
    "ClientApp",
    "EvaluateReply",
    "EvaluateTask",
    "FedNovaServerRule",
    "FederatedAveraging",
    "Grid",
    "HostedApp",
    "NamingGrid",
    "Node",
    "Observer",
    "OneExperimentApp",
    "PassiveServer",
    "PlainServerRule",
    "ReadRound",
    "RoundOutcome",
    "ScaffoldServerRule",
    "ServerApp",
    "ServerOptimizer",
    "ServerRule",
    "ServerState",
    "StockAlgorithm",
    "Strategy",
    "TrainReply",
    "TrainTask",
    "make_client_app",
    "make_server_app",
    "make_stock_client_app",
    "quiet_flower",
]
