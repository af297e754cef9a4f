"""Adam on one level: the steps, the best field so far, and when to stop."""

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
    """The loss became infinite or NaN; the message says what to change."""


class Adam:
    """Adam with the usual constants (Kingma and Ba 2015); the same numbers as `torch.optim.Adam`.

    torch's own imports a compiler at its first use, which takes longer than all iterations of the
    coarsest level. Here everything that changes from step to step is a tensor, so that a step can
    be recorded as a CUDA graph. parameters: tensors with gradients.
    """

    BETA1, BETA2, EPS = 0.9, 0.999, 1e-8

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        self.first_moments = [torch.zeros_like(p) for p in parameters]
        self.second_moments = [torch.zeros_like(p) for p in parameters]
        self.count = 0
        self.negative_step_size, self.second_correction = (
            parameters[0].new_zeros(()) for _ in range(2)
        )

    def begin_step(self, lr: float) -> None:
        """Set the learning rate and the bias corrections of the next step.

        Call it before each `step` and outside a CUDA graph, because it uses Python numbers.
        """
        self.count += 1
        self.negative_step_size.fill_(-lr / (1 - self.BETA1**self.count))
        self.second_correction.fill_(math.sqrt(1 - self.BETA2**self.count))

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters from their gradients."""
        moments = zip(self.parameters, self.first_moments, self.second_moments, strict=True)
        for p, mean, square in moments:
            mean.lerp_(p.grad, 1 - self.BETA1)
            square.mul_(self.BETA2).addcmul_(p.grad, p.grad, value=1 - self.BETA2)
            p.addcdiv_(
                mean * self.negative_step_size,
                (square.sqrt() / self.second_correction).add_(self.EPS),
            )


class Descent:
    """Adam on one level of one pair, a step at a time.

    field: the velocity field to fit; its parameters that require gradients are updated. evaluate:
    returns the field's loss, dissimilarity and folded fraction, scalars on its device. `launch`
    starts a step and `read` returns its record, so that several pairs can share a GPU: each has a
    CUDA stream of its own, and its step is recorded as a CUDA graph, in which nothing waits for the
    CPU. `close` must be called at the end; it leaves the field at its best loss. noisy: each step's
    loss is of other voxels, so losses cannot be compared: all iterations run, the last field is the
    result, and no step is a repetition of another, as a CUDA graph would make it.
    """

    def __init__(
        self,
        field: VelocityField,
        evaluate: Callable[[VelocityField], tuple[Tensor, Tensor, Tensor]],
        level: Level,
        config: Config,
        noisy: bool = False,
    ) -> None:
        self.field, self.evaluate, self.level, self.config = field, evaluate, level, config
        self.noisy = noisy
        self.parameters = [p for p in field.parameters() if p.requires_grad]
        first = self.parameters[0]
        self.iteration = 0
        # patience counts the iterations since the loss last fell by more than the tolerance
        self.reference_loss, self.reference_iteration = math.inf, 0
        self.best_loss = first.new_full((), math.inf)
        self.best_parameters = [p.detach().clone() for p in self.parameters]
        on_cuda = first.device.type == "cuda"
        self.stream = torch.cuda.Stream(first.device) if on_cuda else None
        if on_cuda:
            self.stream.wait_stream(torch.cuda.current_stream(first.device))
        with self._on_stream():
            self.adam = Adam(self.parameters)
        self.run_step = self._step if noisy else captured(self._step, device=first.device)

    @property
    def done(self) -> bool:
        """Has the level used up its iterations or its patience?"""
        waited = 0 if self.noisy else self.iteration - 1 - self.reference_iteration
        return self.iteration >= self.level.iterations or waited >= self.config.patience

    def launch(self) -> None:
        """Start the next step. On a GPU this does not wait for it."""
        progress = self.iteration / max(self.level.iterations, 1)
        lr = self.level.lr * learning_rate_factor(progress, self.config.decay)
        with self._on_stream():
            self.adam.begin_step(lr)
            self.scalars = self.run_step()

    def read(self) -> dict:
        """Wait for the step and return its record.

        The record has iteration, loss, similarity (1 - dissimilarity) and folds. Raises
        NonFiniteLoss if the optimisation has diverged.
        """
        with self._on_stream():
            loss, dissimilarity, folds = self.scalars.tolist()
        if not math.isfinite(loss):
            raise NonFiniteLoss(_advice(loss, self.iteration, self.level))
        if loss < self.reference_loss - self.config.tolerance:
            self.reference_loss, self.reference_iteration = loss, self.iteration
        self.iteration += 1
        return {
            "iteration": self.iteration - 1,
            "loss": loss,
            "similarity": 1 - dissimilarity,
            "folds": folds,
        }

    def close(self) -> None:
        """Set the field to the parameters with the lowest loss, unless losses are noisy."""
        with self._on_stream(), torch.no_grad():
            if not self.noisy:
                for parameter, best in zip(self.parameters, self.best_parameters, strict=True):
                    parameter.copy_(best)
        if self.stream is not None:
            torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)

    def _step(self) -> Tensor:
        """One step. Returns loss, dissimilarity and folded fraction, as one tensor (3,).

        It reads no number from the device and branches on none, as a CUDA graph requires.
        """
        for parameter in self.parameters:
            parameter.grad = None
        loss, dissimilarity, folds = self.evaluate(self.field)
        loss.backward()
        with torch.no_grad():
            improved = loss < self.best_loss
            self.best_loss.copy_(torch.where(improved, loss, self.best_loss))
            for parameter, best in zip(self.parameters, self.best_parameters, strict=True):
                best.copy_(torch.where(improved, parameter, best))
        self.adam.step()
        return torch.stack([loss.detach(), dissimilarity.detach(), folds.to(loss)])

    def _on_stream(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext() if self.stream is None else torch.cuda.stream(self.stream)


def _advice(loss: float, iteration: int, level: Level) -> str:
    if iteration == 0:
        return (
            f"the loss is {loss} from the start: the images hold NaN, infinite or huge values; "
            "scale their intensities to [0, 1]"
        )
    return (
        f"the loss became {loss} at iteration {iteration}: the learning rate {level.lr:g} is too "
        "high for these images; try a third of it"
    )


def learning_rate_factor(progress: float, decay: float) -> float:
    """A cosine from 1 at progress 0 to `decay` at progress 1; with decay 1 the rate is constant."""
    return decay + (1 - decay) * 0.5 * (1 + math.cos(math.pi * progress))
