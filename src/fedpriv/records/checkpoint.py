"""The one checkpoint of a run, and its model: safetensors, replaced whole, checked when read; no pickle.

Everything a run needs to go on lies in one file, so that no kill can part the tensors from the state.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpriv.errors import DamagedRunError
from fedpriv.records.atomic import write_bytes_atomic, writing

if TYPE_CHECKING:
    import torch

CHECKPOINT_NAME = "latest.safetensors"
_KEY = "fedpriv"
_FORMAT = 1
# safetensors reads no header beyond 100 MB; state of that size belongs in a tensor.
_MAX_STATE_BYTES = 50_000_000
_MEND = "Run again with force=true to start anew."


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What `save_checkpoint` was given: tensors on the CPU, and the state as JSON gives it back."""

    tensors: "Mapping[str, torch.Tensor]"
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, *, tensors: "Mapping[str, torch.Tensor]", state: Mapping[str, Any]) -> None:
    """Replace the checkpoint in `folder` (made if missing), all or nothing.

    Args:
        folder: the run's `checkpoint/`.
        tensors: any shapes and dtypes, 0-d and integer ones included; copied to the CPU.
        state: JSON values with string keys; NaN and infinities are kept as they are.

    Raises:
        TypeError, ValueError: a state that JSON cannot hold, or one of more than 50 MB.
        InputError, FedprivError: cannot be written; the earlier checkpoint is untouched.
    """
    text = json.dumps(state, sort_keys=True, separators=(",", ":"))
    if len(text) > _MAX_STATE_BYTES:
        raise ValueError(f"a checkpoint's state of {len(text)} bytes is too large: keep arrays as tensors")
    plain = _on_cpu(tensors)
    header = {"format": _FORMAT, "sha256": _digest(plain, text), "state": text}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(
        folder / CHECKPOINT_NAME, _serialised(plain, {_KEY: json.dumps(header, sort_keys=True)})
    )


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None if none was written yet.

    Raises:
        DamagedRunError: there is one, but it is not, bit for bit, what was written.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT_NAME
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(metadata[_KEY])
        version, text, digest = header["format"], header["state"], header["sha256"]
        if version == _FORMAT and _digest(tensors, text) == digest:
            # Copied, as safetensors maps them from the file.
            return Checkpoint(tensors=_on_cpu(tensors), state=json.loads(text))
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedRunError(f"The checkpoint {path} is damaged. {_MEND}") from error
    if version != _FORMAT:
        raise DamagedRunError(f"The checkpoint {path} is of a format that this fedpriv cannot read. {_MEND}")
    raise DamagedRunError(f"The checkpoint {path} is damaged: its digest does not agree. {_MEND}")


def save_model(path: Path, tensors: "Mapping[str, torch.Tensor]") -> None:
    """Write `tensors` to `path` as safetensors, all or nothing; the same tensors give the same bytes.

    Raises:
        InputError, FedprivError: cannot be written.
    """
    write_bytes_atomic(path, _serialised(_on_cpu(tensors), None))


def _on_cpu(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    import torch

    # Always copied: safetensors refuses tensors that share memory. Sorted: the order given must not show.
    return {
        name: tensors[name].detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name in sorted(tensors)
    }


def _serialised(tensors: "dict[str, torch.Tensor]", metadata: dict[str, str] | None) -> bytes:
    from safetensors.torch import save

    # One metadata key at most: safetensors does not promise an order for several.
    return bytes(save(tensors, metadata))


def _digest(tensors: "Mapping[str, torch.Tensor]", text: str) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        data = tensor.reshape(-1).view(torch.uint8).numpy().data
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape), len(data)]).encode())
        digest.update(data)
    digest.update(text.encode())
    return digest.hexdigest()
