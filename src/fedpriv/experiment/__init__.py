"""One experiment: assembled from a config, trained, recorded, resumable at any moment."""

from .assembly import Experiment
from .attacking import attack_run
from .lifecycle import resume, run, train_again
from .loading import load_data

__all__ = ["Experiment", "attack_run", "load_data", "resume", "run", "train_again"]
