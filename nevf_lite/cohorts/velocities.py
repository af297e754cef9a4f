"""The mean of several velocity fields, each of its own registration, on one grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nevf_lite.fields import VoxelField
from nevf_lite.grid import resize
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.components import VelocityFlow
from nevf_lite.warp import sample


def mean_velocity(flows: Sequence[VelocityFlow], grid: Grid, scale: float = 1.0) -> VelocityFlow:
    """The flow whose velocity is the mean of those of several flows, times `scale`.

    flows: each over a box of its own in the world of the grid, and kept constant beyond it. An
    inverse counts with the other sign. grid: where the mean is stored, and integrated.
    The mean of velocities is the mean of Arsigny et al. (2006): that of maps and that of their
    inverses are inverse to each other. Raises ValueError for flows that were not made alike.
    """
    first = flows[0]
    alike = {(f.integrator, f.steps, f.order) for f in flows}
    if len(alike) > 1 or first.order == "continuous":
        raise ValueError("flows: wanted velocities on lattices, all integrated in the same way")
    field = VoxelField(grid.shape)
    total = sum(scale / len(flows) * velocity_on(flow, grid) for flow in flows)
    field.values.data = total
    field.requires_grad_(False).eval()
    return VelocityFlow(field, grid, grid.shape, first.integrator, first.steps, first.order)


def velocity_on(flow: VelocityFlow, grid: Grid) -> torch.Tensor:
    """The velocity of a flow at each voxel of a grid, in its voxels: (1, ndim, *grid.shape)."""
    with torch.no_grad():
        nodes = flow.field.on_lattice(flow.nodes).float().cpu()
        voxels = resize(nodes, flow.grid.shape)
        positions = np.moveaxis(flow.grid.to_voxels(grid.points()), -1, 0)
        positions = torch.from_numpy(np.ascontiguousarray(positions, np.float32))[None]
        velocity = sample(voxels, positions, padding="border")[0]
    # from voxels of the field's own grid to millimetres, and on to voxels of this one
    own = flow.grid.with_shape(flow.field.shape).directions
    matrix = np.linalg.inv(grid.affine)[: grid.ndim, :3] @ own
    moved = np.tensordot(flow.sign * matrix, velocity.double().numpy(), axes=1)
    return torch.from_numpy(np.ascontiguousarray(moved, np.float32))[None]
