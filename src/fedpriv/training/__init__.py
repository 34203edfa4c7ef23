"""Local training: one interface, its engines, the task, and the checks before it."""

from .example_groups import ExampleGroups
from .function_trainer import FunctionTrainer
from .interface import ClientResult, ClientWork, LocalTrainer
from .measure import answers, judged, measure
from .planted import Planted, SparseGradient
from .preflight import check_model, fix_model
from .sgd import SgdTrainer
from .shuffled_batches import ShuffledBatches
from .tasks import AdditiveTask, Binary, Classification, NextToken, Regression, Survival, Task, make_task
from .tuning import ELEMENTWISE, Convolutions, Engine, MemoryFormat, Tuning, Wishes, choose_tuning
from .vectorized import DpSgd, Formulation, VectorizedTrainer, find_formulation

__all__ = [
    "ELEMENTWISE",
    "AdditiveTask",
    "Binary",
    "Classification",
    "ClientResult",
    "ClientWork",
    "Convolutions",
    "DpSgd",
    "Engine",
    "ExampleGroups",
    "Formulation",
    "FunctionTrainer",
    "LocalTrainer",
    "MemoryFormat",
    "NextToken",
    "Planted",
    "Regression",
    "SgdTrainer",
    "ShuffledBatches",
    "SparseGradient",
    "Survival",
    "Task",
    "Tuning",
    "VectorizedTrainer",
    "Wishes",
    "answers",
    "check_model",
    "choose_tuning",
    "find_formulation",
    "fix_model",
    "judged",
    "make_task",
    "measure",
]
