"""Reference models, and the order in which a model's parameters form one vector."""

from fedpriv.models.convolutional import cnn, lenet
from fedpriv.models.dense import logistic, mlp
from fedpriv.models.parameters import ParameterLayout

__all__ = ["ParameterLayout", "cnn", "lenet", "logistic", "mlp"]
