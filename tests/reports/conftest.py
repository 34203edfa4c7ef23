"""A small sweep to report on, beside runs unlike it whose config would run as a script if it were let."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOSTILE = "*[!</script><script>window.hacked=1</script>]*"
"""As a pattern it fits the model's parameters, since it excludes neither the g of ``weight`` nor the b of ``bias``."""


@pytest.fixture(scope="session")
def digits_sweep(run_digits: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUTPUT_DIR: two epsilons and no privacy over two seeds in ``sweep``, two runs at client level in ``hostile``."""
    folder = tmp_path_factory.mktemp("digits_sweep")
    for seed in ("seed=0", "seed=1"):
        for privacy in ("privacy.epsilon=2", "privacy.epsilon=8", "privacy=none"):
            run_digits("name=sweep", "evaluation.clients=true", privacy, seed, output_dir=folder)
    own = f'model.trainable=["{HOSTILE}"]', "privacy.accept_weak_delta=true", "rounds=2"
    for seed in ("seed=0", "seed=1"):
        run_digits("name=hostile", "privacy=central", "privacy.epsilon=8", *own, seed, output_dir=folder)
    return folder


@pytest.fixture(scope="session")
def page(digits_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on all of it."""
    from fedpriv.reports.html import write
    from fedpriv.runs import find_runs

    file = tmp_path_factory.mktemp("page") / "report.html"
    write(find_runs([digits_sweep]), file)
    return file
