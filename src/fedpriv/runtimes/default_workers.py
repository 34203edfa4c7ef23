"""How many worker processes a run gets that asks for no number. Results never depend on it."""

# Orders of magnitude, of one core and a local step: what an example costs whatever the model, and each parameter of it.
_SECONDS_AN_EXAMPLE = 1e-5
_SECONDS_A_PARAMETER = 2e-9
_WORTH_IT = 5.0
"""Seconds of training from which on the two or three that workers take to start are won back."""


def default_workers(*, examples: float, parameters: int, most: int, threads: int) -> int:
    """As many as there are CPUs for, but none beside this process (1) where the job is small.

    Args:
        examples: trained on in the whole run, each as often as it is.
        parameters: of the model.
        most: how many could be busy at once.
        threads: of every worker.
    """
    if examples * (_SECONDS_AN_EXAMPLE + _SECONDS_A_PARAMETER * parameters) < _WORTH_IT:
        return 1
    return as_many_as_fit(most=most, slots=None, threads=threads)


def as_many_as_fit(*, most: int, slots: int | None, threads: int) -> int:
    """At least 1.

    Args:
        most: how many could be busy at once.
        slots: how many there is room for; None: as many as this machine has CPUs for.
        threads: of every worker.
    """
    if slots is None:
        from joblib import cpu_count  # knows of affinities, and of a container's share

        slots = cpu_count() // threads
    return max(1, min(slots, most))
