"""Local training: one interface, its engines, the task, and the checks before it."""

from .function_trainer import FunctionTrainer
from .interface import ClientResult, ClientWork, LocalTrainer
from .measure import measure
from .preflight import check_model, fix_model
from .sgd import SgdTrainer
from .tasks import Binary, Classification, NextToken, Regression, Survival, Task, make_task
from .tuning import Tuning, choose_tuning

__all__ = [
    "Binary",
    "Classification",
    "ClientResult",
    "ClientWork",
    "FunctionTrainer",
    "LocalTrainer",
    "NextToken",
    "Regression",
    "SgdTrainer",
    "Survival",
    "Task",
    "Tuning",
    "check_model",
    "choose_tuning",
    "fix_model",
    "make_task",
    "measure",
]
