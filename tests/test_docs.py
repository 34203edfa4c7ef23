"""What the documents name exists: commands, presets, choices, keys, make targets, files, links."""

import re
import shlex
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import yaml

from fedpriv.cli import _parser, main
from fedpriv.config import Config, compose, conf_dir
from fedpriv.errors import BudgetExhaustedError, FedprivError, InputError, InterruptedRunError
from fedpriv.sweeps.expansion import Words, grid, probes

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
README = PAGES[0].read_text()
CHOICES = {
    folder.name: {file.stem for file in folder.glob("*.yaml")} for folder in conf_dir().iterdir() if folder.is_dir()
}
FILE_TYPES = {".jsonl", ".json", ".yaml", ".parquet", ".safetensors"}
OF_RUN_JSON = {"audit.empirical_epsilon", "audit.confidence", "audit.canaries"}  # beside keys of the same group
INTERNAL = {"privacy.mechanism", "sampling.kind", "runtime.kind", "strategy.optimizer", "training.optimizer"}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def inline_code(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))


def commands(program: str) -> list[list[str]]:
    lines = [line for page in PAGES for block in blocks(page.read_text(), "bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


@cache
def schema_keys() -> set[str]:
    def flat(value: dict, prefix: str) -> set[str]:
        found = set()
        for key, inner in value.items():
            found |= flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) and inner else {prefix + key}
        return found

    return flat(asdict(Config()), "")


@cache
def file_keys() -> set[str]:
    """Keys that only files of conf/ bring, such as data.path; and those below them."""

    def nested(value: dict, prefix: str) -> set[str]:
        below = [nested(inner, f"{prefix}{key}.") for key, inner in value.items() if isinstance(inner, dict)]
        return {f"{prefix}{key}" for key in value}.union(*below)

    return set().union(
        *(
            nested(yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text()), f"{group}.")
            for group, names in CHOICES.items()
            for name in names
        )
    )


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """The reader's folder, as the documents write it."""
    for page in PAGES:
        for block in blocks(page.read_text(), "yaml"):
            name, text = re.fullmatch(r"# mine/(\S+\.yaml)\n(.*)", block, flags=re.DOTALL).groups()
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    return tmp_path


def test_there_is_something_to_check():
    assert len(commands("fedpriv")) > 8
    assert len(commands("make")) > 4


@pytest.mark.slow
@pytest.mark.parametrize("words", commands("fedpriv"), ids=" ".join)
def test_a_command_can_be_given_as_written(words, own_folder, monkeypatch, capsys):
    if "--help" in words:
        with pytest.raises(SystemExit) as stopped:
            main(words[1:])
        assert stopped.value.code == 0
        return
    arguments = _parser().parse_args(words[1:])
    assert arguments.command is not None
    if words[1] == "sweep":
        asked = Words.of(arguments.overrides)
        for swept in grid(asked.swept) if asked.sweeper == "basic" else probes(asked.swept):
            compose([*asked.fixed, *swept], config_dir=None)
    elif hasattr(arguments, "overrides"):
        own = None if arguments.config_dir is None else own_folder
        assert arguments.config_dir is None or str(arguments.config_dir) == "mine"
        compose(arguments.overrides, config_dir=own)


def test_every_command_is_in_the_readme(capsys):
    main([])
    listed = re.findall(r"^    (\w+) ", capsys.readouterr().out, flags=re.MULTILINE)
    assert {"run", "resume", "show", "verify", "data"} <= set(listed)
    assert [name for name in listed if f"fedpriv {name}" not in README] == []


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        word
        for words in commands("make")
        for word in words[1:]
        if "=" not in word and not word.startswith("-")
    }
    assert named <= targets
    assert {"install", "install-all", "run", "test", "test-slow", "check"} <= targets


def test_own_files_compose(own_folder):
    config = compose(["experiment=tumours", "model=wide"], config_dir=own_folder)
    assert config.name == "tumours"
    assert config.model["hidden"] == [128, 64]


def test_the_readme_lists_every_choice():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", README.split("| group | choices |")[1], flags=re.MULTILINE))
    named = {group: set(re.findall(r"`(\w+)`", rows[group])) for group in CHOICES if group != "experiment"}
    assert named == {group: names for group, names in CHOICES.items() if group != "experiment"}
    assert [name for name in CHOICES["experiment"] if f"`{name}`" not in README] == []


def test_the_readme_lists_every_key():
    table = README.split("| key | meaning | default |")[1].split("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {key for cell in first_cells for key in re.findall(r"`([\w.]+)`", cell)}
    known = {key for key in schema_keys() if key not in INTERNAL}
    assert known - named - {"data", "partition", "model"} == set()
    assert named - known - file_keys() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_keys_and_choices_in_the_text_exist(page):
    keys, groups = schema_keys() | file_keys(), set(asdict(Config()))
    for code in inline_code(page.read_text()):
        key, equals, value = code.partition("=")
        if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", key) or key.startswith("hydra."):
            continue
        if equals and key in CHOICES:
            known = set(value.strip("[]").split(",")) <= CHOICES[key]
            assert known or value.isupper() or f"# mine/{key}/{value}.yaml" in README, code
        elif "." in key and key.split(".")[0] in groups and f".{key.split('.')[-1]}" not in FILE_TYPES:
            assert key in keys or key in INTERNAL or key in OF_RUN_JSON, code
        elif equals:
            assert key in keys, code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_files_exist(page):
    text = page.read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [target.partition("#")[0] for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []

    built = text.split("## 9. Planned")[0]
    code = [c for c in inline_code(built) if re.fullmatch(r"\.?[\w/.-]+(/|\.py|\.txt)", c) and ".." not in c]
    in_a_run_folder = {"checkpoint/", "parts/"}
    places = (ROOT, ROOT / "src" / "fedpriv")
    named = [name for name in code if name not in in_a_run_folder and not name.startswith(("mine/", "DIR/"))]
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_exit_codes_are_those_of_the_errors():
    told = dict(re.findall(r"(\d+) ([a-z][^,(]*)", README.split("Exit codes:")[1].split("`fedpriv verify`")[0]))
    assert told[str(InputError.exit_code)].startswith("bad input")
    assert told[str(BudgetExhaustedError.exit_code)].startswith("budget exhausted")
    assert told[str(InterruptedRunError.exit_code)].startswith("interrupted")
    assert told[str(FedprivError.exit_code)].startswith("anything else")


def test_the_architecture_page_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text().split("## 9. Planned")[0]
    package = ROOT / "src" / "fedpriv"
    rooms = {p.stem for p in package.iterdir() if p.is_dir() or p.suffix == ".py"} - {"__pycache__", "conf"}
    assert [r for r in rooms if not r.startswith("__") and not re.search(rf"`{r}(/|\.py)?`", page)] == []


def test_every_mechanism_has_its_page():
    pages = {page.stem for page in (ROOT / "docs" / "mechanisms").glob("*.md")}
    assert pages == {*CHOICES["privacy"], "compared"}


def test_every_attack_is_on_a_page_of_its_own_or_of_its_paper():
    text = "".join(page.read_text() for page in sorted((ROOT / "docs" / "attacks").glob("*.md")))
    headings = set(re.findall(r"attack=(\w+)", "\n".join(re.findall(r"^# (.*)$", text, flags=re.MULTILINE))))
    assert headings >= CHOICES["attack"] - {"none"}
