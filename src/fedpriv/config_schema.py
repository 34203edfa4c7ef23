"""The schema of an experiment: every key that all runs have, its type and its only default.

A choice's own keys have theirs in that choice's file in conf/.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

# What every choice of model may be told beside its own arguments; see ``fedpriv.models.adapt``.
MODEL_KEYS = {"init": None, "trainable": None, "lora_rank": None, "lora_alpha": None, "lora_layers": ["*"]}
_FROM_GROUP = "???"  # omegaconf's mark of a value that a file in conf/ must give


@dataclass
class SeedsConfig:
    """Seeds of single purposes; null derives each from ``seed``. ``noise=secret`` draws 128 bits that are deleted."""

    data: int | None = None
    sampling: int | None = None
    model: int | None = None
    noise: Any = None


@dataclass
class TrainingConfig:
    """What a client does with its own data in a round."""

    batch_size: int = 32
    local_epochs: int = 1
    lr: float = 0.1
    engine: str = "auto"
    proximal_mu: float = 0.0
    optimizer: dict[str, Any] = field(default_factory=dict)
    function: Any = None  # a _target_; typed as a dict, no value could ever replace the null


@dataclass
class TuningConfig:
    """How work is cut; null leaves it to rules, and ``fedpriv tune`` measures what is better.

    ``stack_size``: clients side by side; ``chunk_size``: clients of one sum; ``convolutions``: patches or native;
    ``memory_format``: channels_last or contiguous.
    """

    stack_size: int | None = None
    chunk_size: int | None = None
    convolutions: str | None = None
    memory_format: str | None = None


@dataclass
class SamplingConfig:
    """Who is in a round's cohort: its expected size (null: everybody whose turn it is), rounds between turns, a cap.

    ``participation_cap``: rounds after which a client is drawn no more.
    """

    kind: str = _FROM_GROUP
    cohort: float | None = None
    separation: int | None = None
    cap: int | None = None
    participation_cap: int | None = None


@dataclass
class PrivacyConfig:
    """Which mechanism protects whom, and how its releases are judged."""

    mechanism: str = _FROM_GROUP
    epsilon: float | None = None
    delta: float | None = None
    noise_multiplier: float | None = None
    clipping_norm: float | None = None
    max_grad_norm: float | None = None
    example_epsilon: float | None = None
    example_delta: float | None = None
    example_noise_multiplier: float | None = None
    target_quantile: float | None = None
    clipping_lr: float | None = None
    count_noise: float | None = None
    bits: int | None = None
    granularity: float | None = None
    tolerated_dropout: float | None = None
    restart_every: int | None = None
    bands: int | None = None
    layer_norms: dict[str, float] = field(default_factory=dict)
    client_budgets: list[Any] = field(default_factory=list)  # {epsilon: 1, share: 0.3}: see docs/client_budgets.md
    group_norms: Any = None  # {sex: {Male: 0.5}}: see docs/fairness.md; typed as a dict, nobody could name a group
    calibration: str = "per_client"
    accountant: str = "auto"
    relation: str = "auto"
    accept_weak_delta: bool = False


@dataclass
class StrategyConfig:
    """The federated algorithm: what clients and server do beside local steps and averaging.

    ``flower``, ``client_app`` and ``mods`` belong to ``algorithm=flower``: a strategy, a client and mods of Flower's.
    """

    algorithm: str = "fedavg"
    weighting: str = "examples"
    optimizer: dict[str, Any] = field(default_factory=dict)
    personal: list[str] = field(default_factory=list)
    flower: dict[str, Any] = field(default_factory=dict)
    client_app: str | None = None
    mods: list[Any] = field(default_factory=list)


@dataclass
class SplitConfig:
    """Shares of every client's examples, and of the clients, that are kept from training."""

    client_holdout: float = 0.0
    held_out_clients: float = 0.0


@dataclass
class FederationConfig:
    """What goes wrong in a federation, simulated: chance of a client, each round, to never answer."""

    dropout: float = 0.0


@dataclass
class EvaluationConfig:
    """Global test metrics every so many rounds; per-client metrics at the end."""

    every: int = 1
    clients: bool = True


@dataclass
class RuntimeConfig:
    """What carries the messages; ``data`` (ray): how it reaches the workers, through object_store or from its path."""

    kind: str = _FROM_GROUP
    data: str | None = None


@dataclass
class Config:
    """One experiment."""

    name: str = "run"
    seed: int = 0
    rounds: int = 10
    workers: int | None = None  # by the size of the job: fedpriv.runtimes.default_workers
    threads: int = 1
    clients_per_node: int | None = None
    device: str = "cpu"
    output_dir: str = "outputs"
    force: bool = False
    fix_model: bool = False
    task: str = "auto"
    data: dict[str, Any] = field(default_factory=dict)
    partition: dict[str, Any] = field(default_factory=dict)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: dict[str, Any] = field(default_factory=lambda: deepcopy(MODEL_KEYS))
    training: TrainingConfig = field(default_factory=TrainingConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    seeds: SeedsConfig = field(default_factory=SeedsConfig)
    federation: FederationConfig = field(default_factory=FederationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    tracking: dict[str, Any] = field(default_factory=dict)  # name -> a callback's _target_, arguments and timeout
    attack: dict[str, Any] = field(default_factory=dict)  # name -> an attack's _target_ and arguments
    audit: dict[str, Any] = field(default_factory=dict)  # kind, canaries, guesses, bound, confidence
