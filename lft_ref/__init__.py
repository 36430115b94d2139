"""Learned Fine-Tuner for Incongruous Few-Shot Learning (Zhao et al. 2022), equation by equation.

Every function works on arrays of any library that follows the Python array API standard, with or
without leading batch axes (but for :func:`from_draws`), and takes random numbers as arrays.
docs/paper_map.md leads from each equation to its function and its test.
"""

from lft_ref.adjoint import adjoint, adjoint_memory_bytes, fitting_segment, sum_over_tasks
from lft_ref.attack import AttackLoss
from lft_ref.blocks import BLOCKWISE, blockwise
from lft_ref.classifiers import (
    accuracy,
    cifar_cnn,
    cnn,
    miniimagenet_cnn,
    mnist_mlp,
    omniglot_cnn,
)
from lft_ref.convolution import Conv2d
from lft_ref.forward_mode import forward_mode, forward_step, memory_bytes
from lft_ref.layers import Activation, Dense
from lft_ref.lenet import digits_network, lenet5
from lft_ref.lstm import Cell, Jacobians, LSTMState, initial_state, jacobians, step, vjp
from lft_ref.maml import MAMLGradient, maml_gradient
from lft_ref.meta import (
    MetaState,
    clip_each_task,
    initial_meta_state,
    l2o_data,
    l2o_train_data,
    lft_data,
    meta_update,
    train_on,
)
from lft_ref.meta_gradient import (
    MetaGradient,
    weights_every_step,
    weights_last_step,
    weights_linear,
    weights_mean,
)
from lft_ref.networks import Network, mlp, network_from_draws
from lft_ref.objectives import (
    CrossEntropy,
    Data,
    NetworkLoss,
    Objective,
    Quadratic,
    SquaredError,
)
from lft_ref.ops import REFERENCE, Ops
from lft_ref.optimizers import Optimizer, adam, clip_by_norm, fine_tune, learned, sgd
from lft_ref.params import LSTMParams, flatten, from_draws, size, unflatten
from lft_ref.pooling import Flatten, Pool2d
from lft_ref.preprocess import Identity, LogSign, Preprocess
from lft_ref.tasks import Task
from lft_ref.unroll import FineTuner, Trajectory, unroll
from lft_ref.zeroth_order import Estimator, FirstOrder, ZerothOrder

__version__ = "0.1.0"

__all__ = [
    "BLOCKWISE",
    "REFERENCE",
    "Activation",
    "AttackLoss",
    "Cell",
    "Conv2d",
    "CrossEntropy",
    "Data",
    "Dense",
    "Estimator",
    "FineTuner",
    "FirstOrder",
    "Flatten",
    "Identity",
    "Jacobians",
    "LSTMParams",
    "LSTMState",
    "LogSign",
    "MAMLGradient",
    "MetaGradient",
    "MetaState",
    "Network",
    "NetworkLoss",
    "Objective",
    "Ops",
    "Optimizer",
    "Pool2d",
    "Preprocess",
    "Quadratic",
    "SquaredError",
    "Task",
    "Trajectory",
    "ZerothOrder",
    "accuracy",
    "adam",
    "adjoint",
    "adjoint_memory_bytes",
    "blockwise",
    "cifar_cnn",
    "clip_by_norm",
    "clip_each_task",
    "cnn",
    "digits_network",
    "fine_tune",
    "fitting_segment",
    "flatten",
    "forward_mode",
    "forward_step",
    "from_draws",
    "initial_meta_state",
    "initial_state",
    "jacobians",
    "l2o_data",
    "l2o_train_data",
    "learned",
    "lenet5",
    "lft_data",
    "maml_gradient",
    "memory_bytes",
    "meta_update",
    "miniimagenet_cnn",
    "mlp",
    "mnist_mlp",
    "network_from_draws",
    "omniglot_cnn",
    "sgd",
    "size",
    "step",
    "sum_over_tasks",
    "train_on",
    "unflatten",
    "unroll",
    "vjp",
    "weights_every_step",
    "weights_last_step",
    "weights_linear",
    "weights_mean",
]
