"""One start or resumption of a run: plans what the budget allows, trains it, records it."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fedpriv.accounting.accountants import Epsilon
from fedpriv.accounting.budget import EpsilonMeter
from fedpriv.accounting.claims import noise_by_clients
from fedpriv.accounting.guarantee import EVIDENCE
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.statement import whole_statement
from fedpriv.config import dump
from fedpriv.errors import AuditError, BudgetExhaustedError, FedprivError, InterruptedRunError
from fedpriv.evaluation import baseline, by_size, evaluate_global, in_channels_last, spread
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking import Watch
from fedpriv.experiment.elsewhere import Elsewhere, make_app_alike
from fedpriv.experiment.inequality import inequality
from fedpriv.experiment.nodes import make_app
from fedpriv.experiment.planning import affordable, too_small
from fedpriv.experiment.recording import Recorder, client_columns, round_row, rounds_trained
from fedpriv.experiment.recovery import Start, choose_attempt, is_pending, key_name
from fedpriv.experiment.tampering import tampered_by
from fedpriv.federation import (
    Algorithm,
    App,
    FederatedAveraging,
    Grid,
    NamingGrid,
    RoundOutcome,
    ServerOptimizer,
    ServerState,
    make_server_app,
)
from fedpriv.privacy import Retirement
from fedpriv.privacy.sampling import participations
from fedpriv.records.atomic import write_text_atomic
from fedpriv.records.checkpoint import save_model
from fedpriv.records.environment import difference, environment_fingerprint, package_versions, source_revision
from fedpriv.records.hashchain import HashChain
from fedpriv.records.noise_key import destroy_noise_key
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import ChainMark, Execution, RunRecord
from fedpriv.runtimes.given_grid import run_on_grid
from fedpriv.runtimes.inprocess import run_inprocess
from fedpriv.tracking import Callback

if TYPE_CHECKING:
    from fedpriv.audits.finding import Finding

_CHECKPOINT_SECONDS = 2.0
_NODE_SECONDS = 600.0
_LARGE_DELTA = 0.01


class Attempt:
    """One start or resumption of a run, owner of its folder.

    Args:
        grid: nodes that somebody else runs; None for nodes in this process and its workers.
        watch: takes notes of the rounds, for attacks on them; None: nobody does.
    """

    def __init__(
        self,
        *,
        experiment: Experiment,
        folder: RunFolder,
        reporter: Callback,
        grid: Grid | None,
        ledger: HashChain,
        audit: HashChain,
        earlier: RunRecord | None,
        start: Start,
        noise_multipliers: np.ndarray,
        noise_key: bytes | None,
        watch: Watch | None,
    ) -> None:
        self.experiment, self.folder, self.reporter, self.grid = experiment, folder, reporter, grid
        self.start, self.noise_multipliers = start, noise_multipliers
        self.environment = {
            **environment_fingerprint(),
            "tuning": experiment.tuning.to_json(),
            "data": experiment.data.fingerprint,
            "noise key": key_name(noise_key),
            "own code": experiment.own_code,
            "nodes": "in this process" if grid is None else "elsewhere",
        }
        self.watch, self.tampered = watch, tampered_by(experiment)
        self._redone = earlier is not None and earlier.is_done
        self.model = experiment.new_model()
        self.tested_model = in_channels_last(self.model, experiment.data.sample(2).to(experiment.device))
        self.layout = experiment.layout(self.model)
        self.recorder = Recorder(
            folder=folder,
            ledger=ledger,
            audit=audit,
            record=self._record(earlier, ledger, audit),
        )
        changes = self._changes(audit)
        attempt = choose_attempt(
            self.recorder.entries,
            start_round=start.round,
            attempt=start.attempt,
            same_coins=not changes,
        )
        spent = [e for e in self.recorder.entries if e.attempt < attempt or e.round <= start.round]
        self.streams = experiment.streams(noise_key, attempt=attempt)
        self.retirement = self._retirement(attempt, spent)
        self.notes = self._notes(changes, attempt)
        self.mechanism = experiment.privacy.mechanism(noise_multipliers, self.streams, self.retirement)
        self.state = self._server_state(attempt)
        self.algorithm = self._algorithm()
        self.metrics = dict(start.metrics)
        self.last_round, planned = self._plan()
        self.meters = [
            EpsilonMeter(accounting=promise.accounting, cap=at_most.value, spent=promise.of(spent))
            for promise, at_most in zip(experiment.privacy.promises, planned, strict=True)
        ]
        self.finding: Finding | None = None
        self.contradicted = False
        self._began = self._saved_at = time.monotonic()

    # -- before training -----------------------------------------------------------------------------------

    def _record(self, earlier: RunRecord | None, ledger: HashChain, audit: HashChain) -> RunRecord:
        config = self.experiment.config
        return RunRecord(
            status="running",
            run_id=self.folder.path.name if earlier is None else earlier.run_id,
            name=config.name,
            seed=config.seed,
            metrics=dict(self.start.metrics),
            guarantee=None,
            guarantees=[],
            rounds=self.start.round,
            seconds=self.start.seconds,
            packages=package_versions(),
            revision=source_revision(),
            ledger=ChainMark(head=ledger.head, count=ledger.count),
            audit=ChainMark(head=audit.head, count=audit.count),
            audited=None,
            error=None,
            execution=Execution(
                rounds_trained=rounds_trained(self.folder),
                resumed_from=None if self.start.tensors is None else self.start.round,
                worker_pids=[],
                attempts=1 if earlier is None else earlier.execution.attempts + 1,
            ),
            extra={
                "task": self._task(),
                "training": self._training(),
                "data": {"fingerprint": self.experiment.data.fingerprint},
                "own_code": dict(self.experiment.own_code),
            },
        )

    def _task(self) -> dict[str, Any]:
        task = self.experiment.task
        return {
            "name": type(task).__name__,
            "headline": f"test_{task.headline}",
            "higher_is_better": task.higher_is_better,
            "public_data": self.experiment.data.public,
        }

    def _training(self) -> dict[str, Any]:
        """Which engine trains, how its work is cut, and, where it steps by layers, how gradients' norms come about."""
        found = self.experiment.tuning.to_json()
        if formulation := found.pop("formulation"):
            found["gradients"] = {name or "whole model": how for name, how in formulation["methods"].items()}
        return {**found, "tf32": False, "amp": False}

    def _changes(self, audit: HashChain) -> list[str]:
        """What is no longer as it was when the ledger's entries were written, as far as is known."""
        if self.start.environment is None:
            return ["the checkpoint is lost"] if self.recorder.entries else []
        changes = [f"since the checkpoint: {change}" for change in difference(self.start.environment, self.environment)]
        if self.experiment.device.type != "cpu":
            changes.append(f"{self.experiment.device} does not repeat a round bit for bit")
        if self.grid is not None and self.recorder.entries:
            changes.append("the nodes may be other machines than those that trained before")
        if not is_pending(self.recorder.entries, start_round=self.start.round, attempt=self.start.attempt):
            return changes
        if any(line["event"] == "client_failed" and line["round"] > self.start.round for line in audit.entries):
            changes.append("clients failed, which may not happen again")
        if self._own_code:
            changes.append(f"code of your own ({', '.join(self._own_code)}) may not do the same again")
        return changes

    @property
    def _own_code(self) -> list[str]:
        """What runs that is not fedpriv's; the file of ``model.init`` is data, and its digest is compared."""
        return [name for name in self.experiment.own_code if name != "model.init"]

    @property
    def _server_is_adversary(self) -> bool:
        """Whether nodes keep diagnostics to themselves."""
        return self.grid is not None and noise_by_clients(self.experiment.config.privacy.mechanism)

    def _notes(self, changes: list[str], attempt: int) -> list[str]:
        notes = list(changes)
        if fresh := self.experiment.not_in_init:
            more = f" and {len(fresh) - 3} more" if len(fresh) > 3 else ""
            notes.append(f"model.init lacks {', '.join(fresh[:3])}{more}: these start at random")
        if self._server_is_adversary and self.experiment.config.evaluation.clients:
            choice = self.experiment.config.privacy.mechanism
            notes.append(f"evaluation.clients is off: with privacy={choice} nodes tell a server elsewhere nothing more")
        if self.experiment.config.privacy.mechanism != "none":
            delta, rule = self.experiment.privacy.headline.delta
            if delta > _LARGE_DELTA:
                notes.append(
                    f"delta is {delta:.2g} ({rule}): a promise that may fail so often says little at any epsilon. "
                    "More units, or a smaller privacy.delta."
                )
        if self.retirement is not None and (out := self._drawn_in_vain(self.retirement)):
            since = f" after round {self.retirement.since}" if self.retirement.since else ""
            notes.append(f"{out} clients take no part{since}: privacy.client_budgets allows them less than one round")
        if self.tampered is not None:
            notes.append(self.tampered.in_words)
        if attempt != self.start.attempt:
            notes.append(
                "rounds that were released but not checkpointed are released again, and paid for again"
            )
        return notes

    def _drawn_in_vain(self, retirement: Retirement) -> int:
        """Clients that would be drawn, but may not take part."""
        population = self.experiment.data.population_ids
        drawn = np.ones(self.experiment.data.num_clients, dtype=np.int64)
        if noise_by_clients(self.experiment.config.privacy.mechanism):
            drawn = participations(
                self.experiment.privacy.sampler(self.streams, None),
                first_round=retirement.since + 1,
                last_round=self.experiment.config.rounds,
                population=len(drawn),
            )
        return int(((retirement.left == 0) & (drawn > 0))[population].sum())

    def _retirement(self, attempt: int, spent: Sequence[ReleaseEntry]) -> Retirement | None:
        """As this attempt began with it: rounds that are trained again have the same cohorts."""
        if attempt == self.start.attempt and self.start.retirement is not None:
            return self.start.retirement
        return self.experiment.privacy.retirement(
            self.noise_multipliers,
            self.streams,
            paid=spent,
            since=self.start.round,
            attempt=attempt,
        )

    def _server_state(self, attempt: int) -> ServerState:
        optimizer = ServerOptimizer(
            layout=self.layout,
            start=self.layout.from_module(self.model),
            make_optimizer=self.experiment.server_optimizer,
        )
        rule = self.experiment.server_rule(self.layout)
        states: dict[int, dict[str, torch.Tensor]] = {}
        kept = self.mechanism.initial_state()
        if self.start.tensors is not None:
            optimizer.load_tensors(_section(self.start.tensors, "server"))
            rule.load_tensors(_section(self.start.tensors, "rule"))
            kept = _section(self.start.tensors, "mechanism")
            for key, tensor in _section(self.start.tensors, "client").items():
                client, _, name = key.partition("/")
                states.setdefault(int(client), {})[name] = tensor
        return ServerState(
            round=self.start.round,
            attempt=attempt,
            optimizer=optimizer,
            rule=rule,
            mechanism=kept,
            states=dict(states),
        )

    def _plan(self) -> tuple[int, list[Epsilon]]:
        """The last round that every budget allows, all entries of the ledger paid, and each unit's epsilon then."""
        return affordable(
            self.experiment,
            self.mechanism,
            self.streams,
            retirement=self.retirement,
            paid=self.recorder.entries,
            trained=self.start.round,
            attempt=self.state.attempt,
        )

    # -- training ------------------------------------------------------------------------------------------

    def execute(self) -> RunRecord:
        """Train to the last round that the budget allows."""
        try:
            self._begin()
            self._train()
        except KeyboardInterrupt as error:
            self._stop("interrupted", None)
            raise InterruptedRunError(
                f"Interrupted. Go on with: fedpriv resume {self.folder.path}"
            ) from error
        except BudgetExhaustedError as error:
            if not self._redone:  # what an earlier run left stays as it is
                write_text_atomic(self.folder.config, dump(self.experiment.config))
                self._stop("stopped_at_budget", str(error))
            raise
        except Exception as error:
            self._stop("failed", f"{error}" or type(error).__name__)
            raise
        self.reporter.finished(self.folder.path, self.recorder.record)
        return self.recorder.record

    def _train(self) -> None:
        server_app = make_server_app(
            algorithm=self.algorithm,
            state=self.state,
            last_round=self.last_round,
            after_round=self._after_round,
            finish=self._finish,
        )
        if self.grid is not None:
            run_on_grid(
                NamingGrid(self.grid, experiment=self.experiment.run_id()),
                server_app=server_app,
                num_nodes=1 if self.experiment.config.clients_per_node is None else self.experiment.num_nodes,
                patience=_NODE_SECONDS,
                started=self._workers_started,
            )
            return
        run_inprocess(
            build=self._build,
            server_app=server_app,
            num_nodes=self.experiment.num_nodes,
            pool_kind=self.experiment.pool_kind,
            modules=self.experiment.own_code,
            started=self._workers_started,
        )

    @property
    def _build(self) -> Callable[[], App]:
        """What a worker builds its app by."""
        if self.experiment.config.runtime.kind != "ray":
            return partial(make_app, self.experiment, self.mechanism, self.streams)
        experiment = Elsewhere.of(self.experiment, environment=environment_fingerprint())
        return partial(make_app_alike, experiment, self.mechanism, self.streams)

    def _begin(self) -> None:
        if self.last_round < 1:
            raise self._exhausted()
        anew = self.start.tensors is None
        if self.watch is not None:
            self.watch.begin(rounds_done=self.start.round)
        write_text_atomic(self.folder.config, dump(self.experiment.config))
        self.recorder.write()
        self.recorder.withdraw()
        self.recorder.decide(
            "started" if anew else "resumed",
            round=self.start.round,
            attempt=self.state.attempt,
            last_round=self.last_round,
            notes=self.notes,
            terms=[promise.terms.to_json() for promise in self.experiment.privacy.promises],
            config=self._config_sha256(),
            noise_multipliers=_summary(self.noise_multipliers),
        )
        if self.start.environment != self.environment or self.state.attempt != self.start.attempt or anew:
            self._checkpoint()  # says where the entries to come are trained
        self.recorder.forget_after(self.start.round)  # not before the checkpoint says so
        self.reporter.started(
            self.folder.path, rounds_done=self.state.round, last_round=self.last_round, notes=self.notes
        )

    def _exhausted(self) -> BudgetExhaustedError:
        privacy = self.experiment.privacy
        budgets = " or ".join(f"epsilon={promise.budget:g}" for promise in privacy.promises)
        return BudgetExhaustedError(
            f"The ledger in {self.folder.path} has spent the budget of {budgets}, and what was released stays "
            "released. Choose another seed or output_dir for a run of its own."
            if self.recorder.entries
            else too_small(privacy)
        )

    def _algorithm(self) -> Algorithm:
        if self.experiment.is_stock:
            return self.experiment.stock_algorithm(
                self.mechanism,
                self.streams,
                model=self.model,
                layout=self.layout,
                permit=self._permit,
                observers=(),
            )
        return FederatedAveraging(
            layout=self.layout,
            sampler=self.experiment.privacy.sampler(self.streams, self.retirement),
            mechanism=self.mechanism,
            client_sizes=self.experiment.data.client_sizes,
            weights=self.experiment.client_weights,
            chunk_size=self.experiment.tuning.chunk_size,
            clients_per_node=self.experiment.config.clients_per_node,
            permit=self._permit,
            observers=() if self.watch is None else (self.watch.observer(self.layout),),
            each=self.watch is not None and self.watch.each,
        )

    def _workers_started(self, pids: list[int]) -> None:
        self.recorder.write(execution=replace(self.recorder.record.execution, worker_pids=pids))
        self._began = self._round_began = self._saved_at = time.monotonic()

    def _permit(self, entry: ReleaseEntry) -> None:
        self.recorder.permit(entry)
        for promise, meter in zip(self.experiment.privacy.promises, self.meters, strict=True):
            for mine in promise.of([entry]):
                meter.spend(mine)

    def _after_round(self, outcome: RoundOutcome) -> None:
        for client, failure in sorted(outcome.failures.items()):
            self.recorder.decide("client_failed", round=outcome.round, client=client, failure=failure)
        if outcome.aborted:
            asked = len(outcome.cohort)
            self.recorder.decide("round_aborted", round=outcome.round, answered=outcome.replied, asked=asked)
        trained = time.monotonic()
        tested = self._test(outcome.round)
        now = time.monotonic()
        row = round_row(
            outcome,
            tested=tested,
            epsilons=self._epsilons(),
            attempt=self.state.attempt,
            seconds=now - self._round_began,
            seconds_testing=now - trained,
        )
        self._round_began = now
        self.recorder.add_round(row, client_columns(outcome))
        self.reporter.round_done(row, outcome.failures)
        if now - self._saved_at >= _CHECKPOINT_SECONDS:
            self._checkpoint()

    def _epsilons(self) -> dict[str, float | None]:
        """Upper bounds on what has been spent; the headline's is ``epsilon``."""
        names = ["epsilon", *(f"{promise.unit}_epsilon" for promise in self.experiment.privacy.promises[1:])]
        spent = [meter.upper_bound() if self.recorder.entries else None for meter in self.meters]
        return dict(zip(names, spent, strict=True))

    def _test(self, round_number: int) -> Mapping[str, float]:
        if round_number % self.experiment.config.evaluation.every and round_number != self.last_round:
            return {}
        if self.experiment.config.strategy.personal:
            return {}  # the shared layers alone answer nothing
        model = self._loaded(self.tested_model)
        tested = evaluate_global(
            model,
            data=self.experiment.data,
            task=self.experiment.task,
            device=self.experiment.device,
        )
        if self.tampered is not None:
            tested |= self.tampered.tested(model)
        self.metrics.update(tested)
        return tested

    def _loaded(self, model: torch.nn.Module) -> torch.nn.Module:
        """With the parameters of now."""
        self.layout.load_into(model, self.layout.flatten(self.state.optimizer.parameters))
        return model

    # -- records -------------------------------------------------------------------------------------------

    @property
    def _seconds(self) -> float:
        return self.start.seconds + time.monotonic() - self._began

    def _checkpoint(self) -> None:
        tensors = {"plan/noise_multipliers": torch.from_numpy(np.asarray(self.noise_multipliers))}
        if self.retirement is not None:
            tensors["plan/since"] = torch.tensor(self.retirement.since)
            tensors["plan/left"] = torch.from_numpy(self.retirement.left)
        tensors |= {f"server/{name}": tensor for name, tensor in self.state.optimizer.tensors().items()}
        tensors |= {f"rule/{name}": tensor for name, tensor in self.state.rule.tensors().items()}
        tensors |= {f"mechanism/{name}": tensor for name, tensor in self.state.mechanism.items()}
        for client, state in self.state.states.items():
            tensors |= {f"client/{client}/{name}": tensor for name, tensor in state.items()}
        self.recorder.checkpoint(
            self.state.round,
            tensors=tensors,
            state={
                "round": self.state.round,
                "attempt": self.state.attempt,
                "metrics": self.metrics,
                "seconds": self._seconds,
                "environment": self.environment,
            },
        )
        self._saved_at = time.monotonic()

    def _finish(self, grid: Grid) -> None:
        self.metrics["baseline"] = baseline(self.experiment.data, task=self.experiment.task)
        silent = self._server_is_adversary or self.experiment.client_app_is_own
        evaluated, measured = np.zeros(0, np.int64), dict[str, np.ndarray]()
        if self.experiment.config.evaluation.clients and not silent:
            told, evaluated, measured = self._over_clients(grid)
            self.metrics.update(told)
        seconds = self._seconds
        self._checkpoint()
        save_model(self.folder.model, self._loaded(self.model).state_dict())
        self.recorder.finish_tables()
        unequal = inequality(
            self.experiment,
            model=self._loaded(self.model),
            folder=self.folder.path,
            clients=evaluated,
            measured=measured,
        )
        self.finding = self._audited()
        status = "completed" if self.last_round >= self.experiment.config.rounds else "stopped_at_budget"
        self.recorder.decide(status, round=self.state.round)
        self.recorder.write(
            status=status,
            metrics=self.metrics,
            seconds=seconds,
            rounds=self.state.round,
            audited=None if self.finding is None else self.finding.told,
            extra={**self.recorder.record.extra, **unequal},
            **self._guarantees(),
        )
        destroy_noise_key(self.folder.noise_key)

    def _audited(self) -> "Finding | None":
        """What the canaries show of the model that is about to be published.

        Raises:
            AuditError: it is not what the run claims.
        """
        if not self.experiment.config.audit:
            return None
        from fedpriv.experiment.auditing import audit_of  # scipy, only for audited runs

        audit = audit_of(self.experiment)
        if audit is None:
            return None
        finding = audit.finding(
            self.streams,
            begun=self.layout.from_module(self.experiment.new_model()),
            ended=self.layout.flatten(self.state.optimizer.parameters),
        )
        self.recorder.decide("audited", round=self.state.round, **finding.to_json())
        promise = audit.promise
        claim = promise.guarantee(self.recorder.entries, evidence=finding.in_words) if promise.unit else None
        if claim is not None and finding.contradicts(claim.epsilon, claim.curve):
            self.contradicted = True
            self.recorder.write(audited=finding.told)
            raise AuditError(
                f"The audit contradicts the claim of epsilon {claim.epsilon:.4g} at delta {claim.delta:.3g}: "
                f"{finding.in_words}. Something protects less than the ledger says; nothing is claimed. Please report "
                "this with the run's folder."
            )
        return finding

    def _over_clients(self, grid: Grid) -> tuple[dict[str, float], np.ndarray, dict[str, np.ndarray]]:
        """How unequally the model serves clients: those it was trained on, and those that were held out.

        Returns:
            The metrics of both; the former's ids, and each metric of theirs.
        """
        data, headline = self.experiment.data, self.experiment.task.headline
        sizes = data.client_sizes if data.holdout is None else data.holdout.sizes
        own = "client" if data.holdout is None else "client_holdout"
        asked = {f"diagnostic_{own}_{headline}": data.population_ids}
        if not self.experiment.config.strategy.personal:
            asked[f"diagnostic_held_out_{own}_{headline}"] = data.held_out_clients
        found, told = dict[str, float](), {}
        for name, clients in asked.items():
            holders = clients[sizes[clients] > 0]
            if len(holders):
                measured = self.algorithm.evaluate_clients(grid, self.state, holders)
                told[name] = holders, dict(measured)
                values = measured.get(headline, np.zeros(0))
                found |= spread(values, name=name)
                found |= by_size(values, sizes[holders], name=name) if len(values) else {}
        ids, columns = told.get(next(iter(asked)), (np.zeros(0, np.int64), {}))
        return found, ids, columns

    def _stop(self, status: str, error: str | None) -> None:
        """Say how it ended. The last checkpoint stands: the state in memory may be half of a round."""
        with suppress(FedprivError):  # on a full disk the reason is worth more than a second error
            self.recorder.decide(status, error=error)
        with suppress(FedprivError):
            self.recorder.write(status=status, error=error, seconds=self._seconds, **self._guarantees())
        self.reporter.stopped(self.folder.path, self.recorder.record)

    def _guarantees(self) -> dict[str, Any]:
        """What the ledger earns, for ``run.json``; the whole statement goes into files of its own."""
        promises = self.experiment.privacy.promises
        if self.contradicted:
            self.recorder.withdraw()
            return {"guarantee": None, "guarantees": []}
        evidence = EVIDENCE if self.finding is None else self.finding.in_words
        entries = self.recorder.entries
        earned = [
            promise.guarantee(
                entries, evidence=EVIDENCE if self.finding is None else self.finding.evidence(promise.unit)
            )
            for promise in promises
        ]
        if self.recorder.has_started:
            self.recorder.state(
                whole_statement(
                    earned,
                    terms=[promise.terms for promise in promises],
                    provenance=self.recorder.record.provenance,
                    config_sha256=self._config_sha256(),
                    evidence=evidence,
                )
            )
        stated = [None if guarantee is None else guarantee.to_json() for guarantee in earned]
        return {"guarantee": stated[0], "guarantees": [one for one in stated if one is not None]}

    def _config_sha256(self) -> str:
        """Of ``config.yaml``, as this attempt writes it."""
        return hashlib.sha256(dump(self.experiment.config).encode()).hexdigest()


def _section(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}


def _summary(noise_multipliers: np.ndarray) -> list[float] | None:
    known = noise_multipliers[~np.isnan(noise_multipliers)]
    return [float(known.min()), float(known.max())] if len(known) else None
