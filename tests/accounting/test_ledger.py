"""What a run's ledger says of each client comes back as written, and adds up the same in both of its forms."""

import base64
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.accounting.client_table import COLUMNS, MOST_LISTED, ClientTable, TabledClients
from fedpriv.accounting.ledger import LedgerTables, ReleaseEntry, compositions
from fedpriv.accounting.sampled_gaussian import SampledGaussian
from fedpriv.errors import DamagedRunError, FedprivError

TABLE = ClientTable(
    clients=np.array([0, 1, 2, 4, 5, 6, 7, 8, 9, 11]),
    rate=np.linspace(0.1, 1.0, 10),
    noise_multiplier=np.full(10, 1.1),
    noise_std=np.full(10, 0.55),
    steps=np.arange(1, 11),
)


def entry(clients: Any, *, round_number: int = 1, table: ClientTable = TABLE, tabled: bool = True) -> ReleaseEntry:
    """A round with these clients of the table, in one form or the other."""
    some = table.some(np.array(clients, dtype=np.int64))
    columns = {name: tuple(column[some.rows].tolist()) for name, column in table.columns.items()}
    numbers: dict[str, Any] = {**dict.fromkeys(COLUMNS), "clients": some} if tabled else columns
    return ReleaseEntry(
        mechanism="example_dpsgd",
        unit="example",
        round=round_number,
        attempt=0,
        noise_law="gaussian",
        sensitivity=0.5,
        sampling="poisson",
        population=12,
        cohort=len(clients) + 1,
        turn=None,
        group=None,
        **numbers,
    )


def lines(entries: Sequence[ReleaseEntry]) -> list[dict[str, Any]]:
    """The ledger of these entries, as JSON has it."""
    tables, written = LedgerTables(), list[dict[str, Any]]()
    for one in entries:
        for line in tables.lines(one, index=len(written)):
            written.append(json.loads(json.dumps(line)))
    return written


def read(ledger: Sequence[dict[str, Any]]) -> list[ReleaseEntry]:
    return list(LedgerTables().entries(ledger))


def test_a_listed_entry_has_its_numbers_in_its_own_line() -> None:
    assert lines([entry([4, 11], tabled=False)]) == [
        {
            "mechanism": "example_dpsgd",
            "unit": "example",
            "round": 1,
            "attempt": 0,
            "noise_law": "gaussian",
            "sensitivity": 0.5,
            "sampling": {"kind": "poisson", "rate": [0.4, 1.0], "population": 12, "cohort": 3, "turn": None},
            "clients": [4, 11],
            "noise_multiplier": [1.1, 1.1],
            "noise_std": [0.55, 0.55],
            "steps": [4, 10],
            "group": None,
        }
    ]


def test_a_table_is_the_entry_of_all_its_clients_and_is_written_once() -> None:
    table, first, second = lines([entry([4, 11]), entry([0], round_number=2)])
    assert table["table"] == {
        **lines([entry(TABLE.clients, tabled=False)])[0],
        "round": 0,
        "sampling": {**table["table"]["sampling"], "cohort": 0},
    }
    assert first == {"table_index": 0, "round": 1, "attempt": 0, "cohort": 3, "rows": first["rows"]}
    assert (second["table_index"], second["round"], second["cohort"]) == (0, 2, 2)


def test_rows_are_read_as_documented() -> None:
    table, line = lines([entry([4, 11])])
    bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(line["rows"])), np.uint8), bitorder="little")
    clients = table["table"]["clients"]
    assert [clients[row] for row in np.flatnonzero(bits)] == [4, 11]
    assert [table["table"]["steps"][row] for row in np.flatnonzero(bits)] == [4, 10]


_NUMBERS = st.floats(1e-3, 1e3)


@st.composite
def federations(draw: st.DrawFn) -> tuple[ClientTable, list[list[int]]]:
    ids = draw(st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True).map(sorted))
    size = len(ids)

    def column(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=size, max_size=size))

    table = ClientTable(
        clients=np.array(ids),
        rate=np.array(column(st.floats(0, 1))),
        noise_multiplier=np.array(column(_NUMBERS)),
        noise_std=np.array(column(_NUMBERS)),
        steps=np.array(column(st.integers(1, 50)), dtype=np.int64),
    )
    return table, draw(st.lists(st.lists(st.sampled_from(ids), unique=True).map(sorted), max_size=12))


@given(federations())
def test_both_forms_come_back_as_written_and_add_up_to_the_same(drawn: tuple[ClientTable, list[list[int]]]) -> None:
    table, cohorts = drawn
    listed, tabled = (
        [entry(c, round_number=r, table=table, tabled=form) for r, c in enumerate(cohorts, 1)] for form in (False, True)
    )
    assert read(lines(listed)) == listed
    assert read(lines(tabled)) == tabled
    assert [list(a.releases()) for a in listed] == [list(a.releases()) for a in tabled]
    assert compositions(tabled) == compositions(listed)
    assert compositions([*tabled, *listed]) == compositions([*listed, *listed]), "a ledger may hold both"


def test_hundreds_of_rounds_are_counted_without_overflow() -> None:
    rounds = [entry(TABLE.clients, round_number=r) for r in range(1, 601)]
    released = compositions(rounds)
    assert released[11] == Counter(
        {SampledGaussian(noise_multiplier=1.1, sampling="poisson", rate=1.0, population=0, cohort=0): 6000}
    )
    assert list(released) == TABLE.clients.tolist()


def test_other_numbers_are_another_table_and_equal_ones_are_not() -> None:
    equal = ClientTable(**{name: column.copy() for name, column in TABLE.columns.items()})
    louder = ClientTable(**{**TABLE.columns, "noise_std": TABLE.noise_std * 2})
    rounds = [entry([4]), entry([4], table=equal, round_number=2), entry([4], table=louder, round_number=3)]
    written = lines(rounds)
    assert [("table" in line, line.get("table_index")) for line in written] == [
        (True, None),
        (False, 0),
        (False, 0),
        (True, None),
        (False, 3),
    ]
    assert read(written) == rounds


def test_a_ledger_that_is_read_goes_on_with_its_table() -> None:
    written, tables = lines([entry([4])]), LedgerTables()
    assert list(tables.entries(written)) == [entry([4])]
    (line,) = tables.lines(entry([5], round_number=2), index=len(written))
    assert line["table_index"] == 0


def test_a_table_that_could_not_be_written_is_not_known() -> None:
    tables = LedgerTables()
    assert "table" in next(iter(tables.lines(entry([4]), index=0)))  # and its append fails
    assert "table" in next(iter(tables.lines(entry([4]), index=0)))


def test_rows_take_no_more_than_a_bit_a_client() -> None:
    """So that 100,000 rounds with any cohorts of 10,000 clients stay below 200 MB."""
    clients = np.arange(10_000)
    table = ClientTable(
        clients=clients,
        rate=np.ones(10_000),
        noise_multiplier=np.ones(10_000),
        noise_std=np.ones(10_000),
        steps=np.ones(10_000, dtype=np.int64),
    )
    rng = np.random.default_rng(0)
    sizes = {
        share: max(len(table.some(clients[rng.random(10_000) < share]).packed) for _ in range(20))
        for share in (0.01, 0.5, 0.9, 1.0)
    }
    assert sizes[0.5] == max(sizes.values()) == 1684  # base 64 of 1,250 bytes, and 11 of zlib's own
    assert sizes[1.0] < 40 < sizes[0.01] < 320


def _packed(bitmap: bytes) -> str:
    return base64.b64encode(zlib.compress(bitmap)).decode()


@pytest.mark.parametrize(
    ("line", "change", "told"),
    [
        (1, {"table_index": 1}, "no table before it has the index 1"),
        (1, {"table_index": []}, "unhashable"),
        (1, {"rows": "???"}, "Error"),
        (1, {"rows": base64.b64encode(b"rubbish").decode()}, "cannot be unpacked"),
        (1, {"rows": _packed(b"\1")}, "beyond the 10"),
        (1, {"rows": _packed(b"\1\0\0")}, "beyond the 10"),
        (1, {"rows": _packed(b"\1\4")}, "beyond the 10"),
        (1, {"rows": None}, "TypeError"),
        (0, {"table": {}}, "KeyError"),
        (0, {"table": 7}, "TypeError"),
        (0, {"table": {"steps": [1]}}, "unlike lengths"),
        (0, {"table": {"steps": [1.5] * 10}}, "one number a client"),
        (0, {"table": {"noise_std": ["1"] * 10}}, "one number a client"),
        (0, {"table": {"clients": list(range(10))[::-1]}}, "do not ascend"),
        (0, {"table": {"clients": [1] * 10}}, "do not ascend"),
    ],
)
def test_damage_is_told_with_its_line(line: int, change: dict[str, Any], told: str) -> None:
    ledger = lines([entry([4, 11])])
    if isinstance(inner := change.get("table"), dict) and inner:
        change = {"table": ledger[0]["table"] | inner}
    ledger[line] |= change
    with pytest.raises(DamagedRunError, match=rf"line {line + 1} .*{told}"):
        read(ledger)


def test_a_round_without_its_table_is_damage() -> None:
    with pytest.raises(DamagedRunError, match="line 1 "):
        read(lines([entry([4])])[1:])


def test_a_client_that_no_table_has_is_no_entry() -> None:
    with pytest.raises(FedprivError, match="not in the ledger's table"):
        TABLE.some(np.array([3, 4]))


def test_what_differs_is_not_equal() -> None:
    assert entry([4]) == entry([4])
    assert entry([4]) != entry([5])
    assert TabledClients(table=TABLE, bitmap=b"\1\0") != TabledClients(table=TABLE, bitmap=b"\2\0")
    assert MOST_LISTED == 1_000, "the format of a ledger is not to change by accident"
