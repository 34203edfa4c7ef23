"""Is what a run folder says true? Everything that can be recomputed from its files is."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpriv.accounting.claims import CLAIMS
from fedpriv.accounting.guarantee import EVIDENCE, Guarantee, state_guarantee
from fedpriv.accounting.ledger import LedgerTables, ReleaseEntry
from fedpriv.accounting.printed import upwards
from fedpriv.accounting.statement import markdown, whole_statement
from fedpriv.accounting.terms import Terms
from fedpriv.errors import ConfigError, DamagedRunError
from fedpriv.records.atomic import strict_json
from fedpriv.records.hashchain import ChainMismatchError, read_chain
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord

if TYPE_CHECKING:
    from fedpriv.audits.finding import Finding

_TOLERANCE = 1e-6  # relative; the same accountant on the same numbers
_MEND = "Restore it from a copy, or run again with force=true."


@dataclass(frozen=True)
class Verdict:
    """Whether a run folder holds, and why; with the guarantees that its ledger earns, where it holds: the headline's
    first, None for a unit about which nothing is claimed."""

    holds: bool
    lines: tuple[str, ...]
    guarantees: tuple[Guarantee | None, ...] = (None,)

    @property
    def guarantee(self) -> Guarantee | None:
        """The headline's."""
        return self.guarantees[0]


def verify(path: Path) -> Verdict:
    """Check the ledger's chain against ``run.json`` and recompute all that is stated from its raw numbers.

    Raises:
        InputError: the folder, or a file of it, cannot be read.
    """
    folder = RunFolder(path)
    record = folder.read_run_json()
    ended = record.status in ("completed", "stopped_at_budget")
    try:
        lines = read_chain(
            folder.ledger, trusted_count=record.ledger.count, trusted_head=record.ledger.head, exact=ended
        )
        decisions = read_chain(
            folder.audit, trusted_count=record.audit.count, trusted_head=record.audit.head, exact=ended
        )
    except ChainMismatchError as error:
        return Verdict(False, (f"FAILS  {error}",))
    chain = f"holds  ledger: {len(lines)} lines, chained to the head in run.json"
    starts = [line for line in decisions if line.get("event") in ("started", "resumed")]
    if not starts:
        return _never_started(folder, record, chain)
    if _sha256(folder.config) != starts[-1].get("config"):
        return Verdict(False, (chain, "FAILS  config.yaml is not the one that the run was started with"))
    entries = list(LedgerTables().entries(lines))
    try:
        terms = [Terms.from_json(about) for about in starts[-1]["terms"]]
        finding = _finding(decisions)
        evidence = EVIDENCE if finding is None else finding.in_words
        earned = tuple(_earned(entries, terms, finding))
    except (KeyError, TypeError, IndexError):
        old = "FAILS  audit.jsonl does not hold what this fedpriv states a guarantee under: another version wrote it"
        return Verdict(False, (chain, old))
    except ConfigError as error:
        return Verdict(False, (chain, f"FAILS  the guarantee cannot be recomputed: {error}"))
    wrong = [
        *_unpaid(record, entries),
        *_wrong_audit(record, finding, earned),
        *_wrong_record(record, earned),
        *_wrong_files(folder, record, earned, terms, evidence),
    ]
    if wrong:
        return Verdict(False, (chain, *(f"FAILS  {line}" for line in wrong)))
    return Verdict(True, (chain, f"holds  {_summary(record, earned)}"), earned)


def _finding(decisions: Sequence[Mapping[str, Any]]) -> "Finding | None":
    """What the last audit found, its bound computed again from the guesses."""
    audited = [line for line in decisions if line.get("event") == "audited"]
    if not audited:
        return None
    from fedpriv.audits.finding import Finding  # scipy, only where there is an audit

    return Finding.from_json(audited[-1])


def _wrong_audit(record: RunRecord, finding: "Finding | None", earned: Sequence[Guarantee | None]) -> Iterator[str]:
    """Where ``run.json`` tells of another audit, or of a claim that the audit has ruled out."""
    if record.status != "running" and (record.audited is None) != (finding is None):
        yield "audit: run.json and audit.jsonl do not tell of the same audit"
    elif record.audited is not None and finding is not None and record.audited != strict_json(finding.told):
        yield f"audit: {_differences(record.audited, strict_json(finding.told))}"
    audited = [claim for claim in earned if claim and finding and finding.is_about(claim.unit)]
    if finding is not None and any(finding.contradicts(claim.epsilon, claim.curve) for claim in audited):
        yield f"audit: it contradicts the claim: {finding.in_words}"


def _earned(
    entries: Sequence[ReleaseEntry], terms: Sequence[Terms], finding: "Finding | None"
) -> Iterator[Guarantee | None]:
    """Of each unit; an entry that is about none of them belongs to the first, which refuses it."""
    others = {about.unit for about in terms[1:]}
    for number, about in enumerate(terms):
        mine = [entry for entry in entries if (entry.unit == about.unit if number else entry.unit not in others)]
        yield state_guarantee(mine, terms=about, evidence=EVIDENCE if finding is None else finding.evidence(about.unit))


def _unpaid(record: RunRecord, entries: Sequence[ReleaseEntry]) -> Iterator[str]:
    """Where clients do not add the noise, every round releases, that of an empty cohort too."""
    central = [entry for entry in entries if CLAIMS[entry.mechanism].trust_model == "central"]
    if not central:
        return
    if missing := sorted(set(range(1, record.rounds + 1)) - {entry.round for entry in central}):
        yield f"run.json tells of {record.rounds} rounds, but the ledger has no entry of round {missing[0]}"


def _never_started(folder: RunFolder, record: RunRecord, chain: str) -> Verdict:
    """A run that was stopped before it began states nothing."""
    stated = ["run.json"] if record.guarantee is not None else []
    stated += [path.name for path in (folder.guarantee_json, folder.guarantee_md) if path.exists()]
    if stated:
        wrong = f"FAILS  {', '.join(stated)}: a guarantee is stated, but the audit log knows of no start"
        return Verdict(False, (chain, wrong))
    return Verdict(True, (chain, "holds  no guarantee is stated: the run never began"))


def _wrong_record(record: RunRecord, earned: Sequence[Guarantee | None]) -> Iterator[str]:
    """Where ``run.json`` states other guarantees than the ledger earns."""
    stated, headline = record.guarantee, earned[0]
    if stated is None:
        if headline is not None and record.status != "running":
            yield "guarantee: releases were made, but run.json states none"
        if record.guarantees:
            yield "guarantees: run.json states some, but no headline"
        return
    if headline is None:
        yield "guarantee: one is stated, but the ledger earns none"
        return
    if differences := _differences(stated, strict_json(headline.to_json())):
        yield f"guarantee: {differences}"
    also = [guarantee for guarantee in earned[1:] if guarantee is not None]
    if len(record.guarantees) != 1 + len(also) or record.guarantees[0] != stated:
        yield "guarantees: not the guarantee and one for each further unit"
        return
    for further, guarantee in zip(record.guarantees[1:], also, strict=True):
        if differences := _differences(further, strict_json(guarantee.to_json())):
            yield f"guarantees: {guarantee.unit}: {differences}"


def _wrong_files(
    folder: RunFolder,
    record: RunRecord,
    earned: Sequence[Guarantee | None],
    terms: Sequence[Terms],
    evidence: str,
) -> Iterator[str]:
    """Where ``guarantee.json`` or ``guarantee.md`` are not what the ledger, the terms and ``run.json`` give."""
    if record.status == "running" and not folder.guarantee_json.exists():
        if folder.guarantee_md.exists():
            yield "guarantee.md: there is no guarantee.json for it"
        return
    try:
        stated = json.loads(_read(folder.guarantee_json))
    except ValueError as error:
        raise DamagedRunError(f"{folder.guarantee_json} is not JSON. {_MEND}") from error
    if not isinstance(stated, dict):
        raise DamagedRunError(f"{folder.guarantee_json} holds no statement. {_MEND}")
    recomputed = whole_statement(
        earned, terms=terms, provenance=record.provenance, config_sha256=_sha256(folder.config), evidence=evidence
    )
    if differences := _differences(stated, strict_json(recomputed)):
        yield f"guarantee.json: {differences}"
        return
    if unlike := [key for key, value in (record.guarantee or {}).items() if stated.get(key) != value]:
        yield f"guarantee.json: not what run.json says: {', '.join(unlike)}"
        return
    if folder.guarantee_md.exists() or record.status != "running":
        told, expected = _read(folder.guarantee_md).decode(errors="replace"), markdown(stated)
        if told != expected:
            line = next((n for n, (a, b) in enumerate(_paired(told, expected), start=1) if a != b), 0)
            yield f"guarantee.md: line {line} is not what guarantee.json says"


def _paired(told: str, expected: str) -> Iterator[tuple[str | None, str | None]]:
    left, right = told.split("\n"), expected.split("\n")
    for number in range(max(len(left), len(right))):
        yield (left[number] if number < len(left) else None), (right[number] if number < len(right) else None)


def _summary(record: RunRecord, earned: Sequence[Guarantee | None]) -> str:
    stated = [guarantee for guarantee in earned if guarantee is not None]
    if record.guarantee is None or not stated:
        return "no guarantee is stated" + (" yet: unfinished" if record.status == "running" else "")
    return f"{'; and '.join(map(_in_short, stated))}, guarantee.json and guarantee.md"


def _in_short(earned: Guarantee) -> str:
    claimed = sum(cell.epsilon is not None for cell in earned.threat_matrix)
    return (
        f"epsilon {upwards(earned.epsilon, 7)} at delta {upwards(earned.delta, 3)} for each {earned.unit}, recomputed "
        f"by {earned.method}; with it a curve of {len(earned.curve.points)} points, {claimed} of "
        f"{len(earned.threat_matrix)} claims of the threat model"
    )


def _differences(stated: Mapping[str, Any], recomputed: Mapping[str, Any]) -> str:
    """The fields that differ, with both values; empty where all agree."""
    names = [*recomputed, *(key for key in stated if key not in recomputed)]
    wrong = [key for key in names if key not in stated or not _same(recomputed.get(key), stated[key])]
    return "; ".join(
        f"{key}: stated {_first_difference(stated.get(key), recomputed.get(key))}" for key in wrong
    )


def _first_difference(stated: Any, earned: Any) -> str:
    """Within a list or mapping, the first part that differs."""
    if isinstance(stated, list) and isinstance(earned, list) and len(stated) == len(earned):
        number = next(n for n, (a, b) in enumerate(zip(stated, earned, strict=True)) if not _same(b, a))
        return _first_difference(stated[number], earned[number])
    if isinstance(stated, dict) and isinstance(earned, dict) and stated.keys() == earned.keys():
        key = next(key for key in stated if not _same(earned[key], stated[key]))
        return f"{key} {_first_difference(stated[key], earned[key])}"
    return f"{stated}, earned {earned}"


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=_TOLERANCE)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _sha256(path: Path) -> str:
    return hashlib.sha256(_read(path)).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedRunError(f"Cannot read {path}: {error.strerror}. {_MEND}") from error
