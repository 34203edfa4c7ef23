"""The coins that a model draws by itself (dropout): by round, client and attempt, and secret where the noise is."""

import itertools

import numpy as np
import pytest
import torch

from fedpriv.config import compose
from fedpriv.experiment import Experiment
from fedpriv.federation import Node, TrainTask
from fedpriv.models import ParameterLayout
from fedpriv.privacy.mechanisms import NoPrivacy
from fedpriv.training import Classification, ClientResult, ClientWork
from fedpriv.training.interface import isolated
from fedpriv.training.rules import PlainRule

CPU = torch.device("cpu")


class DrawsOnly:
    """Keeps what the model would draw."""

    def __init__(self):
        self.drawn = []

    def train(self, start, work):
        return isolated(self._draw, start, work)

    def _draw(self, start, item):
        self.drawn.append(tuple(torch.rand(3).tolist()))
        return ClientResult(client_id=item.client_id, update=torch.zeros_like(start))


def test_every_round_client_and_attempt_has_its_own(new_streams, new_data):
    module = torch.nn.Linear(6, 3)
    layout, trainer = ParameterLayout.of(module), DrawsOnly()
    node = Node(
        data=new_data([5, 5]),
        model=module,
        layout=layout,
        trainer=trainer,
        task=Classification(num_classes=3),
        mechanism=NoPrivacy(),
        rule=PlainRule(),
        weights=np.ones(2),
        streams=new_streams(0),
        dropout=0.0,
        device=CPU,
    )
    for round_number, attempt in itertools.product((1, 2), (0, 1)):
        node.train(
            TrainTask(
                round=round_number,
                attempt=attempt,
                parameters=layout.unflatten(torch.zeros(layout.size)),
                broadcast={},
                told={},
                chunk_ids=(0,),
                chunks=((0, 1),),
                noise_multipliers=np.full(2, np.nan),
                states={},
                each=False,
            )
        )
    assert len(set(trainer.drawn)) == len(trainer.drawn) == 8


@pytest.mark.parametrize(
    ("privacy", "secret"),
    [
        ("example", {"noise", "commitment", "masks", "batches", "training"}),
        ("central", {"noise", "commitment", "masks", "batches", "cohort"}),
    ],
)
def test_a_secret_keys_what_each_proof_relies_on(privacy, secret):
    config = compose(
        ["experiment=digits_smoke", f"privacy={privacy}", "seeds.noise=secret", "rounds=2"], config_dir=None
    )
    experiment = Experiment.assemble(config)
    known, drawn = experiment.streams(None), experiment.streams(b"x" * 32)
    assert {purpose for purpose in known.keys if known.keys[purpose] != drawn.keys[purpose]} == secret


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_draws_by_the_same_key():
    device = torch.device("cuda")
    torch.rand(1, device=device)
    drawn = []

    def draw(start, item):
        drawn.append(torch.rand(4, device=device).tolist())
        return ClientResult(client_id=item.client_id, update=start)

    def work(seed):
        state = torch.Generator().manual_seed(seed).get_state()
        coins = {"batches": np.random.default_rng(0), "noise": torch.Generator(), "torch_state": state}
        return ClientWork(client_id=0, examples=lambda: None, state={}, broadcast={}, noise_multiplier=0.0, **coins)

    before = torch.cuda.get_rng_state()
    list(isolated(draw, torch.zeros(1), [work(1), work(1), work(2)]))
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(before, torch.cuda.get_rng_state())
