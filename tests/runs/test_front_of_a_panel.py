from fedpriv.reports.html.panels import panels


def test_the_front_counts_epsilons_as_they_are_said_and_each_problem_has_its_own(new_run):
    def run(mechanism, value, epsilon, alpha):
        return new_run(
            {"privacy.mechanism": mechanism, "partition": {"alpha": alpha}},
            None if epsilon is None else {"epsilon": epsilon},
            value,
            run_id=f"{value}",
        )

    runs = [
        run("example", 0.80, 3.9951, 0.1),
        run("central", 0.70, 3.9949, 0.1),  # no less epsilon, as it is said: not on the front
        run("example", 0.60, 3.9951, 10.0),  # another problem, however much easier the first is
        run("none", 0.90, None, 0.1),
        run("none", 0.65, None, 10.0),
    ]
    (panel,) = panels(runs)
    front = {setting.runs[0].value for setting in panel.settings if setting.label in panel.front}
    assert front == {0.80, 0.60}
    assert {setting.runs[0].value for setting in panel.baselines} == {0.90, 0.65}
