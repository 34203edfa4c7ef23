"""What attacks require of a run, whatever they do with it; each raises ConfigError with the mend."""

from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.training import AdditiveTask


def require_model(name: str, experiment: Experiment) -> None:
    """A whole model, whose answer to an example is the example's own, of clients that are known."""
    if not isinstance(experiment.task, AdditiveTask):
        raise ConfigError(
            f"attack={name} reads the loss of single examples, but that of task="
            f"{type(experiment.task).__name__.lower()} compares examples with each other. Leave the attack out."
        )
    if experiment.config.strategy.personal:
        raise ConfigError(
            f"attack={name} needs a whole model, but with strategy.personal the server has shared layers only. "
            "Leave the attack out, or use another strategy."
        )
    if experiment.client_app_is_own:
        raise ConfigError(
            f"attack={name}: with strategy.client_app clients train on data of their own, so nobody knows who was "
            "a member. Leave the attack out."
        )


def require_messages(name: str, sees: str, experiment: Experiment, *, instead: str) -> None:
    """Rounds that a server can watch, and in them what the attack sees.

    Args:
        instead: what to do where it does not.
    """
    config = experiment.config
    if experiment.is_stock:
        raise ConfigError(
            f"attack={name} watches rounds, but with strategy=flower they are a strategy's of Flower's. Use one of "
            "fedpriv's own strategies, or an attack on the final model (attack=lira_online)."
        )
    if sees == "global_models":
        return
    mechanism = config.privacy.mechanism
    if mechanism == "distributed":
        raise ConfigError(
            f"attack={name} sees {sees}, but with privacy=distributed the server gets masked shares, of which only "
            f"the noisy sum can be read. {instead}"
        )
    if mechanism == "central_per_layer":
        raise ConfigError(
            f"attack={name} sees {sees}, but with privacy=central_per_layer every layer is sent in units of its "
            f"own. {instead}"
        )


def require_clients_held_out(name: str, experiment: Experiment) -> None:
    """Clients that were never trained."""
    data = experiment.data
    if not (data.client_sizes[data.held_out_clients] > 0).any():
        raise ConfigError(
            f"attack={name} has no non-members: every client is in the population. Hold some out, e.g. "
            "split.held_out_clients=0.2."
        )


def require_non_members(name: str, experiment: Experiment) -> None:
    """Examples that were never trained on, and none that only coins were tossed about."""
    data, kind = experiment.data, experiment.config.audit.get("kind")
    if kind in ("example", "gradient"):
        raise ConfigError(
            f"attack={name} takes all training examples for members, but those that audit={kind}_canaries leaves "
            "out are no members: attack the run without the audit."
        )
    if data.holdout is not None and not data.holdout.sizes[data.population_ids].any():
        raise ConfigError(
            f"attack={name} has no non-members: split.client_holdout={experiment.config.split.client_holdout} "
            "keeps no example back. Use a larger share, or 0 for the server's test examples as non-members."
        )


def require_group(name: str, attribute: str, group: str, experiment: Experiment, *, instead: str) -> None:
    """A sensitive attribute of the data, and one of its groups."""
    data, asked = experiment.data, f"attack.{name}.group={{{attribute}: {group}}}"
    if attribute not in data.groups:
        named = ", ".join(sorted(data.groups)) or "none"
        raise ConfigError(
            f"{asked}: the data has no group column {attribute} (it has: {named}). Name one by data.groups, or "
            f"{instead}."
        )
    if group not in data.names_of(attribute):
        raise ConfigError(f"{asked}: {attribute} is one of {', '.join(data.names_of(attribute))}.")
