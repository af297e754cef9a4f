"""Networks that register two images in one forward pass: VoxelMorph and SYMNet.

`voxelmorph` and `symnet` are methods of a study, with the arguments that all methods share.
`predict` registers with any network, and `refine` is test-time refinement. `VoxelMorph` and
`SYMNet` are the architectures. `load_network` reads the published weights and those of this
package. `train` is the loop that trained the latter. `learned_start` is a start of `register`: the
weights of a SIREN that `learn_start` has learned.
"""

from nevf_lite.networks.base import Loss, Network, NetworkFrame, Objective
from nevf_lite.networks.lattice import lattice_over, onto_lattice
from nevf_lite.networks.meta_learning import Reptile, learn_start
from nevf_lite.networks.prediction import predict, symnet, voxelmorph
from nevf_lite.networks.refinement import refine
from nevf_lite.networks.starts import learned_start, save_start
from nevf_lite.networks.symnet_net import SYMNet
from nevf_lite.networks.training import Training, train
from nevf_lite.networks.voxelmorph_net import VoxelMorph
from nevf_lite.networks.weights import load_network, save_network

__all__ = [
    "Loss",
    "Network",
    "NetworkFrame",
    "Objective",
    "Reptile",
    "SYMNet",
    "Training",
    "VoxelMorph",
    "lattice_over",
    "learn_start",
    "learned_start",
    "load_network",
    "onto_lattice",
    "predict",
    "refine",
    "save_network",
    "save_start",
    "symnet",
    "train",
    "voxelmorph",
]
