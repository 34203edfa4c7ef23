"""What the kit measures, one file a group: each property is a function of a subject."""

from collections.abc import Callable, Mapping

from ..subject import Subject
from ..verdict import Finding
from .adaptive_clip import adaptive_clip
from .event import event
from .ledger import ledger
from .noise import (
    adaptive_noise,
    dropouts,
    noise_independent_clients,
    noise_independent_coordinates,
    noise_independent_rounds,
    noise_law,
    noise_std,
    seeds,
)
from .odd_updates import empty_cohort, integer_parameters, nan_update, scalar_parameters, zero_update
from .promise import composition, promised_epsilon
from .sampling import sampling
from .sensitivity import denominator, sensitivity, weighting

Property = Callable[[Subject], Finding]

PROPERTIES: Mapping[str, Property] = {
    "sensitivity_add_remove": sensitivity("add_or_remove_one"),
    "sensitivity_replace": sensitivity("replace_one"),
    "sensitivity_zero_out": sensitivity("zero_out"),
    "weighting": weighting,
    "denominator": denominator,
    "noise_std": noise_std,
    "noise_law": noise_law,
    "noise_independent_coordinates": noise_independent_coordinates,
    "noise_independent_rounds": noise_independent_rounds,
    "noise_independent_clients": noise_independent_clients,
    "seeds": seeds,
    "dropouts": dropouts,
    "empty_cohort": empty_cohort,
    "zero_update": zero_update,
    "nan_update": nan_update,
    "scalar_parameters": scalar_parameters,
    "integer_parameters": integer_parameters,
    "adaptive_clip": adaptive_clip,
    "adaptive_noise": adaptive_noise,
    "sampling": sampling,
    "event": event,
    "promised_epsilon": promised_epsilon,
    "composition": composition,
    "ledger": ledger,
}
