"""What a node keeps to itself where the server is somebody whom the guarantee protects from.

Diagnostics on training data are releases that no ledger knows of. A simulation shows them to whoever runs it; with
example-level privacy and a server of its own, they would go to the adversary.
"""

import logging
from dataclasses import replace

import numpy as np

from .messages import EvaluateReply, EvaluateTask, TrainReply

# A function of the number of examples, which counts as public. How many were drawn into batches does not: that
# would tell of the coins that the amplification relies on.
_NEEDED = ("steps",)
_KEPT = "failed; why is in the node's own log, since an error's text may quote data"


def needed_only(reply: TrainReply) -> TrainReply:
    """The reply with what the algorithm needs: no loss, no norm; errors' texts go to the node's log."""
    for client, failure in reply.failures.items():
        logging.getLogger(__name__).warning("client %d: %s", client, failure)
    return replace(
        reply,
        metrics={name: values for name, values in reply.metrics.items() if name in _NEEDED},
        failures=dict.fromkeys(reply.failures, _KEPT),
    )


def unmeasured(task: EvaluateTask) -> EvaluateReply:
    """The answer to an evaluate task that tells nothing: NaN for every client."""
    nothing = {"examples": np.full(len(task.clients), np.nan)}
    return EvaluateReply(clients=np.asarray(task.clients, dtype=np.int64), metrics=nothing)
