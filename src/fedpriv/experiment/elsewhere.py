"""An experiment on workers that may be other machines: it is the same, and so are the bits, or it is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpriv.config import Config
from fedpriv.errors import FedprivError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.nodes import make_app
from fedpriv.federation import App
from fedpriv.privacy import Mechanism
from fedpriv.records.environment import difference, environment_fingerprint
from fedpriv.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """What travels of an experiment.

    Attributes:
        whole: all of it, data included; None where every machine reads the data from its path.
        config: of the latter.
        run_id: of both.
        environment: where it was started; a resumed run relies on it that another start would give the same bits.
    """

    whole: Experiment | None
    config: Config
    run_id: str
    environment: Mapping[str, Any]

    @staticmethod
    def of(experiment: Experiment, *, environment: Mapping[str, Any]) -> "Elsewhere":
        """As ``runtime.data`` says."""
        return Elsewhere(
            whole=experiment if experiment.config.runtime.data == "object_store" else None,
            config=experiment.config,
            run_id=experiment.run_id(),
            environment=environment,
        )

    def unpacked(self) -> Experiment:
        """The experiment, on this machine.

        Raises:
            FedprivError: this machine, or its data, is another one.
        """
        if changes := difference(self.environment, environment_fingerprint()):
            raise FedprivError(
                f"this machine would not give the same bits as the one that started the run: {'; '.join(changes)}. Use "
                "machines of one kind, with the same packages."
            )
        if self.whole is not None:
            return self.whole
        found = Experiment.assemble(self.config)
        if found.run_id() != self.run_id:
            raise FedprivError(
                "what this machine finds at the data's path is not what the run was started with. Give all machines "
                "the same files, or use runtime.data=object_store."
            )
        return found


def make_app_alike(experiment: Elsewhere, mechanism: Mechanism, streams: Streams) -> App:
    """The app of a worker."""
    return make_app(experiment.unpacked(), mechanism, streams)
