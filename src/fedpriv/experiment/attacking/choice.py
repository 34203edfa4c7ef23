"""The attacks that a config asks for, refused in time where a run cannot give what they need."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fedpriv.attacks import MembershipAttack
from fedpriv.attacks.inference import AttributeAttack, PropertyAttack
from fedpriv.attacks.reconstruction import GradientAttack
from fedpriv.attacks.toolbox import ToolboxAttack
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.attributes import check_attribute
from fedpriv.experiment.attacking.membership import check_membership
from fedpriv.experiment.attacking.properties import check_property
from fedpriv.experiment.attacking.reconstruction import check_reconstruction
from fedpriv.experiment.attacking.requirements import require_messages, require_model, require_non_members
from fedpriv.experiment.attacking.toolbox import check_toolbox
from fedpriv.experiment.attacking.watched import Watched
from fedpriv.experiment.tampering import Tampered, tampered_by
from fedpriv.targets import build

AnyAttack = MembershipAttack | PropertyAttack | AttributeAttack | GradientAttack | ToolboxAttack | Tampered
_OBSERVING: Any = (MembershipAttack, PropertyAttack, AttributeAttack, GradientAttack, ToolboxAttack)


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """The attacks of one experiment.

    Args:
        specs: name -> ``_target_`` and arguments, as in ``attack``.
    """

    experiment: Experiment
    specs: Mapping[str, Mapping[str, Any]]

    @cached_property
    def by_name(self) -> dict[str, AnyAttack]:
        """Name -> attack.

        Raises:
            ConfigError: no such attack, arguments that it does not take, or one that would have had to change the run.
        """
        return {name: self._built(name, spec) for name, spec in self.specs.items()}

    def _built(self, name: str, spec: Mapping[str, Any]) -> AnyAttack:
        if "attackers" not in spec:
            built: AnyAttack = build(spec, expected=_OBSERVING, where=f"attack.{name}")
            return built
        tampered = tampered_by(self.experiment)
        if tampered is None or tampered.name != name or spec != self.experiment.config.attack.get(name):
            raise ConfigError(
                f"attack={name} changes what clients send, so it is part of a run, and this one was run without or "
                f"with other keys: fedpriv run ... attack={name}"
            )
        return tampered

    @property
    def shadows(self) -> int:
        """The most shadow models that one of them asks for."""
        attacks = self.by_name.values()
        return max((one.needs.shadows for one in attacks if isinstance(one, MembershipAttack)), default=0)

    @property
    def watched(self) -> Watched | None:
        """What has to be kept while the run trains; None: nothing."""
        attacks = self.by_name.values()
        seen = {one.needs.sees for one in attacks if isinstance(one, MembershipAttack) and one.needs.watches}
        seen |= {"updates" for one in attacks if isinstance(one, PropertyAttack)}
        return Watched(sums="sums" in seen, updates="updates" in seen) if seen else None

    def check(self) -> None:
        """Raise ConfigError for the first attack that this run gives no observation to, or no one to tell apart."""
        for name, attack in self.by_name.items():
            if not isinstance(attack, Tampered):  # checked where it joins the run
                require_model(name, self.experiment)
            match attack:
                case MembershipAttack():
                    check_membership(name, attack, self.experiment)
                case PropertyAttack():
                    require_messages(name, "updates", self.experiment, instead="Leave the attack out.")
                    check_property(name, attack.needs, self.experiment)
                case AttributeAttack():
                    require_messages(name, "updates", self.experiment, instead="Leave the attack out.")
                    check_attribute(name, attack.needs, self.experiment)
                case GradientAttack():
                    check_reconstruction(name, attack.needs, self.experiment)
                case ToolboxAttack():
                    check_toolbox(name, attack, self.experiment)
                    if attack.needs == "training_known":
                        require_non_members(name, self.experiment)
