"""A sweeper that chooses values as it goes, such as Optuna's: utility against epsilon."""

import math
from collections.abc import Callable, Sequence

from fedpriv.errors import ConfigError, FedprivError
from fedpriv.sweeps.board import JobState
from fedpriv.sweeps.hydra_plugins import HydraPlugins
from fedpriv.sweeps.jobs import Job

_DIRECTIONS = (["maximize", "minimize"], ["maximize"])


class Search:
    """Trials of a sweeper.

    Args:
        swept: what it may choose from.
        probes: jobs at the ends of that; they are checked, not run.

    Raises:
        ConfigError: the objectives cannot be had from these jobs.
    """

    def __init__(self, *, plugins: HydraPlugins, swept: Sequence[str], probes: Sequence[Job]) -> None:
        self._plugins, self._swept = plugins, swept
        if plugins.directions not in _DIRECTIONS:
            raise ConfigError(
                f"hydra.sweeper.direction={plugins.directions}: use [maximize,minimize] (utility against epsilon) or "
                "maximize (utility alone; a loss or error counts as its negative)."
            )
        self._with_epsilon = len(plugins.directions) > 1
        for job in probes:
            privacy = job.config.privacy
            if self._with_epsilon and (privacy.mechanism == "none" or privacy.epsilon == math.inf):
                raise ConfigError(
                    f"{job.label}: a run without a guarantee has no epsilon to weigh. Leave it out, or say "
                    "hydra.sweeper.direction=maximize."
                )

    def run(self, run: Callable[[Sequence[Sequence[str]]], list[JobState]]) -> None:
        """Let the sweeper try combinations until it has enough, or a failed one ends it.

        Args:
            run: runs a job for each combination; those that were kept from beginning are waiting.
        """

        def try_out(combinations: Sequence[Sequence[str]]) -> list[object]:
            states = run(combinations)
            if any(state.status == "waiting" for state in states):
                raise _EndedEarlyError
            return [self._objectives(state) for state in states]

        try:
            self._plugins.search(self._swept, try_out)
        except _EndedEarlyError:
            return

    def _objectives(self, state: JobState) -> object:
        if not state.has_result or state.value is None:
            return FedprivError(state.error or "the run has no headline metric")
        utility = state.value if state.higher_is_better else -state.value
        if not self._with_epsilon:
            return utility
        return FedprivError("nothing is claimed about the run") if state.epsilon is None else (utility, state.epsilon)


class _EndedEarlyError(Exception):
    """A failed job ended the search."""
