"""What comes before a run: the flags of its hosts, the files of its model, its folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from bert_ko import files
from bert_ko.copies import local_path
from bert_ko.flags import secret_flags
from bert_ko.training.checkpoints import find_weights
from bert_ko.training.hosts import ALONE, Hosts
from bert_ko.training.model_files import ModelFiles, open_model_files, remembered_flags
from bert_ko.training.settings import TrainFlags

_LOCK_NAME = ".lock"

Flags = TypeVar("Flags", bound=TrainFlags)


def of_host(config: Flags, hosts: Hosts) -> Flags:
    """The command line of one of several hosts; the first alone tells others of the run.

    Raises:
        ValueError: the hosts have different ones, or train nothing.
    """
    if hosts.count == 1:
        return config
    if not config.do_train:
        raise ValueError(
            "several hosts train a model, and one predicts with it; give --do_train, or leave out "
            "--coordinator_address."
        )
    flags = dataclasses.asdict(config)
    own = {"process_id", "report_to", *secret_flags(type(config))}
    hosts.require_same({f"--{name}": value for name, value in flags.items() if name not in own})
    if hosts.is_first:
        return config
    return dataclasses.replace(config, notify_url=None, report_to=())


@contextmanager
def opened(config: TrainFlags, hosts: Hosts = ALONE) -> Iterator[ModelFiles]:
    """Opens the files of a command's model, and locks --output_dir, for all hosts."""
    model = open_model_files(config)
    if not hosts.is_first:
        yield model
        return
    folder, is_new = config.local_dir, not os.path.exists(config.local_dir)
    files.require_writable_folder(folder)
    try:
        with files.lock(os.path.join(folder, _LOCK_NAME)):
            yield model
    finally:
        if is_new and os.listdir(folder) == [_LOCK_NAME]:  # a mistake leaves no folder behind
            os.remove(os.path.join(folder, _LOCK_NAME))
            os.rmdir(folder)


def refuse_no_weights(config: TrainFlags) -> None:
    """Before anything is read or written in vain."""
    if config.do_train or config.init_checkpoint:
        return
    for folder in map(config.folder, config.seeds):
        if find_weights(folder) is None:
            raise ValueError(
                f"no checkpoint in {folder}; give --do_train, or --init_checkpoint with a trained "
                "model."
            )


def refuse_other_weights(folder: str, init_checkpoint: str | None) -> None:
    """A run that has weights predicts with them, never with others that a flag names."""
    own = find_weights(folder)
    if own is None or init_checkpoint is None:
        return
    begun = remembered_flags(own).get("init_checkpoint")
    same = {os.path.realpath(local_path(path)) for path in (folder, own, begun) if path}
    if os.path.realpath(local_path(init_checkpoint)) not in same:
        raise ValueError(
            f"--init_checkpoint={init_checkpoint}, but {folder} has weights of its own ({own}) "
            "to predict with; leave the flag out, or choose another --output_dir."
        )
