"""ART's view of a model."""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

from fedpriv.errors import ConfigError

from .interface import ModelFacts


def need_art(name: str) -> None:
    """Refuse an attack whose library is not installed.

    Raises:
        ConfigError: before anything is trained or attacked.
    """
    try:
        import_module("art.estimators")  # another library is called art, too
    except ImportError as error:
        raise ConfigError(
            f"attack={name} needs the Adversarial Robustness Toolbox: pip install 'fedpriv[art]'."
        ) from error


def as_classifier(facts: ModelFacts, *, lr: float | None) -> Any:
    """An ``art.estimators.classification.PyTorchClassifier`` around the model, on the CPU.

    Args:
        lr: of plain SGD, for attacks that train the model on; None: it cannot be trained.
    """
    from art.estimators.classification import PyTorchClassifier

    model = facts.model.cpu().eval()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        optimizer=None if lr is None else torch.optim.SGD(learned, lr=lr),
        input_shape=facts.input_shape,
        nb_classes=facts.num_classes,
        clip_values=_clip_values(facts),
        device_type="cpu",
    )


def _clip_values(facts: ModelFacts) -> tuple[Any, Any] | None:
    """Least and largest values of inputs, for each pixel: channels are normalised by constants of their own."""
    if facts.darkest is None or facts.brightest is None:
        return None
    low, high = (np.broadcast_to(end, facts.input_shape).astype(np.float32) for end in (facts.darkest, facts.brightest))
    return low, high


def accuracy(classifier: Any, x: Any, y: Any) -> float:
    """Share of the examples that are classified as they should be."""
    return float((classifier.predict(x).argmax(axis=1) == y).mean())
