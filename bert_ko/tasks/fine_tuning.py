"""What every task does with a pre-trained model: weights, training, evaluation, the best kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bert_ko import files
from bert_ko.flags import flag
from bert_ko.modeling.parameters import Specs, count_parameters
from bert_ko.tokenization.settings import TokenizerFlags
from bert_ko.training.backend import (
    Backend,
    HostBatch,
    LossFunction,
    OutputFunction,
    TrainProgram,
)
from bert_ko.training.checkpoints import (
    Checkpoint,
    remove_unfinished,
    save_checkpoint,
)
from bert_ko.training.devices import load_backend
from bert_ko.training.runs import (
    Run,
    begin,
    check_batch_size,
    find_checkpoint,
    new_parameters,
    refuse_other_task,
)
from bert_ko.training.schedule import OptimizerConfig
from bert_ko.training.settings import DeviceFlags, LoopFlags, OptimizerFlags

if TYPE_CHECKING:
    from bert_ko.training.loop import BatchSource
    from bert_ko.training.objective import Metrics, Objective

Predict = Callable[[HostBatch], HostBatch]


@dataclass(frozen=True)
class FineTuningFlags(TokenizerFlags, OptimizerFlags, DeviceFlags, LoopFlags):
    """Flags of every command that fine-tunes."""

    bert_config_file: str = flag(help="bert_config.json of the model.", affects_output=False)
    output_dir: str = flag(
        help="Local folder for checkpoints, metrics, answers and the report; a run that is found "
        "there goes on.",
        affects_output=False,
    )
    init_checkpoint: str | None = flag(
        None,
        help="Weights to begin with: a folder of run_pretraining, the prefix of a TF1 checkpoint "
        "(bert_model.ckpt), or a Hugging Face folder with safetensors.",
    )
    do_train: bool = flag(False, help="Train.", affects_output=False)
    train_batch_size: int = flag(32, help="Examples of an update, over all devices.", at_least=1)
    num_train_epochs: float = flag(3.0, help="Passes over the training data.", above=0, below=1e6)
    warmup_proportion: float = flag(
        0.1,
        help="Share of the updates with a rising learning rate, in [0, 1].",
        at_least=0,
        at_most=1,
    )
    layer_decay: float = flag(
        1.0,
        help="A layer's learning rate as a share of that of the layer above it, in (0, 1].",
        above=0,
        at_most=1,
    )
    gradient_accumulation_steps: int = flag(
        1,
        help="Compute a batch in so many parts, to save memory; the update is that of the whole.",
        at_least=1,
    )
    length_buckets: bool = flag(
        True,
        help="Batches of about equally long examples, padded to one of 8 lengths; else all are "
        "padded to --max_seq_length.",
    )
    eval_every_steps: int | None = flag(
        None,
        help="Evaluate after every so many updates, and at the end; the best weights are kept and "
        "used.",
        above=0,
    )
    num_seeds: int = flag(
        1,
        help="Train so often, with seeds from --random_seed on, into seed-N folders; the mean and "
        "the deviation are reported.",
        affects_output=False,
        at_least=1,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        if self.train_batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"--train_batch_size={self.train_batch_size} must be a multiple of "
                f"--gradient_accumulation_steps={self.gradient_accumulation_steps}."
            )
        if self.random_seed + self.num_seeds > 1 << 31:
            raise ValueError("--random_seed and --num_seeds: the last seed must be below 2**31.")
        if files.is_remote(self.output_dir):
            raise ValueError(
                f"--output_dir must be a local folder, got {self.output_dir}; copy it afterwards."
            )

    @property
    def seeds(self) -> range:
        """Of the runs."""
        return range(self.random_seed, self.random_seed + self.num_seeds)

    def folder(self, seed: int) -> str:
        """Where a run stands."""
        if self.num_seeds == 1:
            return self.output_dir
        return os.path.join(self.output_dir, f"seed-{seed}")


class Head(NamedTuple):
    """What a task computes, known once a backend was chosen.

    Attributes:
        loss: to train on.
        outputs: to predict with.
        objective: for the training loop.
    """

    loss: LossFunction
    outputs: OutputFunction
    objective: Objective


class Task(NamedTuple):
    """What a task brings along.

    Attributes:
        specs: the model's variables.
        load_head: imports the head.
        source: (seed, position) to batches for training.
        steps_per_epoch: batches of a pass; 0 where nothing is trained.
        evaluate: computes metrics with a function that predicts; None where nothing is known.
        main_metric: the larger it is, the better.
        labels: of the head; None where it has none.
        rate_multiples: see ``OptimizerConfig.multiples``.
    """

    specs: Specs
    load_head: Callable[[], Head]
    source: Callable[[int, dict[str, Any] | None], BatchSource[Any]] | None
    steps_per_epoch: int
    evaluate: Callable[[Predict], Metrics] | None
    main_metric: str
    labels: tuple[str, ...] | None = None
    rate_multiples: tuple[tuple[str, float], ...] = ()


class FineTuner:
    """Trains a task's model and predicts with it, once for each seed, on the same devices.

    Attributes:
        steps_trained: updates of the last run; 0 where nothing was trained.
    """

    def __init__(self, config: FineTuningFlags, task: Task, batch_sizes: Mapping[str, int]):
        """Finds the devices.

        Args:
            config: flags.
            task: to be trained.
            batch_sizes: of prediction, by flag; they must divide by the devices.
        """
        self._config, self._task = config, task
        self._backend: Backend = load_backend(config.device_config)
        self._head = task.load_head()
        self._program: TrainProgram | None = None
        self._predict: Predict | None = None
        self.steps_trained = 0
        parts = config.gradient_accumulation_steps
        if config.do_train:
            check_batch_size("train_batch_size", config.train_batch_size, self._backend, parts)
        for name, size in batch_sizes.items():
            check_batch_size(name, size, self._backend)
        print(
            f"{self._backend.description}, {self._backend.precision}; "
            f"{count_parameters(task.specs) / 1e6:.1f} million parameters",
            flush=True,
        )

    @property
    def num_train_steps(self) -> int:
        """Updates of a run."""
        return max(1, int(self._task.steps_per_epoch * self._config.num_train_epochs))

    def run(self, run: Run, seed: int) -> int:
        """Trains a run, or goes on with it, or loads its weights.

        Args:
            run: with its folder.
            seed: of random weights, dropout and the order of the data.

        Returns:
            Updates that the weights have seen, with which ``predict`` works from now on.
        """
        remove_unfinished(run.folder)
        if not self._config.do_train:
            found = find_checkpoint(run, False, "best") or find_checkpoint(run, False)
            if found is not None:
                refuse_other_task(run, self._task.specs, found)
            arrays = found.parameters if found else self._new_parameters(run, seed)
            self._place(run, arrays, seed)
            return found.state["step"] if found else 0
        checkpoint = find_checkpoint(run, is_training=True)
        arrays = checkpoint.parameters if checkpoint else self._new_parameters(run, seed)
        program = self._place(run, dict(arrays), seed)
        if checkpoint is not None:
            program.restore(checkpoint.parameters, checkpoint.slots)
        step = self._train(run, seed, checkpoint)
        evaluates = self._config.eval_every_steps is not None
        best = find_checkpoint(run, True, "best") if evaluates else None
        if best is not None:
            program.restore(best.parameters, program.slots())
            step = best.state["step"]
        return step

    def predict(self, batch: HostBatch) -> HostBatch:
        """The outputs of a batch."""
        assert self._predict is not None
        return self._predict(batch)

    def _new_parameters(self, run: Run, seed: int) -> Any:
        config, task = self._config, self._task
        return new_parameters(
            run, task.specs, config.init_checkpoint, seed, config.do_train, task.labels
        )

    def _place(self, run: Run, arrays: Any, seed: int) -> TrainProgram:
        """Moves weights onto the devices; what was compiled for the first seed stays."""
        if self._program is not None:
            self._program.restart(arrays, seed)
            return self._program
        self._program = self._backend.train_program(
            run.model_config,
            self._head.loss,
            self._optimizer(run) if self._config.do_train else None,
            arrays,
            seed,
        )
        self._predict = self._program.predictor(self._head.outputs)
        return self._program

    def _optimizer(self, run: Run) -> OptimizerConfig:
        warmup = int(self.num_train_steps * self._config.warmup_proportion)
        config = self._config.optimizer_config(
            self.num_train_steps,
            warmup,
            self._config.layer_decay,
            run.model_config.num_hidden_layers,
        )
        return replace(config, multiples=self._task.rate_multiples)

    def _train(self, run: Run, seed: int, checkpoint: Checkpoint | None) -> int:
        from bert_ko.training.loop import TrainingLoop

        assert self._program is not None and self._task.source is not None
        computed_with = f"{self._backend.description}, {self._backend.precision}"
        progression = begin(run, checkpoint, computed_with)
        evaluates = self._config.eval_every_steps is not None
        keeper = _BestKeeper(run, self._task.main_metric, self._evaluate, self._program)
        loop: TrainingLoop[Any] = TrainingLoop(
            self._program,
            self._head.objective,
            self._optimizer(run),
            run.model_config,
            self._config.loop_config(
                run.folder,
                self.num_train_steps,
                gradient_accumulation_steps=self._config.gradient_accumulation_steps,
                eval_steps=self._config.eval_every_steps,
                eval_at_end=True,
                warmup_flag="--warmup_proportion",
                state={**run.state, "computed_with": computed_with},
            ),
            keeper.evaluate if evaluates else None,
        )
        ended = loop.run(self._task.source(seed, progression.position), progression)
        self.steps_trained = ended.step
        return ended.step

    def _evaluate(self) -> Metrics:
        assert self._task.evaluate is not None
        return self._task.evaluate(self.predict)


class _BestKeeper:
    """Evaluates, and writes the weights down where they are the best so far."""

    def __init__(
        self, run: Run, metric: str, evaluate: Callable[[], Metrics], program: TrainProgram
    ):
        self._run, self._metric = run, metric
        self._compute, self._program = evaluate, program
        best = find_checkpoint(run, True, "best")
        self._best = best.state["metrics"][metric] if best else None

    def evaluate(self, step: int) -> Metrics:
        metrics = self._compute()
        score = metrics[self._metric]
        if self._best is None or score > self._best:
            self._best = score
            state = {**self._run.state, "step": step, "metrics": metrics}
            checkpoint = Checkpoint(self._program.parameters(), {}, state)
            save_checkpoint(
                self._run.folder, step, checkpoint, self._run.model_config, keep=1, kind="best"
            )
        return metrics
