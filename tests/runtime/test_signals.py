"""A first signal ends what runs at a safe point, a second ends the process at once."""

import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from visionsweep.command_memory import fresh_memory
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runtime import signals
from visionsweep.runtime.signals import Interrupted
from visionsweep.tensorboard.writer import RunWriter
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches


@pytest.fixture(autouse=True)
def _installed():
    with signals.installed():
        yield


def test_signal_raises_at_once_unless_deferred():
    with pytest.raises(Interrupted) as ended:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert isinstance(ended.value, KeyboardInterrupt)
    assert signals.status() == 130


def test_an_interruption_can_be_sent_to_another_process():
    sent = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM)))
    assert (sent.status, str(sent)) == (143, "SIGTERM")


def test_interruption_of_a_run_does_not_affect_the_next_in_the_process():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for _ in range(2):
        with pytest.raises(Interrupted), signals.installed(), signals.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            signals.check()
        assert signals.status() == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigterm_is_distinguished_from_ctrl_c():
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signals.status() == 143


def test_deferred_signal_raises_only_at_the_next_check():
    reached = []
    with pytest.raises(Interrupted), signals.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        reached.append("after the signal")
        signals.check()
        reached.append("after the check")
    assert reached == ["after the signal"]


def test_deferred_block_runs_to_its_end():
    with signals.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
    assert signals.status() == 130
    with pytest.raises(Interrupted):
        signals.check()


def test_without_a_signal_status_is_zero():
    signals.check()
    assert signals.status() == 0


def test_second_signal_exits_at_once():
    script = (
        "import time\nfrom visionsweep.runtime import signals\n"
        "with signals.installed(), signals.deferred():\n    print('ready', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # the first is deferred
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Left at once" in error and "Traceback" not in error


def test_training_that_writes_events_ends_at_every_moment_of_a_signal(tmp_path):
    """`KeyboardInterrupt` in the middle of the writer's queue would leave it waiting for ever."""
    inputs, labels = torch.randn(8, 4), torch.arange(8) % 2
    batches = TensorBatches(inputs, labels, 4)
    for attempt in range(40):
        heads = Heads(4, 2, 0.0, replicate_seeds(0, 1))
        training = TensorBatches(inputs, labels, 4, [torch.Generator().manual_seed(0)])
        optimizer = torch.optim.SGD(heads.parameters(), lr=0.01)
        epochs = []
        delay = random.Random(attempt).uniform(0.0, 0.05)
        later = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        with (
            fresh_memory(),
            pytest.raises(Interrupted),
            signals.deferred(),
            RunWriter(tmp_path / str(attempt)) as writer,
        ):

            def on_epoch(epoch, writer=writer, epochs=epochs, later=later):
                if not epochs:
                    later.start()
                epochs.append(epoch)
                writer.epoch(epoch)

            split = SplitBatches(training, batches, batches)
            loop.fit(heads, split, optimizer, 10**9, torch.device("cpu"), on_epoch)
        assert [epoch.epoch for epoch in epochs] == list(range(1, len(epochs) + 1))
