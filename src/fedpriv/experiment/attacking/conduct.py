"""A finished run attacked: observations are made, attacks see them, and then the truth is told."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from fedpriv import __version__
from fedpriv.attacks import FederatedObservation, MembershipAttack, ModelObservation, ShadowObservation
from fedpriv.attacks.inference import PropertyAttack
from fedpriv.attacks.integrity import in_words as integrity_in_words
from fedpriv.attacks.reconstruction import GradientAttack
from fedpriv.attacks.scoring import in_words, score
from fedpriv.attacks.scoring.parts import auc_by_part
from fedpriv.attacks.toolbox import ToolboxAttack
from fedpriv.attacks.toolbox import in_words as toolbox_in_words
from fedpriv.config import load
from fedpriv.errors import ConfigError, DamagedRunError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.candidates import Candidates
from fedpriv.experiment.attacking.challenge import Challenge, client_challenge, example_challenge
from fedpriv.experiment.attacking.choice import Attacks
from fedpriv.experiment.attacking.integrity import history, integrity
from fedpriv.experiment.attacking.parts import by_decile, by_group
from fedpriv.experiment.attacking.properties import infer_property
from fedpriv.experiment.attacking.reconstruction import reconstruct
from fedpriv.experiment.attacking.shadows import Shadows, Tell
from fedpriv.experiment.attacking.toolbox import model_facts, toolbox_result
from fedpriv.experiment.attacking.victims import Victims
from fedpriv.experiment.attacking.watching import SeenRounds
from fedpriv.experiment.tampering import Tampered
from fedpriv.records.atomic import strict_json, write_json_atomic, writing
from fedpriv.records.checkpoint import load_checkpoint
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord
from fedpriv.streams import Streams, seed_key

CONFIDENCE = 0.95
_PURPOSES = (
    "candidates",
    "shadow members",
    "shadow seeds",
    "twin noise",
    "toolbox",
    "properties",
    "simulated clients",
    "victims",
    "victim seeds",
    "adversary",
)


def attack_run(path: Path, specs: Mapping[str, Mapping[str, Any]], *, workers: int | None, tell: Tell) -> RunRecord:
    """Attack the finished run in ``path``; what was done before, with the same settings, is not done again.

    Args:
        specs: as ``attack`` in a config; empty: those of the run's own config.
        workers: processes that train shadow models; None: as many as pay.

    Raises:
        InputError: no finished run, or one that gives an attack no observation.
    """
    folder = RunFolder(path)
    record = folder.read_run_json()
    if not record.is_done:
        raise ConfigError(
            f"{path} cannot be attacked: the run is {record.status}, not finished. Go on with it first: fedpriv resume "
            f"{path}"
        )
    experiment = Experiment.assemble(load(folder.config))
    if experiment.run_id(version=record.packages.get("fedpriv", __version__)) != record.run_id:
        raise DamagedRunError(
            f"{path}: config or data are no longer those that run {record.run_id} was trained with. Restore them."
        )
    attacks = Attacks(experiment=experiment, specs=specs or experiment.config.attack)
    if not attacks.specs:
        raise ConfigError("No attack is named: e.g. fedpriv attack RUN attack=loss_threshold.")
    attacks.check()
    return conduct(attacks, folder, workers=workers, tell=tell)


def conduct(attacks: Attacks, folder: RunFolder, *, workers: int | None, tell: Tell) -> RunRecord:
    """The attacks that the folder of a finished run does not have yet, one after another."""
    with folder.acquire():
        record = folder.read_run_json()
        scene = _Scene(attacks.experiment, folder, record, workers=workers, tell=tell)
        most = max((attack.needs.shadows for attack in attacks.by_name.values()), default=0)
        for name in attacks.specs:
            settings = strict_json(dict(attacks.specs[name]))
            known = record.extra.get("attacks", {})
            if known.get(name, {}).get("settings") == settings:
                continue
            if name in attacks.by_name:
                found, curve = scene.result(name, attacks.by_name[name], shadows=most)
                more, words = {"roc": curve}, in_words
            elif name in attacks.toolbox:
                found, more = scene.toolbox(name, attacks.toolbox[name])
                words = in_words if "auc" in found else toolbox_in_words
            elif name in attacks.on_properties:
                found, more = scene.of_properties(name, attacks.on_properties[name]), {}
                words = in_words
            elif name in attacks.on_gradients:
                found, more = scene.reconstruction(attacks.on_gradients[name])
                words = in_words
            else:
                found, more, words = *scene.integrity(_known(attacks.tampered)), integrity_in_words
            found["settings"] = settings
            with writing(folder.path):
                scene.folder_of_results.mkdir(exist_ok=True)
            write_json_atomic(scene.folder_of_results / f"{name}.json", {**found, **more})
            record = replace(record, extra={**record.extra, "attacks": {**known, name: found}})
            folder.write_run_json(record)
            tell(words(name, found))
        return record


def _known(tampered: Tampered | None) -> Tampered:
    assert tampered is not None  # checked by Attacks.check
    return tampered


class _Scene:
    """A run, and what its adversaries may have of it."""

    def __init__(
        self, experiment: Experiment, folder: RunFolder, record: RunRecord, *, workers: int | None, tell: Tell
    ) -> None:
        self._experiment, self._folder, self._record = experiment, folder, record
        self._workers, self._tell = workers, tell
        self._streams = Streams(keys=dict.fromkeys(_PURPOSES, seed_key(experiment.config.seed)))
        self.folder_of_results = folder.path / "attacks"

    def result(self, name: str, attack: MembershipAttack, *, shadows: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What ``run.json`` is to say, and the curve."""
        needs = attack.needs
        challenge = self._clients if needs.level == "client" else self._examples
        if needs.watches:
            if needs.candidates is not None:
                challenge = challenge.at_most(needs.candidates, self._streams.rng("candidates", 1))
            seen: Any = self._watched(name, attack, challenge)
        elif needs.shadows:
            seen = self._with_shadows(needs.shadows, train=shadows)
        else:
            seen = ModelObservation(losses=self._final_losses)
        scores = attack.scores(seen)
        told = score(scores, challenge.members, confidence=CONFIDENCE)
        found = {
            **told.to_json(),
            **({} if needs.level == "client" else self._by_part(scores, challenge)),
            "level": needs.level,
            "sees": needs.sees,
            "shadows": needs.shadows,
            "non_members_from": challenge.others or "held_out_clients",
        }
        return found, told.curve_to_json()

    def toolbox(self, name: str, attack: ToolboxAttack) -> tuple[dict[str, Any], dict[str, Any]]:
        """What ``run.json`` is to say of one of ART's attacks, and its curve, where there is one."""
        return toolbox_result(
            attack,
            facts=model_facts(self._experiment, self._final_state),
            challenge=self._examples,
            rng=self._streams.rng("toolbox", *name.encode()),
            confidence=CONFIDENCE,
        )

    def integrity(self, tampered: Tampered) -> tuple[dict[str, Any], dict[str, Any]]:
        """What ``run.json`` is to say of the attack that changed the run, and what it came to round by round."""
        found = integrity(
            tampered,
            final=self._final_state,
            record=self._record,
            noise_multipliers=self._noise_multipliers,
            streams=self._streams,
            tell=self._tell,
        )
        return found, {"rounds": history(tampered, self._folder)}

    def _by_part(self, scores: np.ndarray, challenge: Challenge) -> dict[str, Any]:
        """Whom it finds most: by sensitive group and by decile of clients, where there are any."""
        data = self._experiment.data
        found: dict[str, Any] = {
            attribute: auc_by_part(scores, challenge.members, parts, confidence=CONFIDENCE)
            for attribute, parts in by_group(challenge, data).items()
        }
        told = {"by_group": found} if found else {}
        if parts := by_decile(challenge, data):
            told["by_decile"] = auc_by_part(scores, challenge.members, parts, confidence=CONFIDENCE)
        return told

    def of_properties(self, name: str, attack: PropertyAttack) -> dict[str, Any]:
        """What ``run.json`` is to say."""
        return infer_property(
            attack,
            experiment=self._experiment,
            rounds=SeenRounds(self._folder.path, attack=name, sees="updates", last_round=self._record.rounds),
            noise_multipliers=self._noise_multipliers,
            streams=self._streams,
            confidence=CONFIDENCE,
            tell=self._tell,
        )

    def reconstruction(self, attack: GradientAttack) -> tuple[dict[str, Any], dict[str, Any]]:
        """What ``run.json`` is to say, and a gallery."""
        experiment, is_final = self._experiment, attack.needs.model == "final"
        model = experiment.new_model().eval()
        if is_final:
            model.load_state_dict(self._final_state)
        victims = Victims(
            experiment=experiment,
            needs=attack.needs,
            parameters=experiment.layout(model).from_module(model),
            model=model,
            state=self._final_mechanism_state if is_final else None,
            noise_multipliers=self._noise_multipliers,
            streams=self._streams,
        )
        return reconstruct(attack, victims, streams=self._streams, confidence=CONFIDENCE, tell=self._tell)

    # -- observations --------------------------------------------------------------------------------------

    def _with_shadows(self, count: int, *, train: int) -> ShadowObservation:
        shadows = self._shadows
        shadows.train(max(count, train), workers=self._workers, tell=self._tell)
        population = self._population
        return ShadowObservation(
            losses=self._final_losses,
            shadow_losses=shadows.losses(self._candidates, count),
            shadow_members=np.stack([shadows.members(shadow) for shadow in range(count)]),
            population_losses=None if population is None else population.losses_of(self._final_state),
            shadow_population_losses=None if population is None else shadows.losses(population, count),
        )

    def _watched(self, name: str, attack: MembershipAttack, challenge: Challenge) -> FederatedObservation:
        model = self._experiment.new_model()
        layout = self._experiment.layout(model)
        return FederatedObservation(
            rounds=SeenRounds(self._folder.path, attack=name, sees=attack.needs.sees, last_round=self._record.rounds),
            final=layout.flatten(self._final_state),
            candidates=Candidates(self._experiment, challenge.data, challenge.groups),
            holders=None if attack.needs.level == "client" else challenge.holders,
        )

    # -- what they are made of -----------------------------------------------------------------------------

    @cached_property
    def _examples(self) -> Challenge:
        return example_challenge(self._experiment.data, self._streams.rng("candidates"))

    @cached_property
    def _clients(self) -> Challenge:
        return client_challenge(self._experiment.data, self._streams.rng("candidates"))

    @cached_property
    def _candidates(self) -> Candidates:
        return Candidates(self._experiment, self._examples.data, self._examples.groups)

    @cached_property
    def _population(self) -> Candidates | None:
        """The server's test examples, where they are not candidates themselves."""
        data = self._experiment.data
        if self._examples.others == "test":
            return None
        of_test = replace(data, train=data.test)
        return Candidates(self._experiment, of_test, list(np.arange(len(data.test))[:, None]))

    @cached_property
    def _final_state(self) -> dict[str, torch.Tensor]:
        try:
            return load_file(self._folder.model)
        except Exception as error:
            raise DamagedRunError(f"{self._folder.model} cannot be read. Restore it from a copy.") from error

    @cached_property
    def _final_losses(self) -> np.ndarray:
        return self._candidates.losses_of(self._final_state)

    @cached_property
    def _shadows(self) -> Shadows:
        return Shadows(
            experiment=self._experiment,
            challenge=self._examples,
            rounds=self._record.rounds,
            noise_multipliers=self._noise_multipliers,
            streams=self._streams,
            folder=self.folder_of_results / "shadows",
        )

    @cached_property
    def _noise_multipliers(self) -> np.ndarray:
        checkpoint = load_checkpoint(self._folder.checkpoint)
        if checkpoint is None:
            return self._experiment.privacy.noise_multipliers()
        planned: np.ndarray = checkpoint.tensors["plan/noise_multipliers"].numpy()
        return planned

    @cached_property
    def _final_mechanism_state(self) -> dict[str, torch.Tensor] | None:
        """What the mechanism keeps between rounds, after the last; None: no checkpoint, nothing known."""
        checkpoint = load_checkpoint(self._folder.checkpoint)
        if checkpoint is None:
            return None
        own = "mechanism/"
        return {name[len(own) :]: tensor for name, tensor in checkpoint.tensors.items() if name.startswith(own)}
