"""One run, from its configuration to its record."""

import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from visionsweep.analysis.calibration import calibrated
from visionsweep.analysis.predictions import Predictions
from visionsweep.config.schema import Config
from visionsweep.data.split_names import CROSS_FIT
from visionsweep.errors import UserError, let_go
from visionsweep.models.heads import HEADS_VERSION
from visionsweep.runs import claims, measures
from visionsweep.runs.facts import data_facts, model_facts, training_images
from visionsweep.runs.near_duplicates import NearDuplicates
from visionsweep.runs.paths import CHECKPOINT, RECORD
from visionsweep.runs.record import INTERVALS_VERSION, Failure, ModelFacts, Record, Status
from visionsweep.runs.record_file import write_record
from visionsweep.runs.scores import Epoch, summarize
from visionsweep.runtime import provenance, signals
from visionsweep.runtime.devices import device_facts, pick_device, release_memory
from visionsweep.runtime.micro_batching import explain_out_of_memory
from visionsweep.runtime.threads import one_thread
from visionsweep.storage.files import disk_errors_explained, remove_leftovers, write_atomically
from visionsweep.tensorboard.writer import RunWriter
from visionsweep.text.escaping import visible
from visionsweep.training import results
from visionsweep.training.feature_inputs import trains_on_features
from visionsweep.training.networks import refuse_recipe
from visionsweep.training.rates import keep_rates
from visionsweep.training.resolve import Resolved, check_near_duplicates, resolve
from visionsweep.training.resume import finished_run, resume_or_start
from visionsweep.training.reuse import Reused, reuse_completed
from visionsweep.training.train_state import TrainState
from visionsweep.training.trainer import RunContext, network_of, new_state, prepare, train

log = logging.getLogger(__name__)


def run_experiment(config: Config, run_dir: Path, name: str) -> Record:
    """Run one experiment and keep all of its results in its directory.

    A finished run is returned, an interrupted one is resumed, a failed one starts anew.

    Args:
        config: validated configuration.
        run_dir: directory of the run; created if missing.
        name: name of the run.

    Returns:
        The record, as written to `run_dir/result.json`, also before an error is raised.

    Raises:
        UserError: if settings, images, weights or memory do not allow the run.
    """
    with disk_errors_explained(run_dir):
        if finished := finished_run(config, run_dir):
            return finished
        with claims.held(run_dir, name):  # another process may have finished it meanwhile
            return finished_run(config, run_dir) or _run(config, run_dir, name)


def _run(config: Config, run_dir: Path, name: str) -> Record:
    (run_dir / RECORD).unlink(missing_ok=True)  # of a failed or interrupted attempt
    remove_leftovers(run_dir, age=0)  # of an attempt that was killed while it wrote
    start = time.perf_counter()
    run = _Run(config, run_dir, name)
    status: Status = "failed"
    failure: Failure | None = None
    try:
        with disk_errors_explained(run_dir), explain_out_of_memory():
            run.execute()
        status = "completed"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or signals.status() > 0:
            status = "interrupted"
        elif not isinstance(error, UserError):
            log.error("%s", "".join(traceback.format_exception(error)))
        failure = Failure(type(error).__name__, visible(error, lines=True))
        let_go(error)
        raise
    finally:
        release_memory()
        with signals.deferred():
            earlier = run.seconds.get("earlier", 0.0)
            run.seconds["total"] = earlier + time.perf_counter() - start
            record = run.record(status, failure)
            write_record(record, run_dir)
    return record


@dataclass
class _Run:
    """The steps of one run, and the results that they have returned so far."""

    config: Config
    run_dir: Path
    name: str
    started: datetime = field(default_factory=lambda: datetime.now().astimezone())
    git: dict[str, Any] | None = field(default_factory=provenance.git_state)
    seconds: dict[str, float] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    resolved: Resolved | None = None
    reused: Reused | None = None
    model: ModelFacts | None = None
    resumed_after: list[int] = field(default_factory=list)
    history: list[Epoch] = field(default_factory=list)
    images_at_once: int | None = None
    scores: measures.RunScores = field(default_factory=measures.RunScores)
    temperature: float | None = None
    near_duplicates: NearDuplicates | None = None

    def execute(self) -> None:
        """Resolve the configuration, make the inputs, train, predict, and write the results."""
        config, run_dir = self.config, self.run_dir
        device = pick_device(config.device)
        refuse_recipe(config, device)
        self.device = device_facts(device)
        with self._timed("data"):
            self.resolved = resolved = resolve(config)
        if config.model.weights is None:
            log.warning("model.weights=null: the backbone has random weights, as configured")
        if config.reuse:
            facts = data_facts(config, resolved.splits)
            self.reused = reuse_completed(config, run_dir, resolved.fingerprint, facts)
            if self.reused is not None:
                return
        if (limits := resolved.splits.gray_range) is not None:
            log.info("Gray images of more than 8 bits: black is %g, white is %g", *limits)

        with self._timed("model"):
            network = network_of(config, resolved)
            self.model = model = model_facts(config, network, resolved.preprocessing)
        summary = visible(network.summary.layer_table, lines=True)
        write_atomically(run_dir / "model.txt", summary.encode())
        counts = f"{model.trainable:,} trainable of {model.parameters:,} parameters"
        log.info("%s: %s weights, %s", model.label, resolved.backbone.weights, counts)
        with self._timed("features"):
            context = prepare(config, run_dir, resolved, network, model.dropout, device)
            self.near_duplicates = check_near_duplicates(config, resolved, run_dir)

        with signals.deferred():
            with self._timed("training"):
                state, predictions, temperature = self._train(context)
            self.temperature = temperature
            self.scores = measures.score_splits(predictions, temperature, resolved.splits.classes)
            results.write_predictions(run_dir, resolved.splits, predictions, temperature)
            results.write_weights(run_dir / model.checkpoint, state, temperature, resolved)
            (run_dir / CHECKPOINT).unlink(missing_ok=True)
        keep_rates(context, self.history[sum(self.resumed_after[-1:]) :], self.seconds)
        names = {"val": "validation", "test": "test", CROSS_FIT: "cross-fitted"}
        for split, of_split in self.scores.deployed.items():
            final = of_split["loss"].value, 100 * of_split["accuracy"].value
            log.info("%s loss %.4f, accuracy %.1f%%", names[split], *final)

    def _train(self, context: RunContext) -> tuple[TrainState, dict[str, Predictions], float]:
        """Train from the checkpoint or from the seeds; return state, predictions, temperature."""
        config, resolved = self.config, context.resolved
        splits, weights = resolved.splits, resolved.backbone.weights
        state, progress = resume_or_start(
            config, self.run_dir, resolved.fingerprint, lambda: new_state(context)
        )
        self.history, self.resumed_after = [*progress.history], progress.resumed_after
        self.images_at_once = progress.images_at_once
        if self.history:
            self.seconds["earlier"] = sum(epoch.seconds for epoch in self.history)

        def on_epoch(epoch: Epoch) -> None:
            self.history.append(epoch)
            self.images_at_once = state.micro_batch.limit

        facts = {"name": self.name, "dataset": splits.dataset, "weights": weights}
        facts |= {f"{split} images": str(count) for split, count in splits.counts.items()}
        facts["evidence"] = config.evidence.name
        has_curves = config.epochs > 1 and config.training.linear_probe != "only"
        with (
            RunWriter(self.run_dir, len(self.history), has_curves=has_curves) as events,
            one_thread(when=trains_on_features(config)),
        ):
            if not self.history:
                settings = OmegaConf.to_yaml(OmegaConf.create(asdict(config)))
                events.begin(facts, settings)
            train(context, state, progress, events, on_epoch)
            predictions, temperature = results.predict_splits(context, state)
            place = summarize(self.history, config.training.patience).final.epoch - 1
            if not self.history[place].test.known:
                test = measures.replicate_scores(predictions["test"])
                self.history[place] = self.history[place].with_test(test)
                events.test_scores(self.history[place])
            if (limit := state.micro_batch.limit) is not None:
                self.images_at_once = limit
                events.facts(facts | {"images at once": str(limit)})
            if predictions["val"].finite.all():
                probabilities = calibrated(predictions["val"].logits, temperature)
                events.pr_curves(predictions["val"].labels, probabilities, splits.classes)
            of = measures.scores_by_replicates
            events.end(config, facts, {s: of(p, temperature) for s, p in predictions.items()})
            results.write_for_sweep(context, self.model)
        return state, predictions, temperature

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = time.perf_counter() - start

    def record(self, status: Status, failure: Failure | None) -> Record:
        """Assemble the record from the results of the steps so far."""
        patience = self.config.training.patience
        record = Record(
            status=status,
            name=self.name,
            config=asdict(self.config),
            seconds=self.seconds,
            started=self.started.isoformat(timespec="seconds"),
            device=self.device,
            versions=provenance.versions(),
            git=self.git,
            command=sys.argv,
            failure=failure,
            model=self.model,
            history=self.history,
            metrics=summarize(self.history, patience) if self.scores.evaluation else None,
            **vars(self.scores),
            heads_version=HEADS_VERSION,
            intervals_version=INTERVALS_VERSION,
            temperature=self.temperature,
            continued_after=self.resumed_after,
            images_at_once=self.images_at_once,
            near_duplicates=self.near_duplicates,
        )
        if (resolved := self.resolved) is not None:
            record.dataset, record.weights = resolved.splits.dataset, resolved.backbone.weights
            record.data = data_facts(self.config, resolved.splits)
            record.training_images = training_images(resolved.splits)
            record.fingerprint = resolved.fingerprint
        return record if self.reused is None else self.reused.applied_to(record)
