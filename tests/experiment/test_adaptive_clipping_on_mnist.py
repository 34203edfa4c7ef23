"""Adaptive clipping finds its quantile on real data, from far below and far above (Andrew et al. 2021, section 3)."""

import json

import numpy as np
import pytest

from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.records.tables import read_table

QUANTILE, LAST = 0.5, 15


@pytest.mark.slow
@pytest.mark.parametrize("start", [0.1, 10.0])
def test_it_converges_to_its_target_quantile(start, tmp_path, silent_reporter):
    given = [
        *("experiment=mnist5k_client_dp", "privacy=central_adaptive", f"privacy.clipping_norm={start}"),
        *(f"privacy.target_quantile={QUANTILE}", "rounds=100", "privacy.epsilon=8", "model=logistic"),
        *("sampling.cohort=50", "evaluation.clients=false", f"output_dir={tmp_path}"),
    ]
    run(compose(given, config_dir=None), reporter=silent_reporter)
    clipped = np.array(read_table(silent_reporter.folder, "rounds")["diagnostic_clipped"].to_pylist())
    unclipped = 1 - clipped[-LAST:].mean()
    assert unclipped == pytest.approx(QUANTILE, rel=0.15)
    entries = [json.loads(line) for line in (silent_reporter.folder / "ledger.jsonl").read_text().splitlines()]
    norms = np.array([entry["parts"][0]["sensitivity"] for entry in entries])
    assert norms[0] == start
    clients = read_table(silent_reporter.folder, "clients")
    rounds, updates = (clients[name].to_numpy() for name in ("round", "diagnostic_update_norm"))
    quantiles = [np.quantile(updates[rounds == r], QUANTILE) for r in range(len(norms) - LAST + 1, len(norms) + 1)]
    assert np.mean(norms[-LAST:] / quantiles) == pytest.approx(1, abs=0.15)
    noise = np.array([entry["parts"][0]["noise_std"] for entry in entries])
    assert np.ptp(noise / norms) < 1e-9  # what is claimed in each round is scaled to the norm that clipped it
    assert len({entry["noise_multiplier"] for entry in entries}) == 1
