"""From ``tracking`` in a config to what hears a run."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fedpriv.experiment.assembly import Experiment
from fedpriv.targets import build
from fedpriv.tracking import Callback, FinalModel, Isolated, Told


def told(experiment: Experiment, reporter: Callback) -> Callback:
    """The reporter, and with it every tracker of the config.

    Raises:
        ConfigError: no such target, arguments that it does not take, or an extra that is not installed.
    """
    trackers = [_isolated(name, spec, experiment) for name, spec in experiment.config.tracking.items()]
    if not trackers:
        return reporter
    return Told(reporter=reporter, trackers=trackers, secret=experiment.noise_is_secret)


def _isolated(name: str, spec: Mapping[str, Any], experiment: Experiment) -> Isolated:
    normalisation = experiment.data.normalisation
    callback: Callback = build(
        {key: value for key, value in spec.items() if key != "timeout"},
        expected=Callback,  # type: ignore[type-abstract]
        where=f"tracking.{name}",
        final_model=FinalModel(
            new=experiment.new_model,
            example=experiment.data.sample(2),
            normalisation=None if normalisation is None else asdict(normalisation),
        ),
    )
    return Isolated(name=name, callback=callback, timeout=spec["timeout"])
