"""What Flower's actors run, in a module of its own so that they import it: then an actor keeps data and model."""

from functools import cache
from typing import Any

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.workloads import WORKLOADS, Clients


@cache
def _clients(name: str) -> Clients:
    return WORKLOADS[name].data.clients()


@cache
def _model(name: str) -> tuple[torch.nn.Module, Any]:
    workload = WORKLOADS[name]
    if workload.protects == "example":
        from benchmarks.opacus_alone import make_train
    else:
        from benchmarks.bare import make_train
    torch.set_num_threads(1)
    model = workload.model()
    return model, make_train(model, workload)


class Train:
    """A node's training: the client whose number it has."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, message: Message, context: Context) -> Message:
        model, train = _model(self._name)
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        x, y = _clients(self._name)[int(context.node_config["partition-id"])]
        train(x, y)
        content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(y)})}
        return Message(content=RecordDict(content), reply_to=message)


def client_app(name: str) -> ClientApp:
    app = ClientApp()
    app.train()(Train(name))
    return app
