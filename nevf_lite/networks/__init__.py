"""Networks that register two images in one forward pass, and what starts a registration.

`voxelmorph` and `symnet` are methods of a study, with the arguments that all methods share.
`predict` registers with any network, and `refine` is test-time refinement. `VoxelMorph` and
`SYMNet` are the architectures. `load_network` reads the published weights and those of this
package. `train` is the loop that trained the latter. `predicted_start` is a start of `register`:
the weights of a SIREN that `learn_start` has learned. `LatticeNet` predicts the features of a
field, which `start_features` begins with.
"""

from nevf_lite.networks.base import Loss, Network, NetworkFrame, Objective
from nevf_lite.networks.lattice import lattice_over, onto_lattice
from nevf_lite.networks.lattice_net import LatticeNet
from nevf_lite.networks.meta_learning import Reptile, learn_start
from nevf_lite.networks.prediction import predict, symnet, voxelmorph
from nevf_lite.networks.refinement import refine
from nevf_lite.networks.starts import predicted_start, start_features
from nevf_lite.networks.symnet_net import SYMNet
from nevf_lite.networks.training import Training, train
from nevf_lite.networks.voxelmorph_net import VoxelMorph
from nevf_lite.networks.weights import load_network, save_network

__all__ = [
    "LatticeNet",
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
    "load_network",
    "onto_lattice",
    "predict",
    "predicted_start",
    "refine",
    "save_network",
    "start_features",
    "symnet",
    "train",
    "voxelmorph",
]
