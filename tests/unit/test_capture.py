"""A step recorded as a CUDA graph is called as often as it is asked for, no more and no less."""

from __future__ import annotations

import contextlib

import pytest
import torch
from interpreted import DEVICE

from nevf_lite.kernels.capture import captured


class Card:
    """What torch.cuda does with work, in Python: does it, or records it and does it later."""

    def __init__(self) -> None:
        self.recording: list | None = None

    def do(self, work) -> None:
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    @contextlib.contextmanager
    def graph(self, graph):
        self.recording = []
        try:
            yield
            graph.work = self.recording
        finally:
            self.recording = None


class Graph:
    def replay(self) -> None:
        for work in self.work:
            work()


class Stream:
    def wait_stream(self, other) -> None:
        pass


@pytest.fixture
def card(monkeypatch) -> Card:
    """torch.cuda without a card, as far as a capture needs it."""
    card = Card()
    fakes = {
        "CUDAGraph": Graph,
        "graph": card.graph,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return card


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_each_call_is_one_step(card, warmup):
    """Calls before, at and after the recording: to record is not yet to do, and is done once."""
    total, asked = torch.zeros(()), []

    def step():
        asked.append(1)
        card.do(lambda: total.add_(1))
        return total

    once = captured(step, device=torch.device("cuda"), warmup=warmup)
    for number in range(1, 7):
        assert once().item() == number
    assert len(asked) == warmup + 1  # after that Python asks for nothing


def test_what_cannot_be_recorded_is_done_step_by_step(card):
    """A step that waits for the card: a warning once, half a step is never replayed."""
    total = torch.zeros(())

    def step():
        card.do(lambda: total.add_(1))
        if card.recording is not None:
            raise RuntimeError("operation not permitted when stream is capturing")
        return total

    once = captured(step, device=torch.device("cuda"), warmup=1)
    assert once().item() == 1
    with pytest.warns(UserWarning, match="no CUDA graph .*not permitted"):
        assert once().item() == 2
    assert [once().item() for _ in range(3)] == [3, 4, 5]


def test_without_cuda_it_is_the_step_itself():
    """Nothing between the loop and its step where there is nothing to gain."""

    def step() -> int:
        return 7

    assert captured(step, device=torch.device("cpu")) is step


@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a CUDA device")
def test_a_captured_fit_is_the_eager_fit():
    """Twenty steps of Adam on a tiny network, eager and captured: the same losses."""

    def losses(capture: bool) -> list[float]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
        net = net.to(DEVICE)
        x = torch.randn(50, 3, device=DEVICE)
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-2, capturable=True)

        def step() -> torch.Tensor:
            optimiser.zero_grad(set_to_none=True)
            loss = (net(x) - x.prod(1, keepdim=True)).square().mean()
            loss.backward()
            optimiser.step()
            return loss.detach()

        once = captured(step, device=DEVICE) if capture else step
        return [once().item() for _ in range(20)]

    torch.testing.assert_close(losses(True), losses(False), rtol=1e-5, atol=1e-7)
