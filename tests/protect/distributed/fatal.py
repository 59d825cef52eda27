"""A worker that is killed amid a task, without any other process having to find the moment."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

from dadfi_fast.attacks.base import Attack
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.worker import GeneratorContextFactory, WorkerContext
from dadfi_fast.types import Float32


class FatalAttack(Attack):
    """Kills its process when it is called for the second time, unless another one has died of it already.

    Args:
        attack: what runs otherwise.
        died: the file that whoever dies leaves.
    """

    def __init__(self, attack: Attack, died: Path) -> None:
        super().__init__(attack.budget)
        self.crop_size = attack.crop_size
        self._attack, self._died, self._called = attack, died, 0

    def run(self, crops: Float32) -> Float32:
        self._called += 1
        if self._called == 2:
            try:
                self._died.touch(exist_ok=False)
            except FileExistsError:
                return self._attack.run(crops)
            os.kill(os.getpid(), signal.SIGKILL)
        return self._attack.run(crops)


@dataclass(frozen=True)
class Fatal:
    """The context of ``factory``, of which one worker dies."""

    factory: GeneratorContextFactory
    died: Path

    def __call__(self, config: ProtectConfig) -> WorkerContext:
        context = self.factory(config)
        return replace(context, attack=FatalAttack(context.attack, self.died))
