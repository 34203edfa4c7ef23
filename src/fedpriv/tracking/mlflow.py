"""MLflow: parameters, numbers by round, the run's files, the final model, runs below the one of their sweep."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock

from fedpriv.errors import ConfigError
from fedpriv.records.run_record import RunRecord
from fedpriv.tracking.callback import Callback
from fedpriv.tracking.extras import needs
from fedpriv.tracking.final_model import FinalModel
from fedpriv.tracking.sharing import artifacts, numbers, results, rounds_so_far, settings

_FLUSH_SECONDS = 1.0
_REACH_SECONDS = 10.0
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # of one request
_LONGEST_PARAM = 6000
_RUN, _PARENT = "fedpriv.run_id", "fedpriv.parent"
_ENDED = {"interrupted": "KILLED", "failed": "FAILED"}


@final
class MlflowTracker(Callback):
    """One MLflow run for each fedpriv run, found again by the tag ``fedpriv.run_id``.

    A resumed run goes on with its MLflow run; rounds that it lacks are taken from the run's tables, so that a run that
    was killed, or finished without this tracker, is whole in the end.

    Args:
        uri: a server or a place, as MLflow's tracking URI; None: MLflow's own choice (MLFLOW_TRACKING_URI).
        experiment: MLflow's; None: the run's name.
        parent: name of the run below which this one hangs, such as its sweep's; None: none.
        log_model: whether the final model is logged, with its signature.
        final_model: the model.

    Raises:
        ConfigError: MLflow is not installed, or the URI holds a password, which config files would keep.
    """

    def __init__(
        self,
        *,
        uri: str | None,
        experiment: str | None,
        parent: str | None,
        log_model: bool,
        final_model: FinalModel,
    ) -> None:
        needs("mlflow", tracker="mlflow")
        if uri is not None and urlsplit(uri).password is not None and urlsplit(uri).scheme.startswith("http"):
            raise ConfigError(
                "tracking.mlflow.uri holds a password, and config.yaml would keep it: give it by the environment's "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        self._uri, self._experiment, self._parent = uri, experiment, parent
        self._model = final_model if log_model else None
        self._client: Any = None
        self._run = ""
        self._known: set[tuple[int, float]] = set()  # rounds that MLflow has, each with its attempt
        self._pending: list[Any] = []
        self._sent_at = 0.0

    def already_done(self, folder: Path, record: RunRecord) -> None:
        if self._open(folder, anew=False) != "FINISHED":
            self.finished(folder, record)

    def started(self, folder: Path, *, rounds_done: int, last_round: int, notes: list[str]) -> None:
        self._open(folder, anew=rounds_done == 0)
        if rounds_done:
            self._catch_up(folder)

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        self._add(row)
        if time.monotonic() - self._sent_at >= _FLUSH_SECONDS:
            self._send()

    def finished(self, folder: Path, record: RunRecord) -> None:
        by_round = self._catch_up(folder)
        self._log({k: v for k, v in results(record).items() if k not in by_round}, step=record.rounds)
        self._send()
        for file in artifacts(folder):
            self._client.log_artifact(self._run, str(file))
        if self._model is not None:
            self._log_model(self._model, folder)
        self._end(record)

    def stopped(self, folder: Path, record: RunRecord) -> None:
        self._send()
        self._end(record)

    # -- runs ----------------------------------------------------------------------------------------------

    def _open(self, folder: Path, *, anew: bool) -> str:
        """Find or make the MLflow run; returns the status that it had."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        _must_answer(self._uri or os.environ.get("MLFLOW_TRACKING_URI", ""))
        import mlflow

        # Several processes of a sweep may be here at once; a new database, too, is made by one of them.
        with FileLock(_lock_file(self._uri or mlflow.get_tracking_uri(), beside=folder.parent)):
            self._client = mlflow.MlflowClient(tracking_uri=self._uri)
            experiment = self._experiment_id(self._experiment or folder.parent.name)
            found = self._find(experiment, _RUN, folder.name)
            if found is None or (anew and found.info.status == "FINISHED"):
                self._run = self._create(experiment, folder)
                return "NEW"
        self._run = found.info.run_id
        self._known = {(one.step, one.value) for one in self._client.get_metric_history(self._run, "attempt")}
        if self._parent is not None and "mlflow.parentRunId" not in found.data.tags:
            self._client.set_tag(self._run, "mlflow.parentRunId", self._parent_id(experiment, self._parent))
        if found.info.status != "FINISHED":
            self._client.update_run(self._run, status="RUNNING")
        return str(found.info.status)

    def _experiment_id(self, name: str) -> str:
        if (found := self._client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name))

    def _find(self, experiment: str, tag: str, value: str) -> Any:
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        found = self._client.search_runs(
            [experiment], f"tags.`{tag}` = '{quoted}'", max_results=1, order_by=["attributes.start_time DESC"]
        )
        return found[0] if found else None

    def _create(self, experiment: str, folder: Path) -> str:
        from mlflow.entities import Param

        tags = {_RUN: folder.name, "fedpriv.version": version("fedpriv")}
        if self._parent is not None:
            tags["mlflow.parentRunId"] = self._parent_id(experiment, self._parent)
        if self._model is not None and self._model.normalisation is not None:
            tags["fedpriv.normalisation"] = json.dumps(self._model.normalisation)
        run = self._client.create_run(experiment, tags=tags, run_name=f"{folder.parent.name}/{folder.name}")
        params = [Param(key, _text(value)) for key, value in settings(folder).items()]
        for some in _in_parts(params, _MOST_PARAMS):
            self._client.log_batch(run.info.run_id, params=some)
        return str(run.info.run_id)

    def _parent_id(self, experiment: str, name: str) -> str:
        if (found := self._find(experiment, _PARENT, name)) is not None:
            return str(found.info.run_id)
        made = self._client.create_run(experiment, tags={_PARENT: name}, run_name=name)
        self._client.set_terminated(made.info.run_id)  # it holds runs, and runs nothing itself
        return str(made.info.run_id)

    def _end(self, record: RunRecord) -> None:
        self._client.set_tag(self._run, "fedpriv.status", record.status)
        if record.error is not None:
            self._client.set_tag(self._run, "fedpriv.error", record.error[:_LONGEST_PARAM])
        self._client.set_terminated(self._run, status=_ENDED.get(record.status, "FINISHED"))

    # -- numbers -------------------------------------------------------------------------------------------

    def _catch_up(self, folder: Path) -> set[str]:
        """Send the rounds that MLflow lacks; returns the names of all numbers by round."""
        rows = rounds_so_far(folder)
        for row in rows:
            self._add(row)
        self._send()
        return {name for row in rows for name in numbers(row)}

    def _add(self, row: Mapping[str, Any]) -> None:
        """Buffer a round; one that MLflow has, of this attempt, would show twice."""
        key = (int(row["round"]), float(row["attempt"]))
        if key not in self._known:
            self._known.add(key)
            self._log(numbers(row), step=key[0])

    def _log(self, values: Mapping[str, float], *, step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [Metric(name, value, now, step) for name, value in values.items()]

    def _send(self) -> None:
        for some in _in_parts(self._pending, _MOST_METRICS):
            self._client.log_batch(self._run, metrics=some)
        self._pending, self._sent_at = [], time.monotonic()

    # -- the model -----------------------------------------------------------------------------------------

    def _log_model(self, final_model: FinalModel, folder: Path) -> None:
        """With the fluent interface, which alone makes a model that MLflow lists; it takes its URI from the process."""
        import mlflow
        import mlflow.pytorch
        import torch

        model = final_model.load(folder)
        with torch.no_grad():
            predicted = model(final_model.example)
        example = final_model.example.numpy()
        signature = mlflow.models.infer_signature(example, predicted.numpy())
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        with _tracking_uri(self._uri), mlflow.start_run(run_id=self._run):
            mlflow.pytorch.log_model(
                model,
                name="model",
                signature=signature,
                input_example=example,
                serialization_format=_format(model, final_model.example),
                pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "numpy")],
                metadata={"normalisation": final_model.normalisation},
            )


@contextmanager
def _tracking_uri(uri: str | None) -> Iterator[None]:
    """The process's, for the block; it may be a notebook's that tracks elsewhere."""
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    if uri is not None:
        mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        if uri is not None:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type]


def _lock_file(uri: str, *, beside: Path) -> Path:
    """One for all that use the same database file; a server keeps its own order, and runs of one name share a lock."""
    database = uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else ""
    return Path(f"{database}.lock") if database else beside / ".mlflow.lock"


def _must_answer(uri: str) -> None:
    """MLflow itself would try again for minutes."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urlopen(f"{uri.rstrip('/')}/health", timeout=_REACH_SECONDS):
            pass
    except HTTPError:
        pass  # whoever stands before the server has an opinion: it is there
    except (URLError, TimeoutError) as error:
        raise ConnectionError(f"no MLflow server answers at {uri} ({error})") from error


def _format(model: Any, example: Any) -> str:
    """A graph without pickle (pt2), unless the model's own code makes it one for batches of one size only."""
    from torch.export import Dim, export

    try:
        export(model, (example,), dynamic_shapes=[{0: Dim.DYNAMIC}])
    except Exception:
        return "pickle"
    return "pt2"


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text[:_LONGEST_PARAM]


def _in_parts(items: Sequence[Any], most: int) -> list[Sequence[Any]]:
    return [items[start : start + most] for start in range(0, len(items), most)]
