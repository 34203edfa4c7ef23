"""The command line. Light until a command runs: `fedpriv --help` imports nothing heavy."""

import argparse
import gc
import json
import os
import re
import shlex
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from fedpriv import __version__
from fedpriv.errors import FedprivError, InputError

_RUN_EXAMPLES = """\
examples:
  fedpriv run                                            the default: mnist5k_example_dp
  fedpriv run experiment=digits_smoke                    seconds, to see that all is well
  fedpriv run privacy.epsilon=3 seed=1                   another budget, another seed
  fedpriv run privacy=none                               the same without privacy
  fedpriv run experiment=mnist5k_client_dp privacy.noise_multiplier=1.0 privacy.epsilon=null
  fedpriv run data=arrays data.path=mine.npz model=mlp partition=iid partition.num_clients=50
  fedpriv run data=table data.path=mine.csv data.label=y +data.numeric.age=[0,100] model=logistic partition=iid
  fedpriv run model._target_=mypackage.MyNet             any torch.nn.Module
  fedpriv run privacy=none strategy=flower strategy.flower._target_=flwr.serverapp.strategy.FedMedian
  fedpriv run --config-dir=mine experiment=my_preset     presets of your own, in mine/experiment/

A run is a folder, output_dir/name/run id. The same experiment again is reported, not trained again
(force=true trains it again); an unfinished one goes on where it stopped.
exit codes: 0 done, 2 bad input, 3 budget exhausted before the first release, 130 interrupted, 1 anything else
"""


_SWEEP_EXAMPLES = """\
examples:
  fedpriv sweep experiment=digits_smoke privacy.epsilon=1,8 seed=0,1       every combination: 4 runs
  fedpriv sweep privacy.epsilon=1,2,4,8,inf seed=range(0,3)                inf: clip and sample, without noise
  fedpriv sweep privacy=none,example seed=0,1,2                            groups, too
  fedpriv sweep seeds.data=0 seeds.noise=0,1,2 privacy.epsilon=1,8         the same clients for all
  fedpriv sweep hydra/launcher=joblib hydra.launcher.n_jobs=4 privacy.epsilon=1,2,4,8
  fedpriv sweep hydra/sweeper=optuna hydra.sweeper.n_trials=20 'privacy.epsilon=interval(1,8)' training.lr=0.1,0.3
launchers: basic (one after another), joblib, submitit_local, submitit_slurm

Started again, it skips runs that are done, goes on with those that were stopped, and adds those that are new.
exit codes: 0 all done, 1 a run failed, 2 bad input (nothing was started), 130 interrupted
"""

_PLAN_EXAMPLES = """\
examples:
  fedpriv plan unit=client population=1e6 cohort=1000 rounds=2000 epsilon=2            the noise that it takes
  fedpriv plan unit=client population=1e6 cohort=1000 noise_multiplier=0.8 epsilon=2   how many rounds that allows
  fedpriv plan unit=example num_examples=60000 batch_size=256 steps=3515 noise_multiplier=1.3 delta=1e-5
  fedpriv plan experiment=mnist5k_client_dp privacy.epsilon=4                          what this run will state
keys: unit=client|example population cohort rounds (example: num_examples batch_size steps) noise_multiplier epsilon,
  all but one of the last four; delta=population^-1.1 accept_weak_delta=false accountant=auto|pld|rdp|prv|opacus_rdp
  relation=auto|add_or_remove_one|replace_one|zero_out parameters (for signal to noise); client level also
  sampling=poisson|capped_poisson|fixed_size|all|round_robin|cyclic_poisson cap separation
  deployment_population deployment_cohort
"""

_PLANNED = {"population", "cohort", "noise_multiplier", "epsilon", "delta", "num_examples", "batch_size", "steps"}

_TUNE_EXAMPLES = """\
examples:
  fedpriv tune experiment=mnist5k_example_dp                   what trains it faster than the rules do, on this machine
  fedpriv tune experiment=digits_smoke tuning.chunk_size=4     what the experiment says itself is not varied
  fedpriv tune experiment=digits_smoke --seconds=60 --write mine/experiment/fast_digits.yaml
"""

_REPORT_EXAMPLES = """\
examples:
  fedpriv report outputs/digits_sweep -o report.html                  every run below the folder
  fedpriv report outputs/a/1f0c5a outputs/b -o report.html            runs and sweeps together
  fedpriv report outputs/digits_sweep -o report.html --tables=tables --figures=figures
"""

_ATTACK_EXAMPLES = """\
examples:
  fedpriv attack RUN attack=loss_threshold                     the final model as a black box
  fedpriv attack RUN attack=[lira_online,rmia] workers=2       with shadow models: the same experiment on other draws
  fedpriv attack RUN attack=lira_online attack.lira_online.shadows=64 attack.lira_online.variance=per_example
  fedpriv attack RUN                                           those of the run's own config
What watches rounds (update_cosine, loss_drop, client_cosine) is asked for before: fedpriv run ... attack=update_cosine
"""

_CONFORMANCE_EXAMPLES = """\
examples:
  fedpriv conformance fedpriv.privacy.mechanisms:CentralGaussian clipping_norm=0.7 sampling=poisson cohort=20
  fedpriv conformance fedpriv.privacy.mechanisms:ExampleGaussian noise_multiplier=1.5 sampling=all
  fedpriv conformance mypackage.privacy:MyStrategy noise_multiplier=1.0 claim.clipping_norm=0.5
"""


def console() -> NoReturn:
    """Entry point of the `fedpriv` command."""
    gc.set_threshold(100_000)  # imports make a million objects and no garbage: a sixth of their time otherwise
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run a command; returns the exit code. Errors are one message on stderr, never a traceback.

    FEDPRIV_DEBUG=1 shows the traceback of an unexpected error.
    """
    arguments = _parse(argv)
    if arguments.command is None:
        _parser().print_help()
        return 0
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to stop: leave a resumable folder
    try:
        code: int = arguments.command(arguments)
    except FedprivError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("Interrupted.", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("FEDPRIV_DEBUG"):
            raise
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"{told} (FEDPRIV_DEBUG=1 shows where)", 1)
    return code


def _run(arguments: argparse.Namespace) -> int:
    from fedpriv.config import compose
    from fedpriv.runtimes.choice import pool_kind
    from fedpriv.runtimes.pools import start_early

    config = compose(arguments.overrides, config_dir=arguments.config_dir)
    _prepare()
    start_early(pool_kind(runtime=config.runtime.kind, workers=config.workers, threads=config.threads))
    from fedpriv import experiment
    from fedpriv.progress import TerminalReporter

    with closing(TerminalReporter()) as reporter:
        experiment.run(config, reporter=reporter)
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    _prepare()
    from functools import partial

    from rich.console import Console

    from fedpriv.config import compose
    from fedpriv.errors import InterruptedRunError
    from fedpriv.sweeps import sweep, tell

    console = Console(highlight=False, soft_wrap=True)
    composing = partial(compose, config_dir=arguments.config_dir)
    try:
        swept = sweep(arguments.overrides, compose=composing, fail_fast=arguments.fail_fast, console=console)
    except KeyboardInterrupt as error:
        again = [f"--config-dir={arguments.config_dir}"] if arguments.config_dir else []
        again += ["--fail-fast"] if arguments.fail_fast else []
        # what has ended is not to be trained again
        command = shlex.join([*again, *(text for text in arguments.overrides if not text.startswith("force="))])
        raise InterruptedRunError(f"Interrupted. Go on with: fedpriv sweep {command}") from error
    tell(swept, console)
    return 1 if swept.failed else 0


def _resume(arguments: argparse.Namespace) -> int:
    _prepare()
    from fedpriv import experiment
    from fedpriv.progress import TerminalReporter

    with closing(TerminalReporter()) as reporter:
        experiment.resume(_run_folder(arguments.run), reporter=reporter)
    return 0


def _attack(arguments: argparse.Namespace) -> int:
    from fedpriv.config import compose

    for word in arguments.overrides:
        if word.lstrip("+~").partition("=")[0].split(".")[0] not in ("attack", "workers"):
            raise InputError(f"{word}: the run is what it is; only attack, its keys and workers are chosen here.")
    config = compose(arguments.overrides, config_dir=arguments.config_dir)
    _prepare()
    from fedpriv.experiment import attack_run

    def tell(line: str) -> None:
        print(line, file=sys.stderr if arguments.json else sys.stdout, flush=True)

    record = attack_run(_run_folder(arguments.run), config.attack, workers=config.workers, tell=tell)
    if arguments.json:
        print(json.dumps(record.extra["attacks"], indent=2))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from fedpriv.reports.show import show

    show(_run_folder(arguments.run))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from fedpriv.reports.html import write
    from fedpriv.runs import find_runs

    runs = find_runs(arguments.paths)
    write(
        runs,
        arguments.output,
        title=arguments.title,
        tables=arguments.tables,
        figures=arguments.figures,
        galleries=arguments.galleries,
    )
    left_out = f", {len(runs.others)} not reported (the page says why)" if runs.others else ""
    print(f"{len(runs)} runs{left_out}: {arguments.output}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from fedpriv.reports.compare import compare

    compare(arguments.a, arguments.b)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from fedpriv.verification import verify

    verdict = verify(_run_folder(arguments.run))
    for line in verdict.lines:
        print(line)
    return 0 if verdict.holds else 1


def _replay(arguments: argparse.Namespace) -> int:
    _prepare()
    from fedpriv.progress import TerminalReporter
    from fedpriv.replays import replay

    with closing(TerminalReporter()) as reporter:
        found = replay(_run_folder(arguments.run), keep=arguments.keep, reporter=reporter, tell=reporter.say)
    return 0 if found.holds else 1


def _describe(arguments: argparse.Namespace) -> int:
    """`fedpriv data describe PATH`."""
    _prepare()
    import rich

    from fedpriv.data.proposals import FROM_THE_DATA, propose

    choice = _choice_name(arguments.path, arguments.output)
    if arguments.output is not None and arguments.output.exists():
        raise InputError(f"{arguments.output} exists already: remove it, or choose another -o FILE.")
    proposal = propose(arguments.path, label=arguments.label, user=arguments.user)
    rich.print(proposal)
    if arguments.output is None:
        print(f"\n# mine/data/{choice}.yaml\n{proposal.block}")
    else:
        _write(arguments.output, proposal.block)
        print(f"\nWritten to {arguments.output}. {FROM_THE_DATA * proposal.fitted}".rstrip())
    partition = "natural" if proposal.natural else "iid"
    command = f"data={choice}", f"model={proposal.model}", f"partition={partition}", f"name={choice}"
    print(_HOW_TO_RUN.format(choice=choice, command=shlex.join(command), source=proposal.source))
    return 0


def _choice_name(path: Path, output: Path | None) -> str:
    """What the block is called as a choice of the group ``data``, and runs with it; never as one of fedpriv's own."""
    from fedpriv.config import conf_dir

    taken = {file.stem for file in (conf_dir() / "data").glob("*.yaml")}
    if output is not None:
        if output.stem in taken:
            raise InputError(f"-o {output}: data={output.stem} is fedpriv's own. Choose another name.")
        return output.stem
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(path.resolve().name.removesuffix(".gz")).stem).strip("_-")
    return stem if re.match(r"[A-Za-z]", stem) and stem not in taken else f"my_{stem or 'data'}"


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {file}: {error.strerror or error}.") from error


_HOW_TO_RUN = """\
As mine/data/{choice}.yaml it runs by:
  fedpriv run --config-dir=mine {command}
In an experiment: `- override /data: {source}` among its defaults; these keys, without `defaults`, below `data:`."""


def _data(arguments: argparse.Namespace) -> int:
    from fedpriv.config import compose

    config = compose(arguments.overrides, config_dir=arguments.config_dir)
    _prepare()
    import rich

    from fedpriv.data import describe, draw_partition
    from fedpriv.experiment import load_data

    data = load_data(config)
    rich.print(describe(data))
    if arguments.png is not None:
        draw_partition(data, arguments.png)
        print(f"Drawn to {arguments.png}")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    """Of numbers alone where ``unit=`` is given, else of an experiment."""
    if not any(word.startswith("unit=") for word in arguments.words):
        return _plan_run(arguments)
    from fedpriv.accounting.plan_words import plan

    found = plan(arguments.words)
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        from fedpriv.reports.plan import show_plan

        show_plan(found)
    if arguments.png is not None:
        from fedpriv.reports.plan import draw_plan

        draw_plan(found, arguments.png)
    return 0


def _plan_run(arguments: argparse.Namespace) -> int:
    if arguments.png is not None:
        raise InputError("--png draws a plan of numbers: give unit=client or unit=example.")
    if any(word.partition("=")[0] in _PLANNED for word in arguments.words):
        raise InputError("A plan of numbers says unit=client or unit=example; without it, words choose an experiment.")
    from fedpriv.config import compose

    config = compose(arguments.words, config_dir=arguments.config_dir)
    _prepare()
    from fedpriv.experiment.planning import plan_run

    answer = plan_run(config)
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        from fedpriv.reports.plan import show_run_plan

        show_run_plan(answer)
    return 0


def _tune(arguments: argparse.Namespace) -> int:
    from fedpriv.config import compose, conf_dir, preset

    file: Path | None = arguments.write
    if not 1 <= arguments.seconds <= 86400:
        raise InputError(f"--seconds={arguments.seconds:g} must lie between 1 and 86400.")
    if file is not None and file.exists():
        raise InputError(f"{file} exists already: remove it, or choose another --write FILE.")
    if file is not None and (file.suffix != ".yaml" or (conf_dir() / "experiment" / file.name).exists()):
        raise InputError(f"--write {file} must end in .yaml, with a name that no preset of fedpriv's own has.")
    config = compose(arguments.overrides, config_dir=arguments.config_dir)
    _prepare()
    from fedpriv.experiment.tune import tune
    from fedpriv.reports.tune import measuring, show_tuned

    with measuring() as tell:
        found = tune(config, seconds=arguments.seconds, tell=tell)
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        show_tuned(found.to_json())
    if file is not None and found.overrides:
        _write(file, preset([*arguments.overrides, *found.overrides], config_dir=arguments.config_dir))
        told = f"As DIR/experiment/{file.name} it runs by: fedpriv run --config-dir=DIR experiment={file.stem}"
        print(f"Written to {file}. {told}", file=sys.stderr if arguments.json else sys.stdout)
    return 0


def _conformance(arguments: argparse.Namespace) -> int:
    _prepare()
    from fedpriv.conformance.command import conformance

    return conformance(arguments.target, arguments.words, as_json=arguments.json)


def _run_folder(path: Path) -> Path:
    """``path``, unless it is plainly the folder of an experiment or of all runs."""
    if not (path / "run.json").exists():
        for runs in (sorted(path.glob("*/run.json")), sorted(path.glob("*/*/run.json"))):
            if runs:
                told = ", ".join(str(run.parent) for run in runs[:3])
                raise InputError(f"{path} holds runs but is none. Give one of them: {told}{', ...' * (len(runs) > 3)}")
    return path


def _prepare() -> None:
    """What only a person at a terminal wants: libraries' warnings out of the way, own modules importable."""
    import warnings

    warnings.filterwarnings("ignore")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # `_target_` may name a module in the current folder


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """As argparse, but overrides and the like may stand on both sides of an option."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    words: list[str] | None = getattr(arguments, "overrides", getattr(arguments, "words", None))
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if words is not None:
        words += rest
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fedpriv",
        description="Federated learning with differential privacy, simulated and accounted for.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="`fedpriv run --help` explains experiments, with examples.",
    )
    parser.set_defaults(command=None)
    parser.add_argument("--version", action="version", version=f"fedpriv {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Subcommand)

    run = _command(commands, "run", _run, "train an experiment, or go on with it", epilog=_run_help)
    _takes_overrides(run)
    sweep = _command(
        commands, "sweep", _sweep, "run every combination of values, or go on with it", epilog=lambda: _SWEEP_EXAMPLES
    )
    _takes_overrides(sweep)
    sweep.add_argument("--fail-fast", action="store_true", help="begin no run after one has failed")
    resume = _command(commands, "resume", _resume, "go on with the run in a folder")
    show = _command(commands, "show", _show, "what a run is, reached and guarantees")
    compare = _command(commands, "compare", _compare, "how two runs or sweeps differ: config, metrics, guarantees")
    for side in ("a", "b"):
        compare.add_argument(side, type=_path, metavar=side.upper(), help="a run's folder, or one with runs below")
    verify = _command(
        commands,
        "verify",
        _verify,
        "recompute a run's epsilon from its ledger: 0 holds, 1 does not, 2 unreadable",
    )
    replay = _command(
        commands,
        "replay",
        _replay,
        "train a finished run again from its folder alone: 0 every file is the same, 1 differs, 2 cannot be replayed",
    )
    replay.add_argument("--keep", type=_path, metavar="DIR", help="leave the replay in DIR/name/run id")
    attack = _command(
        commands,
        "attack",
        _attack,
        "what an adversary gets of a finished run: membership inference, beside what is claimed",
        epilog=lambda: _ATTACK_EXAMPLES,
    )
    attack.add_argument("--json", action="store_true", help="all attacks of the run as one object on stdout")
    for command in (resume, show, verify, replay, attack):
        command.add_argument("run", type=_path, metavar="RUN", help="the run's folder")
    _takes_overrides(attack)
    report = _command(
        commands,
        "report",
        _report,
        "one HTML file of many runs: utility against epsilon, guarantees, clients",
        epilog=lambda: _REPORT_EXAMPLES,
    )
    report.add_argument("paths", nargs="+", type=_path, metavar="PATH", help="a run's folder, or one with runs below")
    report.add_argument("-o", "--output", type=_path, metavar="FILE", required=True, help="the page; replaced")
    report.add_argument("--title", metavar="TEXT", help="its heading")
    report.add_argument("--tables", type=_path, metavar="DIR", help="its tables as CSV and Markdown, too")
    report.add_argument("--figures", type=_path, metavar="DIR", help="its figures as PNG and SVG, too")
    report.add_argument(
        "--galleries", action="store_true", help="show images that attacks rebuilt, beside training examples"
    )
    data = _command(
        commands,
        "data",
        _data,
        "clients, sizes and label mix of an experiment's data",
        epilog=lambda: "`fedpriv data describe PATH` looks at files of your own and writes a config block for them.",
    )
    _takes_overrides(data)
    data.add_argument("--png", type=_path, metavar="FILE", help="draw the partition")
    data.words = {"describe": _describe_parser()}
    plan = _command(
        commands,
        "plan",
        _plan,
        "privacy before a run: of epsilon, noise, rounds and cohort the one that is not given",
        epilog=lambda: _PLAN_EXAMPLES,
    )
    plan.add_argument("words", nargs="*", metavar="KEY=VALUE", help="numbers with unit=client|example, or overrides")
    plan.add_argument("--json", action="store_true", help="one object on stdout")
    plan.add_argument("--png", type=_path, metavar="FILE", help="draw what is feasible")
    plan.add_argument("--config-dir", type=_path, metavar="DIR", help="a folder of your own groups and presets")
    tune = _command(
        commands,
        "tune",
        _tune,
        "measure what trains an experiment faster on this machine; nothing is released or kept",
        epilog=lambda: _TUNE_EXAMPLES,
    )
    _takes_overrides(tune)
    tune.add_argument("--seconds", type=float, default=30.0, metavar="N", help="about how long to measure (30)")
    tune.add_argument("--write", type=_path, metavar="FILE", help="write the better one as a preset (.yaml)")
    tune.add_argument("--json", action="store_true", help="one object on stdout")
    conformance = _command(
        commands,
        "conformance",
        _conformance,
        "measure what a mechanism, Flower strategy or client mod really does: 0 all holds, 1 something fails",
        epilog=lambda: _CONFORMANCE_EXAMPLES,
    )
    conformance.add_argument("target", metavar="MODULE:NAME", help="an importable class, or a function that makes one")
    conformance.add_argument("words", nargs="*", metavar="KEY=VALUE", help="its arguments; claim.KEY=VALUE: its claims")
    conformance.add_argument("--json", action="store_true", help="rows of property, verdict, evidence")
    return parser


def _describe_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fedpriv data describe",
        description="What files of your own hold, and a ready config block (mine/data/NAME.yaml) that loads them.",
    )
    parser.set_defaults(command=_describe)
    parser.add_argument("path", type=_path, metavar="PATH", help="CSV, Parquet, npz, idx, class folders of images, ...")
    parser.add_argument("--label", metavar="COLUMN", help="what is to be predicted (else guessed)")
    parser.add_argument("--user", metavar="COLUMN", help="who made a row, for partition=natural")
    parser.add_argument("-o", "--output", type=_path, metavar="FILE", help="write the block there")
    return parser


class _Subcommand(argparse.ArgumentParser):
    """Builds its epilog only when help is asked for; a first word may have a parser of its own."""

    make_epilog: Callable[[], str] | None = None
    words: Mapping[str, argparse.ArgumentParser] = MappingProxyType({})

    def format_help(self) -> str:
        if self.make_epilog is not None:
            self.epilog = self.make_epilog()
        return super().format_help()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if args and args[0] in self.words:
            return self.words[args[0]].parse_known_args(args[1:], namespace)
        return super().parse_known_args(args, namespace)


def _command(
    commands: "argparse._SubParsersAction[_Subcommand]",
    name: str,
    function: Callable[[argparse.Namespace], int],
    text: str,
    *,
    epilog: Callable[[], str] | None = None,
) -> "_Subcommand":
    parser = commands.add_parser(
        name,
        help=text,
        description=text.capitalize() + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.make_epilog = epilog
    parser.set_defaults(command=function)
    return parser


def _takes_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="GROUP=CHOICE or KEY=VALUE")
    parser.add_argument("--config-dir", type=_path, metavar="DIR", help="a folder of your own groups and presets")


def _path(text: str) -> Path:
    """A shell leaves the tilde in --option=~/folder alone."""
    return Path(text).expanduser()


def _run_help() -> str:
    from fedpriv.config import conf_dir

    lines = ["groups and their choices (the files of conf/):"]
    width = max(60, min(120, shutil.get_terminal_size().columns))
    for group in sorted(path for path in conf_dir().iterdir() if path.is_dir()):
        lines.append(f"\n  {group.name}=")
        for choice in sorted(group.glob("*.yaml")):
            indent = f"    {choice.stem:<26}"
            lines.append(
                textwrap.fill(_first_comment(choice), width, initial_indent=indent, subsequent_indent=" " * len(indent))
            )
    return "\n".join(lines) + "\n\n" + _KEYS + "\n" + _RUN_EXAMPLES


_KEYS = """\
keys that every run has, with their defaults; a preset sets its own, a choice adds those in its file in conf/:
  task=auto|classification|binary|regression|next_token|survival split.client_holdout=0 split.held_out_clients=0
  seed=0 rounds=10 workers=CPUS(small: 1) threads=1 device=cpu output_dir=outputs name=PRESET force=false
  privacy.epsilon privacy.delta=n^-1.1 privacy.noise_multiplier privacy.max_grad_norm privacy.clipping_norm
  privacy.accountant=auto|pld|rdp|prv|opacus_rdp privacy.relation=auto|add_or_remove_one|replace_one|zero_out
  privacy.calibration=per_client|shared privacy.accept_weak_delta=false
  sampling.cohort=everybody sampling.cap sampling.separation
  partition.num_clients=10 partition.alpha=0.5 partition.min_examples
  training.batch_size=32 training.local_epochs=1 training.lr=0.1 training.engine=auto training.function
  tuning.stack_size tuning.chunk_size tuning.convolutions=patches|native tuning.memory_format=channels_last|contiguous
    (by rules; `fedpriv tune` measures what is better)
  model.init=FILE model.trainable=[PATTERN,...] model.lora_rank model.lora_alpha=rank model.lora_layers=['*']
  strategy.weighting=examples|uniform strategy.personal=[PATTERN,...] strategy.flower strategy.client_app strategy.mods
  federation.dropout=0 clients_per_node=any evaluation.every=1 evaluation.clients=true fix_model=false
  attack (by name; docs/attacks.md)
  seeds.data seeds.sampling seeds.model seeds.noise (secret: drawn from the system, deleted at the end)
"""


def _first_comment(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @"):
            return re.split(r"(?<!et al)\. ", line[2:])[0].rstrip(".")
    return ""


def _fail(message: str, code: int) -> int:
    print(f"fedpriv: {message}", file=sys.stderr)
    return code
