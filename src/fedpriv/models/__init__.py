"""Reference models, what of a model is trained, and the order in which its parameters form one vector."""

from fedpriv.models.adaptation import adapt, freeze_except, load_weights
from fedpriv.models.attention import transformer
from fedpriv.models.convolutional import cnn, lenet
from fedpriv.models.dense import logistic, mlp, tabular_mlp
from fedpriv.models.lora import add_lora, merge_lora
from fedpriv.models.parameters import ParameterLayout
from fedpriv.models.recurrent import lstm
from fedpriv.models.residual import resnet

__all__ = [
    "ParameterLayout",
    "adapt",
    "add_lora",
    "cnn",
    "freeze_except",
    "lenet",
    "load_weights",
    "logistic",
    "lstm",
    "merge_lora",
    "mlp",
    "resnet",
    "tabular_mlp",
    "transformer",
]
