"""Down one level: the steps of Adam, the best field on the way, and when to stop."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import torch
from torch import Tensor

from nevf_lite.config import Config, Level
from nevf_lite.fields import VelocityField
from nevf_lite.kernels.capture import captured


class NonFiniteLoss(FloatingPointError):
    """The loss became infinite or not a number; the message says what to change."""


class Adam:
    """Adam with the usual constants (Kingma and Ba 2015), the numbers of `torch.optim.Adam`.

    That one imports torch's compiler when it is first used, which takes longer than all iterations
    of the coarsest level. Here what changes from step to step are tensors: a CUDA graph repeats
    everything else as it was recorded.
    """

    MEAN, SQUARE, EPS = 0.9, 0.999, 1e-8

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        self.means = [torch.zeros_like(p) for p in parameters]
        self.squares = [torch.zeros_like(p) for p in parameters]
        self.count = 0
        self.rate, self.root = (parameters[0].new_zeros(()) for _ in range(2))

    def begin(self, rate: float) -> None:
        """Before each step: its learning rate. This is not to be recorded."""
        self.count += 1
        self.rate.fill_(-rate / (1 - self.MEAN**self.count))
        self.root.fill_(math.sqrt(1 - self.SQUARE**self.count))

    @torch.no_grad()
    def move(self) -> None:
        """Move the parameters along their gradients."""
        for p, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            mean.lerp_(p.grad, 1 - self.MEAN)
            square.mul_(self.SQUARE).addcmul_(p.grad, p.grad, value=1 - self.SQUARE)
            p.addcdiv_(mean * self.rate, (square.sqrt() / self.root).add_(self.EPS))


class Descent:
    """Adam on one level of one pair, a step at a time.

    field: what is fitted; its parameters that ask for gradients learn. evaluate: the field's loss,
    dissimilarity and folded fraction, scalars on its device. `launch` asks for a step and `read`
    gives its record, so that on a card several pairs work at the same time: each has a stream of
    its own there, and its step is recorded as a CUDA graph, in which nothing waits for the CPU.
    `close`, which must not be left out, leaves the field at its best loss.
    """

    def __init__(
        self,
        field: VelocityField,
        evaluate: Callable[[VelocityField], tuple[Tensor, Tensor, Tensor]],
        level: Level,
        config: Config,
    ) -> None:
        self.field, self.evaluate, self.level, self.config = field, evaluate, level, config
        self.learning = [p for p in field.parameters() if p.requires_grad]
        first = self.learning[0]
        self.iteration = 0
        self.mark, self.mark_at = math.inf, 0  # the loss that patience counts from
        self.best = first.new_full((), math.inf)
        self.kept = [p.detach().clone() for p in self.learning]
        card = first.device.type == "cuda"
        self.stream = torch.cuda.Stream(first.device) if card else None
        if card:
            self.stream.wait_stream(torch.cuda.current_stream(first.device))
        with self._aside():
            self.adam = Adam(self.learning)
        self.step = captured(self._step, device=first.device)

    @property
    def done(self) -> bool:
        """All iterations are spent, or patience is."""
        return (
            self.iteration >= self.level.iterations
            or self.iteration - 1 - self.mark_at >= self.config.patience
        )

    def launch(self) -> None:
        """Ask for the next step; on a card this does not wait for it."""
        progress = self.iteration / max(self.level.iterations, 1)
        rate = self.level.lr * learning_rate_factor(progress, self.config.decay)
        with self._aside():
            self.adam.begin(rate)
            self.numbers = self.step()

    def read(self) -> dict:
        """Wait for the step: its iteration, loss, similarity (1 - dissimilarity) and folds.

        Raises NonFiniteLoss where the optimisation has diverged.
        """
        with self._aside():
            value, dissimilarity, folds = self.numbers.tolist()
        if not math.isfinite(value):
            raise NonFiniteLoss(_advice(value, self.iteration, self.level))
        if value < self.mark - self.config.tolerance:
            self.mark, self.mark_at = value, self.iteration
        self.iteration += 1
        return {
            "iteration": self.iteration - 1,
            "loss": value,
            "similarity": 1 - dissimilarity,
            "folds": folds,
        }

    def close(self) -> None:
        """Put the field where its loss was lowest."""
        with self._aside(), torch.no_grad():
            for parameter, kept in zip(self.learning, self.kept, strict=True):
                parameter.copy_(kept)
        if self.stream is not None:
            torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)

    def _step(self) -> Tensor:
        """One step; returns loss, dissimilarity and folds. No number is read, no branch taken."""
        for parameter in self.learning:
            parameter.grad = None
        loss, dissimilarity, folds = self.evaluate(self.field)
        loss.backward()
        with torch.no_grad():
            better = loss < self.best
            self.best.copy_(torch.where(better, loss, self.best))
            for parameter, kept in zip(self.learning, self.kept, strict=True):
                kept.copy_(torch.where(better, parameter, kept))
        self.adam.move()
        return torch.stack([loss.detach(), dissimilarity.detach(), folds.to(loss)])

    def _aside(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext() if self.stream is None else torch.cuda.stream(self.stream)


def _advice(value: float, iteration: int, level: Level) -> str:
    if iteration == 0:
        return (
            f"the loss is {value} from the start: the images hold NaN, infinite or huge values; "
            "scale their intensities to [0, 1]"
        )
    return (
        f"the loss became {value} at iteration {iteration}: the learning rate {level.lr:g} is too "
        "high for these images; try a third of it"
    )


def learning_rate_factor(progress: float, decay: float) -> float:
    """Cosine from 1 at progress 0 down to `decay` at progress 1; decay = 1 is a constant rate."""
    return decay + (1 - decay) * 0.5 * (1 + math.cos(math.pi * progress))
