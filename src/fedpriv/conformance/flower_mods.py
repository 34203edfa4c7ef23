"""Any client mod as a subject: what each client's message shows of its training, noise added by the mod."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from dp_accounting.gaussian_mechanism import get_sigma_gaussian
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.clientapp.mod import LocalDpMod

from fedpriv.accounting.sampled_gaussian import Relation
from fedpriv.errors import ConfigError
from fedpriv.runtimes import flower_private
from fedpriv.streams import global_coins

from .flower_claims import MOVES, Said
from .flower_clients import Mod, answer, context_of, moved, node_of, seeded, to_arrays, to_record, unheard
from .scripted_federation import streams_of
from .subject import Claim, Promise, Release, Report, Round, Script, Subject

_CLIENTS = 6
_ORDINARY = Script(
    start={"layer": np.zeros(3, dtype=np.float32)},
    rounds=(Round(asked=(0,), reports=(Report(client=0, update={"layer": np.ones(3)}, num_examples=1),)),),
)
_KNOWN = {
    "noise_std": "standard deviation of the noise in one message",
    "noise_multiplier": "the same / clipping norm",
    "clipping_norm": "L2 bound of one client's update",
    "sensitivity": "L2 norm that a client can move its message by, as the noise takes it",
    "epsilon": "what one message, or all of a client's, is said to cost, with claim.delta",
    "delta": "of claim.epsilon",
    "relation": f"one of {', '.join(MOVES)}; replace_one where it is left out: local privacy is about any two inputs",
    "noise_law": "gaussian or laplace",
}


def mod_subject(
    target: Callable[..., Any], arguments: Mapping[str, Any], claims: Mapping[str, Any], *, name: str
) -> Subject:
    """A subject whose every message meets a fresh mod, ``target(**arguments)``: on a SuperNode each starts a process.

    What a mod keeps, it keeps in its client's ``Context``. A ``seed`` that ``target`` takes, and is not given, is the
    play's.

    Args:
        claims: what the mod cannot say of itself (``claim.KEY=VALUE``): ``noise_std`` or ``noise_multiplier``,
            ``clipping_norm`` or ``sensitivity``, ``epsilon`` and ``delta``, ``relation``, ``noise_law``.

    Raises:
        ConfigError: it claims nothing, or answers an ordinary message with an error.
    """

    def make(seed: int) -> Mod:
        made: Mod = target(**seeded(target, arguments, seed))
        return made

    said = Said(name=name, subject=make(0), claims=claims, known=_KNOWN)
    norm = said.find("clipping_norm", "clipping_norm")
    settings = {} if norm is None else {"clipping_norm": norm}
    subject = ModSubject(name=name, make=make, claim=_claim(said), promise=_promise(said), settings=settings)
    (reply,) = subject.replies(_ORDINARY, seed=0)[0].values()
    if reply.has_error():
        raise ConfigError(f"{name} answers an ordinary message with an error: {reply.error.reason}")
    return subject


@final
@dataclass(frozen=True, kw_only=True)
class ModSubject:
    """Plays real messages through a ClientApp with the mod around planted training.

    Every client's every message has coins of its own, as processes of their own would have.

    Args:
        make: a fresh mod, from the play's seed.
        settings: what the server sends beside the round, as Flower's client-side wrappers do.
    """

    name: str
    make: Callable[[int], Mod]
    claim: Claim
    promise: Promise | None
    settings: Mapping[str, float]

    def play(self, script: Script, *, seed: int) -> Sequence[Release]:
        """A client whose mod answers with an error has sent nothing."""
        return [
            {client: _moved(reply, script) for client, reply in replies.items() if reply.has_content()}
            for replies in self.replies(script, seed=seed)
        ]

    def replies(self, script: Script, *, seed: int) -> Sequence[Mapping[int, Message]]:
        """Of each round: client -> what it answers."""
        flower_private.become_server()
        clients = {report.client for round_ in script.rounds for report in round_.reports}
        contexts = {client: context_of(client, num_clients=self.claim.cohort) for client in clients}
        found = []
        for number, round_ in enumerate(script.rounds, start=1):
            config = ConfigRecord({"server-round": number, **self.settings})
            content = RecordDict({"arrays": to_record(script.start), "config": config})
            answers: dict[int, Message] = {}
            for report in round_.reports:
                message = Message(content, dst_node_id=node_of(report.client), message_type=MessageType.TRAIN)
                flower_private.address(message, f"{number}-{report.client}")
                with unheard(), global_coins(streams_of(seed).rng("noise", number, report.client)):
                    mods, context = [self.make(seed)], contexts[report.client]
                    answers[report.client] = answer(message, report, mods=mods, context=context)
            found.append(answers)
        return found


def _moved(reply: Message, script: Script) -> np.ndarray:
    ((_, record),) = reply.content.array_records.items()
    return moved(to_arrays(record), script.start)


def _claim(said: Said) -> Claim:
    relations: tuple[Relation, ...] = said.relations if "relation" in said.claims else ("replace_one",)
    stated = said.find("sensitivity", "sensitivity")
    bounds = {
        relation: MOVES[relation] * said.get("clipping_norm", "clipping_norm") if stated is None else stated
        for relation in relations
    }
    return Claim(
        unit="client",
        sensitivity=bounds,
        noise_std=_noise_std(said, max(bounds.values())),
        noise_law=said.noise_law,
        noise_by="clients",
        cohort=_CLIENTS,
        target_quantile=None,
        survivors=None,
    )


def _noise_std(said: Said, sensitivity: float) -> float:
    """As it is said, or as an (epsilon, delta) needs it."""
    if said.find("noise_std", "noise_std") is not None:
        return said.get("noise_std", "noise_std")
    if said.find("noise_multiplier", "noise_multiplier") is not None:
        return said.get("noise_multiplier", "noise_multiplier") * said.get("clipping_norm", "clipping_norm")
    if said.find("epsilon", "epsilon") is None:
        return said.get("noise_std", "noise_std", "noise_multiplier", "epsilon")
    epsilon, delta = said.get("epsilon", "epsilon"), said.get("delta", "delta")
    if isinstance(said.subject, LocalDpMod):  # Dwork & Roth 2014, Theorem A.1; proved for epsilon below 1
        return sensitivity * math.sqrt(2 * math.log(1.25 / delta)) / epsilon
    return sensitivity * float(get_sigma_gaussian(epsilon, delta))  # Balle & Wang 2018


def _promise(said: Said) -> Promise | None:
    if said.find("epsilon", "epsilon") is None:
        return None
    return Promise(epsilon=said.get("epsilon", "epsilon"), delta=said.get("delta", "delta"))
