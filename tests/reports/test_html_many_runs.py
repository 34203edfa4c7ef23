"""A report on hundreds of runs: made from a few real ones, so that each holds together, with long tables."""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fedpriv.accounting.guarantee import EVIDENCE, state_guarantee
from fedpriv.accounting.ledger import LedgerTables
from fedpriv.accounting.statement import markdown, whole_statement
from fedpriv.accounting.terms import Terms
from fedpriv.records.atomic import strict_json
from fedpriv.records.hashchain import HashChain, read_chain
from fedpriv.runs import find_runs

_ROUNDS, _CLIENTS = 300, 20


def made(base: Path, folder: Path, *, seed: int, lr: float, statement: Mapping[str, Any]) -> None:
    """A copy of a run with another seed and learning rate, and long tables."""
    folder.mkdir(parents=True)
    shutil.copy(base / "ledger.jsonl", folder)
    config = yaml.safe_load((base / "config.yaml").read_text())
    config["seed"], config["training"]["lr"] = seed, lr
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    sha = hashlib.sha256((folder / "config.yaml").read_bytes()).hexdigest()
    record = json.loads((base / "run.json").read_text())
    decisions = read_chain(
        base / "audit.jsonl", trusted_count=record["audit"]["count"], trusted_head=record["audit"]["head"], exact=True
    )
    with HashChain.open(folder / "audit.jsonl", trusted_count=0, trusted_head="0" * 64) as audit:
        for line in decisions:
            kept = {key: value for key, value in line.items() if key not in ("hash", "prev", "index")}
            audit.append(kept | ({"config": sha} if "config" in kept else {}))
        record["audit"] = {"head": audit.head, "count": audit.count}
    rng = np.random.default_rng([seed, int(1000 * lr)])
    record |= {"run_id": folder.name, "seed": seed}
    record["metrics"]["test_accuracy"] = float(rng.uniform(0.5, 0.9))
    (folder / "run.json").write_text(json.dumps(record))
    stated = strict_json({**statement, "run_id": folder.name, "config_sha256": sha})
    (folder / "guarantee.json").write_text(json.dumps(stated))
    (folder / "guarantee.md").write_text(markdown(stated))
    rounds = np.arange(1, _ROUNDS + 1)
    accuracy = 0.9 - 0.8 * np.exp(-rounds / 50) + rng.normal(0, 0.01, _ROUNDS)
    accuracy[-1] = record["metrics"]["test_accuracy"]
    columns = {"round": rounds, "test_accuracy": accuracy, "diagnostic_train_loss": 1 / rounds, "seconds": rounds / 1e3}
    if record["guarantee"] is not None:
        columns["epsilon"] = np.linspace(0, record["guarantee"]["epsilon"], _ROUNDS)
    pq.write_table(pa.table(columns), folder / "rounds.parquet")
    clients = {"round": np.repeat(rounds, _CLIENTS), "client": np.tile(np.arange(_CLIENTS), _ROUNDS)}
    values = {name: rng.uniform(0, 1, _ROUNDS * _CLIENTS) for name in ("clipped", "examples", "loss")}
    pq.write_table(pa.table(clients | {f"diagnostic_{k}": v for k, v in values.items()}), folder / "clients.parquet")


def statement_of(run: Any) -> Mapping[str, Any]:
    decisions = (json.loads(line) for line in (run.path / "audit.jsonl").read_text().splitlines())
    [logged] = next(line for line in decisions if line["event"] == "started")["terms"]
    terms = Terms.from_json(logged)
    lines = [json.loads(line) for line in (run.path / "ledger.jsonl").read_text().splitlines()]
    earned = state_guarantee(LedgerTables().entries(lines), terms=terms)
    provenance = run.record.provenance
    return whole_statement([earned], terms=[terms], provenance=provenance, config_sha256="", evidence=EVIDENCE)


@pytest.mark.slow
def test_five_hundred_runs_make_a_small_page_that_says_what_it_leaves_out(command, digits_sweep, tmp_path, capsys):
    bases = [run for run in find_runs([digits_sweep / "sweep"]) if run.record.seed == 0]
    statements = [statement_of(run) for run in bases]
    for n in range(500):
        base, seed, lr = n % len(bases), n // 3 % 5, round(0.01 * (1 + n // 15), 2)
        made(bases[base].path, tmp_path / f"runs/made/{n:06x}", seed=seed, lr=lr, statement=statements[base])
    began = time.monotonic()
    told = command("report", "runs", "-o", "report.html")
    took, page = time.monotonic() - began, tmp_path / "report.html"
    assert told.code == 0, told.err
    assert told.out == "500 runs: report.html\n"
    assert page.stat().st_size < 15e6
    text = page.read_text()
    assert "settings: the Pareto front and the best without a guarantee" in text
    assert "At most 160 rounds of each are drawn" in text
    with capsys.disabled():
        print(f"\n500 runs: {took:.1f} s, {page.stat().st_size / 1e6:.2f} MB")
