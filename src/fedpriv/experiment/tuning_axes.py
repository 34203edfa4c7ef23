"""What ``fedpriv tune`` may try: one kind of key after another, where the experiment says nothing itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from fedpriv.accounting.claims import protects
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.scratch import Scratch
from fedpriv.training import Convolutions, Engine, MemoryFormat, Tuning, Wishes

Axis = Callable[[Wishes], Sequence[Wishes]]
"""From the best choice so far to others that differ in one kind of key."""

_STACK_NUMBERS = 2**25  # parameters of the largest stack that is tried: twice what the rules allow
_OTHER_CONVOLUTIONS: dict[Convolutions, Convolutions] = {"patches": "native", "native": "patches"}
_OTHER_FORMAT: dict[MemoryFormat, MemoryFormat] = {"channels_last": "contiguous", "contiguous": "channels_last"}


class Axes:
    """The choices of one experiment.

    Args:
        scratch: where they are measured; it says how many clients there are at most.
    """

    def __init__(self, experiment: Experiment, scratch: Scratch) -> None:
        self._scratch, self._config = scratch, experiment.config
        self._rules, self._formulation = experiment.tuning, experiment.formulation
        cohort = experiment.sampler(experiment.streams(None)).law.cohort
        # two chunks a worker at least: else some wait for others
        most = min(scratch.num_clients, cohort / (2 * experiment.workers), self._config.clients_per_node or math.inf)
        self._chunks = [self._rules.chunk_size]
        while self._config.tuning.chunk_size is None and 2 * self._chunks[-1] <= most:
            self._chunks.append(2 * self._chunks[-1])
        parameters = sum(p.numel() for p in experiment.new_model().parameters() if p.requires_grad)
        self._largest_stack = max(self._rules.stack_size, _STACK_NUMBERS // parameters)

    @property
    def in_turn(self) -> list[Axis]:
        """Those that change most first."""
        return [self.engines, self.stacks, self.larger_chunks, self.convolutions, self.memory_formats]

    def engines(self, best: Wishes) -> Sequence[Wishes]:
        """The engines that can do it beside the one that the rules take."""
        if self._config.training.engine != "auto" or self._formulation is None:
            return []
        one_by_one: Engine = "opacus" if protects(self._config.privacy.mechanism, "example") else "sgd"
        names: tuple[Engine, ...] = ("vectorized", one_by_one)
        return [replace(best, engine=name) for name in names if name != self._rules.engine]

    def stacks(self, best: Wishes) -> Sequence[Wishes]:
        """Powers of two below a chunk, and chunks that are one stack; those most like the rules' first."""
        now, chunk = self._tuning(best), self._chunks[0]
        taken = self._config.tuning.stack_size is not None
        if taken or now.formulation is None or not now.formulation.side_by_side:
            return []
        sizes = [2**i for i in range(chunk.bit_length()) if 2**i < chunk] + self._chunks
        others = [size for size in sizes if size <= self._largest_stack and size != self._rules.stack_size]
        others.sort(key=lambda size: abs(math.log(size / self._rules.stack_size)))
        return [replace(best, stack_size=size, chunk_size=size if size > chunk else None) for size in others]

    def larger_chunks(self, best: Wishes) -> Sequence[Wishes]:
        """Chunks of several stacks."""
        now = self._tuning(best)
        if now.formulation is None:
            return []
        larger = [size for size in self._chunks if size > now.chunk_size]
        return [replace(best, chunk_size=size, stack_size=now.stack_size) for size in larger]

    def convolutions(self, best: Wishes) -> Sequence[Wishes]:
        """The other way of computing them."""
        now = self._tuning(best).convolutions
        if now is None or self._config.tuning.convolutions is not None:
            return []
        return [replace(best, convolutions=_OTHER_CONVOLUTIONS[now])]

    def memory_formats(self, best: Wishes) -> Sequence[Wishes]:
        """The other one."""
        now = self._tuning(best).memory_format
        if now is None or self._config.tuning.memory_format is not None:
            return []
        return [replace(best, memory_format=_OTHER_FORMAT[now])]

    def _tuning(self, wishes: Wishes) -> Tuning:
        return self._scratch.experiment(wishes).tuning
