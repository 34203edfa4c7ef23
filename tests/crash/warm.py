"""What the server of warm processes does once, so that none of its children need: import, parse, account.

Nothing here trains: torch's autograd does not survive a fork.
"""

import gc

import numpy as np
import pyarrow.parquet
import torch._dynamo  # noqa: F401  # the first optimizer imports it

import fedpriv.cli
import fedpriv.experiment
import fedpriv.progress
import fedpriv.training.opacus_trainer
import fedpriv.verification  # noqa: F401
from crash.workload import SMALL
from fedpriv.config import compose
from fedpriv.experiment.assembly import Experiment, load_data

pyarrow.array([0])  # imports pandas, where it is installed
_config = compose(SMALL, config_dir=None)
_experiment = Experiment(config=_config, data=load_data(_config))
_mechanism = _experiment.privacy.mechanism(_experiment.privacy.noise_multipliers(), _experiment.streams(None), None)
_cohorts = np.full(_experiment.data.num_clients, _config.rounds)
_planned = _mechanism.planned(_cohorts, first_round=1, last_round=_config.rounds, attempt=0)
_experiment.privacy.headline.accounting.worst(_planned)

gc.freeze()  # a collection in a child would copy every page of what it shares
