import json
import shutil

import pytest

from fedpriv.errors import DamagedRunError
from fedpriv.verification import verify


@pytest.fixture(scope="module")
def folder(run_digits, tmp_path_factory):
    return run_digits("rounds=2", output_dir=tmp_path_factory.mktemp("verified")).folder


def _forged(folder, **changes):
    path = folder / "run.json"
    before = path.read_text()
    run = json.loads(before)
    run["guarantee"] |= changes
    run["guarantees"] = [run["guarantee"]]
    path.write_text(json.dumps(run))
    try:
        return verify(folder)
    finally:
        path.write_text(before)


def test_an_untouched_run_holds(folder):
    assert verify(folder).holds


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 1.0},
        {"delta": 0.3},
        {"population": 1_000_000},
        {"noise_secret": True},
        {"delta_rule": "given"},
        {"relation": "zero_out"},
        {"accountant": "rdp"},
        {"not_covered": []},
        {"rounds": 1},
        {"unit": "client"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_forged_guarantee_does_not(folder, changes):
    assert not _forged(folder, **changes).holds


def test_another_config_does_not(folder):
    path = folder / "config.yaml"
    before = path.read_text()
    path.write_text(before.replace("seed: 0", "seed: 1"))
    try:
        assert not verify(folder).holds
    finally:
        path.write_text(before)


# -- the statement's own files -----------------------------------------------------------------------------


@pytest.fixture
def forged(folder, tmp_path):
    """A copy of the run in which ``change`` has changed a file's JSON; what is told of it."""

    def call(name, change, run=folder):
        copy = shutil.copytree(run, tmp_path / "copy", dirs_exist_ok=True)
        content = json.loads((copy / name).read_text())
        change(content)
        (copy / name).write_text(json.dumps(content))
        return verify(copy)

    return call


def _changed(value):
    """Another value of the same kind, with one digit or letter changed."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return [_changed(value[0]), *value[1:]] if value else ["x"]
    if isinstance(value, dict):
        key = next(iter(value))
        return {**value, key: _changed(value[key])}
    return 1


@pytest.mark.parametrize("name", ["ledger.jsonl", "audit.jsonl"])
def test_a_log_without_its_last_line_does_not(folder, tmp_path, name):
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    lines = (copy / name).read_bytes().splitlines(keepends=True)
    (copy / name).write_bytes(b"".join(lines[:-1]))
    verdict = verify(copy)
    assert not verdict.holds
    assert name in verdict.lines[-1]


def test_every_field_of_run_jsons_guarantee_is_recomputed(folder, forged):
    stated = json.loads((folder / "run.json").read_text())["guarantee"]
    for field in stated:

        def change(record, field=field):
            record["guarantee"][field] = _changed(record["guarantee"][field])
            record["guarantees"] = [record["guarantee"]]

        verdict = forged("run.json", change)
        assert not verdict.holds, field
        assert any(f"guarantee: {field}: stated" in line for line in verdict.lines), field


def test_every_field_of_guarantee_json_is_recomputed(folder, forged):
    stated = json.loads((folder / "guarantee.json").read_text())
    assert {"curve", "threat_matrix", "run_id", "packages", "config_sha256"} < stated.keys()
    for field in stated:
        verdict = forged("guarantee.json", lambda s, field=field: s.update({field: _changed(s[field])}))
        assert not verdict.holds, field
        assert any(f"guarantee.json: {field}: stated" in line for line in verdict.lines), field
    verdict = forged("guarantee.json", lambda s: s.update(more=1))
    assert any("guarantee.json: more: stated 1" in line for line in verdict.lines)
    verdict = forged("guarantee.json", lambda s: s.pop("bound"))
    assert any("guarantee.json: bound" in line for line in verdict.lines)


def test_a_last_digit_is_not_too_small_to_be_noticed(folder, forged):
    verdict = forged("guarantee.json", lambda s: s.update(epsilon=s["epsilon"] * (1 - 1e-12)))
    assert any("guarantee.json: not what run.json says: epsilon" in line for line in verdict.lines)


def test_every_cell_and_every_point_is_recomputed(folder, forged):
    for number in range(8):
        verdict = forged("guarantee.json", lambda s, n=number: s["threat_matrix"][n].update(epsilon=0.1))
        assert any("threat_matrix: stated epsilon 0.1, earned" in line for line in verdict.lines)
    for number in (0, 12, -1):
        verdict = forged("guarantee.json", lambda s, n=number: s["curve"]["points"][n].update(delta=1e-20))
        assert any("curve: stated points delta 1e-20, earned" in line for line in verdict.lines)


def test_a_tampered_page_does_not_hold(folder, tmp_path):
    lines = (folder / "guarantee.md").read_text().splitlines()
    for number in (0, 2, 10, len(lines) // 2, len(lines) - 1):
        copy = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
        forged = [line + " " if n == number else line for n, line in enumerate(lines)]
        (copy / "guarantee.md").write_text("\n".join(forged) + "\n")
        verdict = verify(copy)
        assert not verdict.holds
        assert f"FAILS  guarantee.md: line {number + 1} is not what guarantee.json says" in verdict.lines
    shorter = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True) / "guarantee.md"
    shorter.write_text("\n".join(lines[:-1]) + "\n")
    assert not verify(shorter.parent).holds


@pytest.mark.parametrize("name", ["guarantee.json", "guarantee.md", "config.yaml"])
def test_a_missing_file_is_told(folder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / name).unlink()
    with pytest.raises(DamagedRunError, match=name.replace(".", r"\.")):
        verify(copy)


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_garbled_statement_is_told(folder, tmp_path, text):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "guarantee.json").write_text(text)
    with pytest.raises(DamagedRunError, match=r"guarantee\.json"):
        verify(copy)


def test_a_run_that_has_not_ended_states_nothing_but_what_its_ledger_earns(folder, forged, tmp_path):
    def unfinished(record):
        record.update(status="running", guarantee=None, guarantees=[])

    assert forged("run.json", unfinished).holds  # killed between the statement and its last word
    copy = tmp_path / "copy"
    (copy / "guarantee.json").write_text((copy / "guarantee.json").read_text().replace('"rounds": 2', '"rounds": 1'))
    assert not verify(copy).holds
    (copy / "guarantee.json").unlink()
    assert any("guarantee.md: there is no guarantee.json" in line for line in verify(copy).lines)
    (copy / "guarantee.md").unlink()
    assert verify(copy).lines[-1] == "holds  no guarantee is stated yet: unfinished"


@pytest.mark.parametrize("overrides", [("privacy=none",), ("privacy=example", "privacy.epsilon=inf")], ids=" ".join)
def test_a_run_without_noise_states_that_it_claims_nothing(run_digits, forged, overrides):
    folder = run_digits(*overrides, "rounds=1").folder
    stated = json.loads((folder / "guarantee.json").read_text())
    assert (stated["epsilon"], stated["curve"]) == (None, None)
    assert {cell["epsilon"] for cell in stated["threat_matrix"]} == {None}
    assert verify(folder).holds
    for change in ({"epsilon": 1.0}, {"mechanism": "central"}, {"evidence": "an audit"}):
        verdict = forged("guarantee.json", lambda s, change=change: s.update(change), run=folder)
        assert any(f"guarantee.json: {next(iter(change))}: stated" in line for line in verdict.lines)


@pytest.mark.parametrize(
    "sampling",
    [
        "sampling=poisson sampling.cohort=4",
        "sampling=capped_poisson sampling.cohort=4 sampling.cap=5",
        "sampling=fixed_size sampling.cohort=4",
        "sampling=all",
        "sampling=round_robin sampling.separation=2",
        "sampling=cyclic_poisson sampling.separation=2 sampling.cohort=3",
    ],
)
def test_client_level_statements_of_every_sampling_verify(run_digits, sampling):
    noise = ("privacy.epsilon=null", "privacy.noise_multiplier=3", "privacy.delta=1e-3")
    folder = run_digits("privacy=central", *noise, *sampling.split(), "rounds=3").folder
    assert verify(folder).holds
    stated = json.loads((folder / "guarantee.json").read_text())
    run, kind = stated["sampling_run"]["cohorts"], sampling.split()[0].removeprefix("sampling=")
    assert (run["kind"], stated["sampling"]["kind"]) == (kind, kind)
    assert stated["sampling_assumed"]["kind"] == {"round_robin": "all", "cyclic_poisson": "poisson"}.get(kind, kind)
    cells = {(cell["unit"], cell["observer"]): cell for cell in stated["threat_matrix"]}
    assert cells["client", "final_model"]["epsilon"] == stated["epsilon"]
    assert cells["example", "final_model"]["relation"] == "replace_one"
