"""Any ``flwr.serverapp.strategy.Strategy`` as a subject.

It is driven as ``Strategy.start`` drives it: ``configure_train``, messages, replies, ``aggregate_train``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from flwr.app import ConfigRecord, Error, Message
from flwr.clientapp.mod import adaptiveclipping_mod, fixedclipping_mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    FedAvg,
    Strategy,
)

from fedpriv.errors import ConfigError, in_one_line
from fedpriv.federation.stock_client import RAISED
from fedpriv.runtimes import flower_private
from fedpriv.streams import global_coins

from .flower_claims import MOVES, Said
from .flower_clients import (
    Mod,
    PresentNodes,
    answer,
    client_of,
    context_of,
    moved,
    node_of,
    parameters,
    seeded,
    to_arrays,
    to_record,
    unheard,
)
from .scripted_federation import streams_of
from .subject import SERVER, Claim, Release, Round, Script, Subject

_KNOWN = {
    "noise_multiplier": "standard deviation of the noise on the sum / clipping norm",
    "clipping_norm": "L2 bound of one client's update; of round 1 where it adapts",
    "cohort": "clients of a round, and the divisor of their sum",
    "target_quantile": "share of updates that adaptive clipping leaves unclipped",
    "relation": f"one of {', '.join(MOVES)}; all of them where it is left out",
    "noise_law": "gaussian or laplace",
}
# What Flower's documentation demands at the clients of its own wrappers.
_MODS: Mapping[type[Strategy], Mod] = {
    DifferentialPrivacyClientSideFixedClipping: fixedclipping_mod,
    DifferentialPrivacyClientSideAdaptiveClipping: adaptiveclipping_mod,
}


def strategy_subject(
    target: Callable[..., Any], arguments: Mapping[str, Any], claims: Mapping[str, Any], *, name: str
) -> Subject:
    """A subject whose every play makes a fresh ``target(**arguments)``.

    A wrapper that is given no ``strategy`` wraps a FedAvg that asks everybody. A ``seed`` that ``target`` takes, and is
    not given, is the play's.

    Args:
        claims: what the strategy cannot say of itself (``claim.KEY=VALUE``): ``noise_multiplier``, ``clipping_norm``,
            ``cohort``, ``target_quantile``, ``relation``, ``noise_law``.

    Raises:
        ConfigError: it cannot be made, or claims nothing.
    """

    def make(seed: int) -> Strategy:
        given = seeded(target, arguments, seed)
        if "strategy" in parameters(target) and "strategy" not in given:
            given["strategy"] = FedAvg(min_train_nodes=0, min_available_nodes=0)
        try:
            made = target(**given)
        except Exception as error:
            raise ConfigError(f"{name} could not be made: {in_one_line(error)}") from error
        if not isinstance(made, Strategy):
            raise ConfigError(f"{name} makes a {type(made).__name__}, not a flwr.serverapp.strategy.Strategy.")
        return made

    with unheard():
        strategy = make(0)
    mods = tuple(mod for kind, mod in _MODS.items() if isinstance(strategy, kind))
    said = Said(name=name, subject=strategy, claims=claims, known=_KNOWN)
    return StrategySubject(name=name, make=make, claim=_claim(said), mods=mods)


@final
@dataclass(frozen=True, kw_only=True)
class StrategySubject:
    """Plays real messages between the strategy and planted clients; the coins of Flower's code are the play's.

    Args:
        make: a fresh strategy, from the play's seed.
        mods: around the clients' training.
    """

    name: str
    make: Callable[[int], Strategy]
    claim: Claim
    mods: tuple[Mod, ...]

    def play(self, script: Script, *, seed: int) -> Sequence[Release]:
        return self._play(script, seed)[0]

    def clipping_norms(self, script: Script, *, seed: int) -> Sequence[float]:
        return self._play(script, seed)[1]

    def _play(self, script: Script, seed: int) -> tuple[list[Release], list[float]]:
        """How the global arrays moved in each round; the clipping norm before each and after the last."""
        flower_private.become_server()
        arrays, config = {name: value.copy() for name, value in script.start.items()}, ConfigRecord()
        releases: list[Release] = []
        with unheard(), global_coins(streams_of(seed).rng("noise")):
            strategy = self.make(seed)
            norms = [_clipping_norm(strategy)]
            for number, round_ in enumerate(script.rounds, start=1):
                grid = PresentNodes(node_ids=[node_of(k) for k in round_.asked], execute=self._clients(round_))
                messages = list(strategy.configure_train(number, to_record(arrays), config, grid))
                self._check_asked(messages, round_)
                here = {node_of(report.client) for report in round_.reports}
                replies = list(grid.send_and_receive([m for m in messages if m.metadata.dst_node_id in here]))
                aggregated, _ = strategy.aggregate_train(number, replies)
                before, arrays = arrays, arrays if aggregated is None else to_arrays(aggregated)
                releases.append({SERVER: moved(arrays, before)})
                norms.append(_clipping_norm(strategy))
        return releases, norms

    def _clients(self, round_: Round) -> Callable[[Sequence[Message]], list[Message]]:
        reports = {report.client: report for report in round_.reports}

        def one(message: Message) -> Message:
            client = client_of(message.metadata.dst_node_id)
            context = context_of(client, num_clients=self.claim.cohort)
            try:
                return answer(message, reports[client], mods=self.mods, context=context)
            except Exception as error:  # as a SuperNode does: one client's failure is the strategy's to deal with
                return Message(Error(RAISED, in_one_line(error)), reply_to=message)

        return lambda messages: [one(message) for message in messages]

    def _check_asked(self, messages: Sequence[Message], round_: Round) -> None:
        asked = sorted(client_of(message.metadata.dst_node_id) for message in messages)
        if asked != sorted(round_.asked):
            raise ConfigError(
                f"{self.name} asks {len(asked)} of the {len(round_.asked)} nodes that it is shown. The kit says who is "
                "there: have it ask everybody (fraction_train=1.0)."
            )


def _claim(said: Said) -> Claim:
    cohort = round(said.get("cohort", "num_sampled_clients", "cohort"))
    norm = said.get("clipping_norm", "clipping_norm", "initial_clipping_norm") / cohort
    return Claim(
        unit="client",
        sensitivity={relation: MOVES[relation] * norm for relation in said.relations},
        noise_std=said.get("noise_multiplier", "noise_multiplier") * norm,
        noise_law=said.noise_law,
        noise_by="server",
        cohort=cohort,
        target_quantile=_target_quantile(said),
        survivors=None,
    )


def _target_quantile(said: Said) -> float | None:
    """Flower's adaptive wrappers name the share that is to be clipped, Andrew et al. the one that is not."""
    clipped = said.find("target_quantile", "target_clipped_quantile")
    if clipped is None or "target_quantile" in said.claims:
        return said.find("target_quantile", "target_quantile")
    return 1 - clipped


def _clipping_norm(strategy: Any) -> float:
    """As it is now; NaN where neither the strategy nor what it wraps names one."""
    while strategy is not None and not hasattr(strategy, "clipping_norm"):
        strategy = getattr(strategy, "strategy", None)
    return float(getattr(strategy, "clipping_norm", math.nan))
