"""What tasks on shards have in common: flags decide what is evaluated."""

from __future__ import annotations

from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.training.task import Task


class ShardTask(Task):
    """A model trained on shards of create_pretraining_data; held-out ones are evaluated."""

    _config: PretrainingFlags

    @property
    def batch_sizes(self) -> list[str]:
        """See Task."""
        return ["eval_batch_size"] if self._config.evaluates else []

    @property
    def is_asked(self) -> bool:
        """See Task."""
        return self._config.do_eval
