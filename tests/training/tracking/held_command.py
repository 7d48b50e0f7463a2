"""Runs a command with a model of numpy: held_command.py STEP NAME FLAGS...

It stands still at an update, until it is killed; -1 for none.
"""

import importlib
import sys
import time
from typing import Any

import pytest

from tests.fakes import FakeProgram, install_backend

if __name__ == "__main__":
    install_backend(pytest.MonkeyPatch())
    held, name = int(sys.argv.pop(1)), sys.argv.pop(1)
    train_step = FakeProgram.train_step

    def hold_at(self: FakeProgram, step: int, *args: Any) -> Any:
        while step == held:
            time.sleep(1)
        return train_step(self, step, *args)

    FakeProgram.train_step = hold_at  # type: ignore[method-assign]
    sys.exit(importlib.import_module(f"bert_ko.{name}").main())
