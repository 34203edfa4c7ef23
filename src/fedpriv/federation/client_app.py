"""The Flower ClientApp: one message in, one message out."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from .messages import EvaluateTask, TrainTask
from .node import Node


def make_client_app(node: Node) -> ClientApp:
    """A ClientApp that hosts ``node``'s clients."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        reply = node.train(TrainTask.from_record(message.content))
        return Message(reply.to_record(), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        reply = node.evaluate(EvaluateTask.from_record(message.content))
        return Message(reply.to_record(), reply_to=message)

    return app
