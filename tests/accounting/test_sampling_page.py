"""docs/sampling.md: what the same noise costs under each sampling, recomputed; a page for each."""

import re
from pathlib import Path

import pytest

from fedpriv.accounting.accountants import epsilon
from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.config import conf_dir
from fedpriv.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs"
ROWS = re.findall(
    r"^\| \[`(\w+)`\].*?\| (.*?) \| (\S+) \| (\S+) \| (\S+) \|", (DOCS / "sampling.md").read_text(), flags=re.MULTILINE
)
SAID = {
    "poisson": {"cohort": 50},
    "capped_poisson": {"cohort": 50, "cap": 60},
    "fixed_size": {"cohort": 50},
    "cyclic_poisson": {"cohort": 25, "separation": 20},
    "round_robin": {"separation": 20},
    "all": {},
}


@pytest.mark.parametrize(("kind", "_", "add_or_remove_one", "replace_one", "zero_out"), ROWS)
def test_the_table_is_what_the_accountants_say(kind, _, add_or_remove_one, replace_one, zero_out):
    law = cohort_sampling(kind=kind, population=1000, **{"cohort": None, "separation": None, "cap": None, **SAID[kind]})
    composition = {law.release(1.0): law.most_turns(100)}
    accountant = "rdp" if kind == "fixed_size" else "pld"
    for relation, told in (
        ("add_or_remove_one", add_or_remove_one),
        ("replace_one", replace_one),
        ("zero_out", zero_out),
    ):
        if told == "refused":
            with pytest.raises(ConfigError):
                epsilon(composition, delta=1e-5, relation=relation, accountant=accountant)
            continue
        value = epsilon(composition, delta=1e-5, relation=relation, accountant=accountant).value
        assert value == pytest.approx(float(told), abs=2e-3)


def test_every_sampling_has_its_page():
    kinds = {file.stem for file in (conf_dir() / "sampling").glob("*.yaml")} - {"auto"}
    assert {row[0] for row in ROWS} == kinds == {page.stem for page in (DOCS / "sampling").glob("*.md")}
