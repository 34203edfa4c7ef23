"""What an experiment does, in the words of its guarantee."""

from dataclasses import asdict
from typing import Any

from fedpriv.accounting.claims import Unit, noise_by_server, protects, trust_model
from fedpriv.accounting.sampling import CohortSampling
from fedpriv.config import Config

_WEIGHTING = {"examples": "each client's update by its number of examples", "uniform": "every client counts once"}


def in_words(config: Config, law: CohortSampling, *, mechanism: str, unit: Unit | None) -> dict[str, Any]:
    """The fields of ``Terms`` that say how noise is drawn, cohorts sampled and updates averaged.

    Args:
        mechanism: the choice of ``privacy``; ``unit``: whose noise is meant.
    """
    stock = config.strategy.algorithm == "flower"
    if noise_by_server(mechanism):
        weighting = _WEIGHTING["uniform"]
        denominator = f"the public expected cohort, {law.cohort:g}"
        if config.privacy.client_budgets:
            denominator += " while nobody has retired, then that of those who are left"
        dropouts = "a client that drops out, fails or sends something not finite adds zero; noise and denominator stay"
    elif trust_model(mechanism) == "distributed":
        weighting = _WEIGHTING["uniform"]
        denominator = f"the whole cohort, {law.cohort:g}"
        dropouts = (
            f"who does not answer adds zero; more than {config.privacy.tolerated_dropout:g} of the cohort abort the "
            "round, which stays paid for"
        )
    else:
        weighting = "as the Flower strategy does" if stock else _WEIGHTING[config.strategy.weighting]
        denominator = "as the Flower strategy does" if stock else "the weights of those who answered"
        dropouts = "who does not answer is left out of the mean, and pays as if it had answered"
    if protects(mechanism, "example"):
        denominator += "; in local steps the public expected batch"
    if config.privacy.group_norms:
        weighting += _by_group(config)
    cohorts = {"kind": "by the Flower strategy", "population": law.population} if stock else asdict(law) | {
        "rate": law.rate
    }
    return {
        "noise_rng": _noise_rng(config, mechanism, unit),
        "sampling_run": {"cohorts": cohorts, "batches": _batches(config, private=protects(mechanism, "example"))},
        "weighting": weighting,
        "denominator": denominator,
        "dropout_policy": dropouts,
        "dropout_rate": config.federation.dropout,
        "initial_weights": "drawn from the model seed" if config.model["init"] is None else "read from model.init",
    }


def _by_group(config: Config) -> str:
    norms = config.privacy.group_norms.items()
    told = [f"{attribute} {name} {norm:g}" for attribute, own in norms for name, norm in own.items()]
    return (
        f"; in local steps gradients of some groups are clipped to less ({', '.join(told)}) than max_grad_norm, which "
        "stays the sensitivity: groups and norms are public, an example's group is protected with the example"
    )


def _batches(config: Config, *, private: bool) -> dict[str, Any]:
    training = config.training
    return {
        "kind": "poisson" if private else "epochs in shuffled order, or as the user's own code does",
        "expected_size" if private else "size": training.batch_size,
        "local_epochs": training.local_epochs,
    }


def _noise_rng(config: Config, mechanism: str, unit: Unit | None) -> str:
    if unit is None:
        return "no noise"
    key = "a secret key, deleted at the end" if config.seeds.noise == "secret" else "a recorded seed"
    if unit == "client":
        where = "on the server" if noise_by_server(mechanism) else "at each client"
        if trust_model(mechanism) == "distributed":
            where += " (discrete Gaussian shares by rejection; masks by ChaCha20)"
        return f"numpy's Philox in float64 {where}, from {key}; not cryptographic"
    generator = "mt19937, its whole state" if config.device == "cpu" else "Philox, a key of 64 bits"
    return f"torch's {generator} in float32 at each client, from {key}; not cryptographic"
