from fedpriv.runs import find_runs
from fedpriv.runs.selection import select_best


def test_the_best_run_says_what_its_epsilon_leaves_out(swept):
    runs = find_runs([swept])
    found = select_best(runs)
    private = [run for run in runs if run.epsilon is not None]
    assert found.best.value == max(run.value for run in private)
    assert (found.tries, found.unclaimed) == (4, 4)
    costliest = max(run.epsilon for run in private)
    assert costliest < found.repeated
    assert costliest < found.composed
    text = " ".join(found.sentences())
    assert "leaves out the selection" in text
    assert "Poisson distribution of mean 4" in text
    assert "Runs without a guarantee (4) had no say" in text
    assert "A grid whose size is fixed" in text


def test_one_run_alone_was_not_chosen(swept):
    run = next(run for run in find_runs([swept]) if run.epsilon is not None)
    found = select_best([run])
    assert (found.best, found.tries, found.repeated, found.composed) == (run, 1, None, None)
    assert list(found.sentences()) == []


def test_where_less_is_better_the_least_is_best(new_run):
    extra = {"task": {"headline": "test_loss", "higher_is_better": False}}
    runs = [new_run(extra=extra, metrics={"test_loss": loss}) for loss in (0.3, 0.2, 0.4)]
    found = select_best(runs)
    assert found.best is runs[1]
    assert found.refused is not None  # made up: there is no ledger
    assert "cannot be said" in " ".join(found.sentences())


def test_unlike_guarantees_have_no_common_cost(new_run):
    found = select_best([new_run(), new_run(guarantee={"unit": "client"})])
    assert (found.repeated, found.composed) == (None, None)
    assert "differ in privacy unit" in found.refused


def test_nothing_private_has_no_best(new_run):
    assert select_best([new_run(guarantee=None)]) is None
    assert select_best([new_run(value=None)]) is None
