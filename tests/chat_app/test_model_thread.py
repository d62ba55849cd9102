"""One thread, jobs in order, and word to whoever could end early."""

import signal
import time
from threading import Event, current_thread, get_ident

import pytest

from chat_app.model_thread import ModelThread


@pytest.fixture
def model():
    thread = ModelThread()
    yield thread
    thread.close()


def test_jobs_run_in_order_on_one_thread(model):
    seen = []
    for number in range(50):
        model.submit(lambda n=number: seen.append((n, current_thread().name)), urgent=False)
    model.drain()
    assert seen == [(number, "model") for number in range(50)]


def test_a_job_that_fails_does_not_end_the_thread(model, caplog):
    model.submit(lambda: 1 / 0, urgent=False)
    done = Event()
    model.submit(done.set, urgent=False)
    assert done.wait(5)
    assert "ZeroDivisionError" in caplog.text


def test_only_an_urgent_job_hurries_the_one_before(model):
    begun, hold = Event(), Event()
    model.submit(lambda: begun.set() or hold.wait(5), urgent=True)
    assert begun.wait(5)
    model.submit(lambda: None, urgent=False)
    assert not model.hurry.is_set()
    model.submit(lambda: None, urgent=True)
    assert model.hurry.is_set()
    hold.set()
    model.drain()
    assert not model.hurry.is_set()


def test_close_finishes_what_was_submitted_and_then_refuses():
    model = ModelThread()
    seen = []
    for number in range(10):
        model.submit(lambda n=number: seen.append(n), urgent=False)
    model.close()
    assert seen == list(range(10))
    with pytest.raises(RuntimeError, match="closed"):
        model.submit(lambda: None, urgent=False)


def test_ctrl_c_that_another_thread_caught_ends_the_wait(model):
    waiting, release = Event(), Event()

    def press():
        waiting.wait(5)
        time.sleep(0.3)  # the main thread is in drain by now
        signal.pthread_kill(get_ident(), signal.SIGINT)
        release.wait(20)

    model.submit(press, urgent=True)
    began = time.monotonic()
    waiting.set()
    try:
        with pytest.raises(KeyboardInterrupt):
            model.drain()
    finally:
        release.set()
    assert time.monotonic() - began < 10
