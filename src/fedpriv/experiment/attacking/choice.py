"""The attacks that a config asks for, refused in time where a run cannot give what they need."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fedpriv.attacks import MembershipAttack
from fedpriv.attacks.inference import PropertyAttack
from fedpriv.attacks.reconstruction import GradientAttack
from fedpriv.attacks.toolbox import ToolboxAttack
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.properties import check_property
from fedpriv.experiment.attacking.reconstruction import check_reconstruction
from fedpriv.experiment.attacking.toolbox import check_toolbox
from fedpriv.experiment.tampering import Tampered, tampered_by
from fedpriv.targets import build
from fedpriv.training import AdditiveTask


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What of each round is kept for those who watch: its global model and cohort, and what else is asked for."""

    sums: bool
    updates: bool


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """The attacks of one experiment.

    Args:
        specs: name -> ``_target_`` and arguments, as in ``attack``.
    """

    experiment: Experiment
    specs: Mapping[str, Mapping[str, Any]]

    @cached_property
    def by_name(self) -> dict[str, MembershipAttack]:
        """Name -> attack on what members leave in the run.

        Raises:
            ConfigError: no such attack, or arguments that it does not take.
        """
        return {name: attack for name, attack in self._built.items() if isinstance(attack, MembershipAttack)}

    @cached_property
    def on_gradients(self) -> dict[str, GradientAttack]:
        """Name -> attack on what one client's message holds."""
        return {name: attack for name, attack in self._built.items() if isinstance(attack, GradientAttack)}

    @cached_property
    def on_properties(self) -> dict[str, PropertyAttack]:
        """Name -> attack on what clients' data have in common."""
        return {name: attack for name, attack in self._built.items() if isinstance(attack, PropertyAttack)}

    @cached_property
    def toolbox(self) -> dict[str, ToolboxAttack]:
        """Name -> attack of ART's on the final model."""
        return {name: attack for name, attack in self._built.items() if isinstance(attack, ToolboxAttack)}

    @cached_property
    def _built(self) -> dict[str, Any]:
        kinds: Any = (MembershipAttack, PropertyAttack, GradientAttack, ToolboxAttack)
        return {
            name: build(spec, expected=kinds, where=f"attack.{name}")
            for name, spec in self.specs.items()
            if "attackers" not in spec
        }

    @cached_property
    def tampered(self) -> Tampered | None:
        """The attack that changed the run, if its result is asked for."""
        found = tampered_by(self.experiment)
        return found if found is not None and found.name in self.specs else None

    @property
    def watched(self) -> Watched | None:
        """What has to be kept while the run trains; None: nothing."""
        seen = {attack.needs.sees for attack in self.by_name.values() if attack.needs.watches}
        seen |= {"updates"} if self.on_properties else set()
        return Watched(sums="sums" in seen, updates="updates" in seen) if seen else None

    def check(self) -> None:
        """Raise ConfigError for the first attack that this run gives no observation to, or no one to tell apart."""
        for name, spec in self.specs.items():
            if "attackers" in spec and spec != self.experiment.config.attack.get(name):
                raise ConfigError(
                    f"attack={name} changes what clients send, so it is part of a run, and this one was run without or "
                    f"with other keys: fedpriv run ... attack={name}"
                )
        for name, theirs in self.toolbox.items():
            self._check_model(name)
            check_toolbox(name, theirs, self.experiment)
            if theirs.needs == "training_known":
                self._check_examples(name)
        for name, inference in self.on_properties.items():
            self._check_model(name)
            self._check_messages(name, "updates")
            check_property(name, inference.needs, self.experiment)
        for name, inversion in self.on_gradients.items():
            self._check_model(name)
            check_reconstruction(name, inversion.needs, self.experiment)
        for name, attack in self.by_name.items():
            self._check_model(name)
            if attack.needs.watches:
                self._check_messages(name, attack.needs.sees)
            if attack.needs.level == "client":
                self._check_clients(name)
            else:
                self._check_examples(name)

    def _check_model(self, name: str) -> None:
        experiment = self.experiment
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

    def _check_messages(self, name: str, sees: str) -> None:
        config = self.experiment.config
        if self.experiment.is_stock:
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
                f"the noisy sum can be read. Use attack.{name}.sees=global_models."
            )
        if mechanism == "central_per_layer":
            raise ConfigError(
                f"attack={name} sees {sees}, but with privacy=central_per_layer every layer is sent in units of its "
                f"own. Use attack.{name}.sees=global_models."
            )

    def _check_clients(self, name: str) -> None:
        data = self.experiment.data
        if not (data.client_sizes[data.held_out_clients] > 0).any():
            raise ConfigError(
                f"attack={name} has no non-members: every client is in the population. Hold some out, e.g. "
                "split.held_out_clients=0.2."
            )

    def _check_examples(self, name: str) -> None:
        data, kind = self.experiment.data, self.experiment.config.audit.get("kind")
        if kind in ("example", "gradient"):
            raise ConfigError(
                f"attack={name} takes all training examples for members, but those that audit={kind}_canaries leaves "
                "out are no members: attack the run without the audit."
            )
        if data.holdout is not None and not data.holdout.sizes[data.population_ids].any():
            raise ConfigError(
                f"attack={name} has no non-members: split.client_holdout={self.experiment.config.split.client_holdout} "
                "keeps no example back. Use a larger share, or 0 for the server's test examples as non-members."
            )
