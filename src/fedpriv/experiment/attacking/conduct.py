"""A finished run attacked: observations are made, attacks see them, and then the truth is told."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedpriv import __version__
from fedpriv.attacks import MembershipAttack, in_words
from fedpriv.attacks.inference import AttributeAttack, PropertyAttack
from fedpriv.attacks.reconstruction import GradientAttack
from fedpriv.attacks.toolbox import ToolboxAttack
from fedpriv.config import load
from fedpriv.errors import ConfigError, DamagedRunError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.attributes import infer_attribute
from fedpriv.experiment.attacking.choice import AnyAttack, Attacks
from fedpriv.experiment.attacking.integrity import history, integrity
from fedpriv.experiment.attacking.membership import membership
from fedpriv.experiment.attacking.properties import infer_property
from fedpriv.experiment.attacking.reconstruction import reconstruct
from fedpriv.experiment.attacking.scene import Scene
from fedpriv.experiment.attacking.shadows import Tell
from fedpriv.experiment.attacking.toolbox import model_facts, toolbox_result
from fedpriv.experiment.attacking.victims import Victims
from fedpriv.experiment.tampering import Tampered
from fedpriv.records.atomic import strict_json, write_json_atomic, writing
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord

CONFIDENCE = 0.95


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
        scene = Scene(
            experiment=attacks.experiment,
            folder=folder,
            record=record,
            shadows=attacks.shadows,
            workers=workers,
            tell=tell,
            confidence=CONFIDENCE,
        )
        for name, attack in attacks.by_name.items():
            settings = strict_json(dict(attacks.specs[name]))
            known = record.extra.get("attacks", {})
            if known.get(name, {}).get("settings") == settings:
                continue
            found, more = _result(name, attack, scene)
            found["settings"] = settings
            with writing(folder.path):
                scene.results.mkdir(exist_ok=True)
            write_json_atomic(scene.results / f"{name}.json", {**found, **more})
            record = replace(record, extra={**record.extra, "attacks": {**known, name: found}})
            folder.write_run_json(record)
            tell(in_words(name, found))
        return record


def _result(name: str, attack: AnyAttack, scene: Scene) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``run.json`` is to say, and what the attack's own file has beside it."""
    match attack:
        case MembershipAttack():
            return membership(name, attack, scene)
        case PropertyAttack():
            return _property(name, attack, scene), {}
        case AttributeAttack():
            return infer_attribute(attack, scene), {}
        case GradientAttack():
            return _reconstruction(attack, scene)
        case ToolboxAttack():
            return toolbox_result(
                attack,
                facts=model_facts(scene.experiment, scene.final_state),
                challenge=scene.examples,
                rng=scene.streams.rng("toolbox", *name.encode()),
                confidence=scene.confidence,
            )
        case Tampered():
            return _integrity(attack, scene), {"rounds": history(attack, scene.folder)}


def _property(name: str, attack: PropertyAttack, scene: Scene) -> dict[str, Any]:
    return infer_property(
        attack,
        experiment=scene.experiment,
        rounds=scene.rounds(name, sees="updates"),
        noise_multipliers=scene.noise_multipliers,
        streams=scene.streams,
        confidence=scene.confidence,
        tell=scene.tell,
    )


def _reconstruction(attack: GradientAttack, scene: Scene) -> tuple[dict[str, Any], dict[str, Any]]:
    experiment, is_final = scene.experiment, attack.needs.model == "final"
    model = scene.model(is_final=is_final)
    victims = Victims(
        experiment=experiment,
        needs=attack.needs,
        parameters=experiment.layout(model).from_module(model),
        model=model,
        state=scene.mechanism_state if is_final else None,
        noise_multipliers=scene.noise_multipliers,
        streams=scene.streams,
    )
    return reconstruct(attack, victims, streams=scene.streams, confidence=scene.confidence, tell=scene.tell)


def _integrity(tampered: Tampered, scene: Scene) -> dict[str, Any]:
    return integrity(
        tampered,
        final=scene.final_state,
        record=scene.record,
        noise_multipliers=scene.noise_multipliers,
        streams=scene.streams,
        tell=scene.tell,
    )
