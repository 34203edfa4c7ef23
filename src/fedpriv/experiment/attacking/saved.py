"""A finished run's model, for attacks of one's own."""

from pathlib import Path

from safetensors.torch import load_file

from fedpriv.attacks.toolbox import ModelFacts
from fedpriv.config import load
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.toolbox import model_facts
from fedpriv.records.run_folder import RunFolder
from fedpriv.training.tasks import Classification


def saved_model(path: Path) -> ModelFacts:
    """The model that the run in ``path`` ended with, and what is public of its inputs.

    Raises:
        InputError: no finished run of classes.
    """
    folder = RunFolder(path)
    if not folder.read_run_json().is_done:
        raise ConfigError(f"{path} is not finished. Go on with it first: fedpriv resume {path}")
    experiment = Experiment.assemble(load(folder.config))
    if not isinstance(experiment.task, Classification):
        raise ConfigError(f"{path} is a run of task={type(experiment.task).__name__.lower()}, and has no classes.")
    return model_facts(experiment, load_file(folder.model))
