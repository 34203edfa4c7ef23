"""Local training: one interface, its engines, the task, and the checks before it."""

from .interface import ClientResult, ClientWork, LocalTrainer
from .preflight import check_model, fix_model
from .sgd import SgdTrainer
from .tasks import Classification, Task
from .tuning import Tuning, choose_tuning

__all__ = [
    "Classification",
    "ClientResult",
    "ClientWork",
    "LocalTrainer",
    "SgdTrainer",
    "Task",
    "Tuning",
    "check_model",
    "choose_tuning",
    "fix_model",
]
