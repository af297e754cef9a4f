"""The Triton kernels against plain torch, values and gradients, in 2-D and 3-D.

Without a card Triton's interpreter runs them, block by block in NumPy: slow, hence the tiny images.
They still fill more than one block and leave a tail. A last test compiles them, since the
interpreter lets pass what the compiler does not.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from interpreted import DEVICE, gpu
from torch import Tensor

from nevf_lite import kernels
from nevf_lite.integrate import jacobian_determinant, scaling_and_squaring
from nevf_lite.kernels import backend
from nevf_lite.losses import LocalNCC, jacobian_penalty, smoothness
from nevf_lite.warp import warp

SHAPES = {2: (9, 17), 3: (6, 7, 8)}
both = pytest.mark.parametrize("shape", SHAPES.values(), ids=["2d", "3d"])
padded = pytest.mark.parametrize("padding", ["zeros", "border"])


def random(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    """White noise: every neighbour differs, so that a wrong one shows."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def smooth_motion(shape, scale: float, batch: int = 2) -> Tensor:
    """(batch, ndim, *shape): a motion that does not amplify rounding when it is squared."""
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
    coarse = random(batch, len(shape), *[3] * len(shape), scale=scale)
    return torch.nn.functional.interpolate(coarse, shape, mode=mode, align_corners=True)


def with_gradients(function, *tensors: Tensor, seed: int = 9) -> list[Tensor]:
    """The result, and the gradients of a random linear function of it, of those that ask for one.

    Leaves are copies: the caller's tensors say with requires_grad what is asked.
    """
    leaves = [t.detach().clone().requires_grad_(t.requires_grad) for t in tensors]
    out = function(*leaves)
    asked = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = torch.autograd.grad((out * random(*out.shape, seed=seed)).sum(), asked)
    return [out.detach(), *gradients]


def assert_same(got, expected, rtol: float = 1e-4, atol: float = 2e-5) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def plain_warp(padding: str):
    def plain(image: Tensor, field: Tensor) -> Tensor:
        with backend("torch"):
            return warp(image, field, padding=padding)

    return plain


def plain_squaring(velocity: Tensor, steps: int) -> Tensor:
    with backend("torch"):
        return scaling_and_squaring(velocity, steps)


def test_the_kernels_run_here_and_nowhere_else():
    """The dispatcher asks this: CPU tensors must never reach compiled kernels, nor the reverse."""
    assert gpu.ready(DEVICE)
    assert not gpu.ready(torch.device("cpu" if DEVICE.type == "cuda" else "cuda"))
    assert not gpu.ready(torch.device("meta"))


@both
@padded
@pytest.mark.parametrize("fitted", [False, True], ids=["fixed image", "fitted image"])
def test_pull_is_torch(shape, padding, fitted):
    """Two images of two channels, displacements across the edge; with the image's gradient or not.

    Both ways to a displacement's gradient are here: the slope saved by forward, and backward's own.
    torch goes through [-1, 1] and loses a few bits of position, hence the tolerance.
    """
    image = random(2, 2, *shape).requires_grad_(fitted)
    field = random(2, len(shape), *shape, scale=3.0, seed=1).requires_grad_()
    got = with_gradients(lambda i, f: gpu.pull(i, f, padding == "border"), image, field)
    assert_same(got, with_gradients(plain_warp(padding), image, field))


@both
def test_pull_of_a_fitted_image_alone(shape):
    """A voxel field is read where nobody fits the positions: its gradient is right, theirs none."""
    image = random(1, 1, *shape).requires_grad_()
    field = random(1, len(shape), *shape, scale=2.0, seed=1)
    got = with_gradients(lambda i, f: gpu.pull(i, f, True), image, field)
    assert_same(got, with_gradients(plain_warp("border"), image, field))


@padded
@pytest.mark.parametrize("shape, grid", [((5, 4), (9, 17)), ((6, 7, 8), (3, 4, 5))])
def test_pull_on_another_grid(padding, shape, grid):
    """The displacement's grid may be larger or smaller than the image's."""
    image = random(1, 1, *shape).requires_grad_()
    field = random(1, len(grid), *grid, scale=2.0, seed=1).requires_grad_()
    got = with_gradients(lambda i, f: gpu.pull(i, f, padding == "border"), image, field)
    assert_same(got, with_gradients(plain_warp(padding), image, field))


@padded
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -3e9, 40.0])
def test_wild_displacements_reach_nothing_else(padding, bad):
    """One voxel that points far outside, or nowhere, leaves every other right and reads no memory
    that is not the image's."""
    shape = SHAPES[2]
    image, field = random(1, 1, *shape).requires_grad_(), random(1, 2, *shape, seed=1)
    good = with_gradients(
        lambda i, f: gpu.pull(i, f, padding == "border"), image, field.requires_grad_()
    )
    broken = field.detach().clone()
    broken[0, :, 4, 5] = bad
    got = with_gradients(
        lambda i, f: gpu.pull(i, f, padding == "border"), image, broken.requires_grad_()
    )
    others = torch.ones(shape, dtype=torch.bool)
    others[4, 5] = False
    torch.testing.assert_close(got[0][..., others], good[0][..., others])
    torch.testing.assert_close(got[2][..., others], good[2][..., others])
    assert all(tensor.isfinite().all() for tensor in got)
    assert (got[2][0, :, 4, 5] == 0).all()  # at rest on the edge, or outside: no slope


@pytest.mark.parametrize("shape", [(9, 17), (5, 4, 6)], ids=["2d", "3d"])
@pytest.mark.parametrize("recompute", [False, True], ids=["stored", "recomputed"])
def test_squaring_is_torch(shape, recompute):
    """Fields kept or computed again, the same result and the same gradient; two velocities."""
    steps = {2: 5, 3: 3}[len(shape)]  # halved unevenly where it is recomputed
    velocity = smooth_motion(shape, 1.5).requires_grad_()
    got = with_gradients(lambda v: gpu.squaring(v, steps, recompute), velocity)
    expected = with_gradients(lambda v: plain_squaring(v, steps), velocity)
    assert_same(got, expected, rtol=1e-3, atol=1e-4)


def test_squaring_of_nothing_and_no_squaring():
    """No steps are the velocity itself; without a gradient nothing is kept for one."""
    velocity = smooth_motion(SHAPES[2], 1.5).requires_grad_()
    for recompute in (False, True):
        out, gradient = with_gradients(lambda v, r=recompute: gpu.squaring(v, 0, r), velocity)
        assert torch.equal(out, velocity)
        torch.testing.assert_close(gradient, random(*out.shape, seed=9))
    still = gpu.squaring(torch.zeros(1, 2, 9, 17, device=DEVICE), 2)
    assert torch.equal(still, torch.zeros_like(still)) and not still.requires_grad


def local_ncc_both_ways(warped: Tensor, fixed: Tensor, window: int):
    """Kernel and plain version: mean and gradient with respect to the warped image."""
    loss = LocalNCC(fixed, window)
    _, total, variance = loss.statistics
    got = with_gradients(lambda w: gpu.local_ncc(w, fixed, total, variance, window), warped)
    return got, with_gradients(lambda w: loss.map(w).mean(), warped)


@pytest.mark.parametrize(
    "shape, window", [((9, 17), w) for w in (3, 9, 19)] + [((6, 7, 8), w) for w in (3, 7, 9)]
)
def test_local_ncc_is_torch(shape, window):
    """Windows shorter than the image, longer than an axis, and longer than every axis."""
    fixed = random(2, 2, *shape, scale=0.2)
    warped = (0.5 * fixed + random(2, 2, *shape, scale=0.2, seed=1)).requires_grad_()
    got, expected = local_ncc_both_ways(warped, fixed, window)
    # the gradient of a mean is small, so the absolute tolerance is of its own size
    assert_same(got, expected, rtol=1e-4, atol=1e-4 * expected[1].abs().max().item())


@pytest.mark.parametrize("constant", ["warped", "fixed", "both", "black"])
def test_local_ncc_of_constant_images(constant):
    """Flat background has no correlation and, where its variance is zero, no say in the gradient.

    Eighths add up exactly, so that a variance is zero and not what rounding left of it: the kernel
    must then agree with plain torch in float64.
    """
    shape = SHAPES[2]
    flat = torch.full((1, 1, *shape), 0.0 if constant == "black" else 0.5, device=DEVICE)
    noise = [(8 * random(1, 1, *shape, seed=seed)).round() / 8 for seed in (0, 1)]
    warped = (noise[0] if constant == "fixed" else flat).clone().requires_grad_()
    fixed = noise[1] if constant in ("warped", "black") else flat
    expected = with_gradients(lambda w: LocalNCC(fixed.double(), 5).map(w).mean(), warped.double())
    _, total, variance = (
        s if isinstance(s, float) else s.float() for s in LocalNCC(fixed.double(), 5).statistics
    )
    got = with_gradients(lambda w: gpu.local_ncc(w, fixed, total, variance, 5), warped)
    assert_same(got, [e.float() for e in expected], rtol=1e-3, atol=1e-6)
    if constant == "black":
        assert got[0] == 0 and (got[1] == 0).all()


@both
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_penalties_are_torch(shape, margin):
    """Two noisy fields, a third of whose cells fold: all three values, and both gradients."""
    field = random(2, len(shape), *shape, scale=0.7).requires_grad_()

    def fast(u):
        return torch.stack(gpu.penalties(u, margin)[:2])

    def plain(u):
        return torch.stack([jacobian_penalty(u, margin), smoothness(u)])

    assert_same(with_gradients(fast, field), with_gradients(plain, field), atol=1e-6)
    folds = gpu.penalties(field, margin)[2]
    expected = (jacobian_determinant(field) <= 0).float().mean()
    torch.testing.assert_close(folds, expected)
    assert 0.1 < folds < 0.9 and not folds.requires_grad


def test_penalties_of_the_identity_and_of_no_number():
    """No motion costs exactly nothing; a NaN stays one, so that the optimisation can say so."""
    field = torch.zeros(1, 3, *SHAPES[3], device=DEVICE, requires_grad=True)
    parts = gpu.penalties(field, 0.0)
    assert [part.item() for part in parts] == [0, 0, 0]
    (gradient,) = torch.autograd.grad(parts[0] + parts[1], field)
    assert (gradient == 0).all()
    with torch.no_grad():
        field[0, 1, 3, 3, 3] = float("nan")
    assert all(part.isnan() for part in gpu.penalties(field, 0.0)[:2])
    flat = torch.zeros(1, 2, 1, 5, device=DEVICE)  # no cells, and no differences along one axis
    assert all(part.isnan() for part in gpu.penalties(flat, 0.0))


@pytest.mark.parametrize("fan_in, units", [(3, 24), (2, 70), (70, 33)])
@pytest.mark.parametrize("precision", [None, "ieee"])
def test_sine_layer_is_torch(fan_in, units, precision):
    """Coordinates and hidden units, in numbers that fill no block; gradients of all three."""
    x = random(140, fan_in).requires_grad_()
    weight = random(units, fan_in, seed=1).requires_grad_()
    bias = random(units, seed=2).requires_grad_()

    def plain(x, weight, bias):
        return torch.sin(torch.nn.functional.linear(x, weight, bias))

    got = with_gradients(lambda *t: gpu.sine_layer(*t, precision=precision), x, weight, bias)
    assert_same(got, with_gradients(plain, x, weight, bias), atol=1e-4)


def test_sine_layer_leaves_out_what_nobody_asks():
    """The first layer's points are fixed: no product is spent on their gradient."""
    x, weight, bias = random(5, 3), random(4, 3, seed=1).requires_grad_(), random(4, seed=2)
    out = gpu.sine_layer(x, weight, bias)
    (gradient,) = torch.autograd.grad(out.sum(), weight)
    torch.testing.assert_close(gradient, torch.cos(x @ weight.T + bias).T @ x, rtol=1e-4, atol=1e-5)


def test_any_strides_will_do():
    """Slices, transposes and expanded gradients (of a sum) are what autograd hands over."""
    image = random(1, 7, 6, 2).permute(0, 3, 2, 1)  # (1, 2, 6, 7), channels last in memory
    field = random(1, 2, 6, 14, seed=1)[..., ::2].requires_grad_()
    assert_same([gpu.pull(image, field, False)], [plain_warp("zeros")(image, field)])
    for function, plain in (
        (lambda f: gpu.squaring(f, 1), lambda f: plain_squaring(f, 1)),
        (lambda f: gpu.penalties(f, 0.5)[0], lambda f: jacobian_penalty(f, 0.5)),
        (lambda f: gpu.pull(image, f, True), lambda f: plain_warp("border")(image, f)),
    ):
        got, expected = (torch.autograd.grad(g(field).sum(), field) for g in (function, plain))
        assert_same(got, expected)


def test_second_derivatives_are_refused():
    """They would silently be zero."""
    field = random(1, 2, 5, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(gpu.penalties(field, 0.0)[1] ** 2, field, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_volume_beyond_32_bits_is_refused():
    """Offsets would wrap around and read other memory; nothing that large is made to find out."""
    huge = torch.zeros(1, 1, 1, 1, 1).expand(1, 3, 2048, 1024, 1024)
    with pytest.raises(ValueError, match="grid: wanted at most .* got .2048, 1024, 1024"):
        gpu.lattice.as_3d(huge.shape[2:])


@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a CUDA device")
@pytest.mark.parametrize("precision, tolerance", [("tf32x3", 1e-5), ("tf32", 2e-2)])
def test_sine_layers_precision_on_tensor_cores(precision, tolerance):
    """What the names promise, against float64: the interpreter computes them all alike."""
    x, weight, bias = random(1000, 256), random(256, 256, scale=0.1, seed=1), random(256, seed=2)
    exact = torch.sin(x.double() @ weight.double().T + bias.double())
    got = gpu.sine_layer(x, weight, bias, precision=precision)
    assert (got.double() - exact).abs().max() < tolerance


COMPILE = """
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from nevf_lite.kernels import gpu

NUMBERS = "margin cell_weight x_weight y_weight z_weight per_window epsilon scale".split()
COUNTS = "channels D H W h w voxels side stride count fan_in units".split()

def kind(name):
    return "fp32" if name in NUMBERS else "i32" if name in COUNTS else "*fp32"

def check(module, name, **constants):
    kernel = getattr(sys.modules["nevf_lite.kernels.gpu." + module], name)
    signature = {n: "constexpr" if n in constants else kind(n) for n in kernel.arg_names}
    options = {"num_warps": 8 if module == "sine" else 4, "enable_fp_fusion": True}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    compile(source, target=GPUTarget("cuda", 90, 32), options=options)

for ndim in (2, 3):
    block = dict(NDIM=ndim, BLOCK=128)
    if ndim == 2:
        block["H"] = 1  # triton compiles an integer of one as a constant
    check("pull", "_pull", BORDER=False, SPATIAL=True, **block)
    check("pull", "_pull_backward", BORDER=True, **block)
    check("squaring", "_square", **block)
    check("squaring", "_square_backward", **block)
    check("penalties", "_penalties", **block)
    check("penalties", "_penalties_backward", **block)
window = dict(WINDOW=9, BLOCK=512)
check("local_ncc", "_products", **window)
check("local_ncc", "_sums", **window)
check("local_ncc", "_correlation", PARTIALS=True, **window)
check("local_ncc", "_to_warped", **window)
for backward in (False, True):
    tile = dict(POINTS=128, UNITS=64, INPUTS=32)
    check("sine", "_sine", BACKWARD=backward, PRECISION="tf32x3", **tile)
"""


@pytest.mark.slow
def test_kernels_compile_for_a_card_that_is_not_here(monkeypatch, tmp_path):
    """For Hopper, down to machine code, which needs no card; in a process of its own since here
    they are interpreted, and with an empty cache of its own."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_dispatcher_hands_triton_what_is_triton_s():
    """Asked for by name the kernels serve the public functions; "auto" leaves the CPU to Numba."""
    image, displacement = random(1, 1, 9, 17), smooth_motion((9, 17), 1.0, batch=1)
    with backend("triton"):
        assert kernels.find_kernel("pull", image, displacement) is gpu.pull
        by_triton = warp(image, displacement)
    if DEVICE.type == "cpu":
        assert kernels.find_kernel("pull", image, displacement) is not gpu.pull
    with backend("torch"):
        torch.testing.assert_close(by_triton, warp(image, displacement), rtol=1e-4, atol=2e-5)
