"""Hydra's launchers and sweepers, as its own multirun uses them: they see numbers of jobs, never our config."""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedpriv.config import conf_dir
from fedpriv.errors import ConfigError
from fedpriv.sweeps.expansion import Words

_QUIET = ("hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.output_subdir=null", "hydra.sweep.subdir=.")
# What a sweeper of Optuna's is told unless the user says it: utility up, epsilon down; the same trials again when
# it is started again, so that finished ones are found; and a failed trial ends no sweep.
_OPTUNA = {
    "direction": "[maximize,minimize]",
    "n_jobs": "1",
    "max_failure_rate": "1.0",
    "sampler.seed": "0",
}


@dataclass(frozen=True, kw_only=True)
class HydraPlugins:
    """The plugins that a sweep's words choose.

    Args:
        config: Hydra's own config, with nothing of an experiment.
        context: what plugins compose jobs with.
    """

    config: Any
    context: Any

    def leaving_in(self, folder: Path) -> "HydraPlugins":
        """The same; what Hydra leaves, and nobody wants, lies in ``folder``."""
        from omegaconf import OmegaConf, open_dict

        config = copy.deepcopy(self.config)
        OmegaConf.set_readonly(config.hydra, False)
        with open_dict(config):
            config.hydra.sweep.dir = str(folder)
        return replace(self, config=config)

    def launch(self, task: Callable[[Any], Any], numbers: Sequence[int]) -> None:
        """Have ``task`` called with each number, as the launcher does it; returns when it has ended with all.

        Raises:
            Exception: of the launcher's own, such as the end of a process.
        """
        from hydra.core.plugins import Plugins

        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=task, config=self.config
        )
        launcher.launch([[f"+job={number}"] for number in numbers], initial_job_idx=0)

    def search(self, swept: Sequence[str], try_out: Callable[[Sequence[Sequence[str]]], list[Any]]) -> None:
        """Let the sweeper choose combinations of the swept values, batch by batch.

        Args:
            try_out: runs a batch; gives each one's objectives, or an exception.
        """
        from hydra.core.plugins import Plugins

        sweeper: Any = Plugins.instance().instantiate_sweeper(
            hydra_context=self.context, task_function=lambda config: None, config=self.config
        )
        logging.getLogger("optuna").setLevel(logging.WARNING)
        logging.getLogger("hydra_plugins").setLevel(logging.ERROR)  # failures are listed at the end
        getattr(sweeper, "sweeper", sweeper).launcher = _Launcher(try_out)  # plugins keep their heavy half aside
        sweeper.sweep(list(swept))

    @property
    def directions(self) -> list[str]:
        """``maximize`` or ``minimize`` for each objective that the sweeper weighs."""
        from omegaconf import OmegaConf

        direction = OmegaConf.select(self.config, "hydra.sweeper.direction", default="maximize")
        directions = direction if OmegaConf.is_list(direction) else [direction]
        return [getattr(each, "name", str(each)) for each in directions]

    @property
    def trials(self) -> int | None:
        """How many the sweeper means to try, where it says so."""
        from omegaconf import OmegaConf

        trials = OmegaConf.select(self.config, "hydra.sweeper.n_trials")
        return trials if isinstance(trials, int) else None


def hydra_plugins(words: Words, *, logs: Path) -> HydraPlugins:
    """The plugins that ``words`` choose.

    Args:
        logs: where submitit makes .submitit for its jobs' output.

    Raises:
        ConfigError: there is no such plugin, or not such a setting of it.
    """
    from hydra import compose, initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from hydra.types import HydraContext
    from omegaconf.errors import OmegaConfBaseException

    told = [*_QUIET, *words.hydra]
    if words.sweeper == "optuna":
        told += [f"hydra.sweeper.{k}={v}" for k, v in _OPTUNA.items() if not words.says(f"hydra.sweeper.{k}")]
    if words.launcher.startswith("submitit") and not words.says("hydra.launcher.submitit_folder"):
        told.append(f"hydra.launcher.submitit_folder={_quoted(logs.resolve() / '.submitit' / '%j')}")
    with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="fedpriv"):
        try:
            config = compose(None, overrides=told, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise _refused(words, error) from error
        context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())
    return HydraPlugins(config=config, context=context)


class _Launcher:
    """What a sweeper takes for its launcher."""

    def __init__(self, try_out: Callable[[Sequence[Sequence[str]]], list[Any]]) -> None:
        self._try_out = try_out

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        return [_Returned(value) for value in self._try_out(job_overrides)]


class _Returned:
    """What a sweeper takes for Hydra's JobReturn, which would print every failure."""

    def __init__(self, value: Any) -> None:
        self._value = value

    @property
    def return_value(self) -> Any:
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _refused(words: Words, error: Exception) -> ConfigError:
    text = " ".join(str(error).split())
    if "Could not find" in text and ("hydra/launcher" in text or "hydra/sweeper" in text):
        return ConfigError(
            f"hydra/launcher={words.launcher}, hydra/sweeper={words.sweeper}: no such plugin is installed. joblib, "
            "submitit_local, submitit_slurm and optuna come with: pip install 'fedpriv[sweeps]'."
        )
    return ConfigError(f"{' '.join(words.hydra)}: {text}")
