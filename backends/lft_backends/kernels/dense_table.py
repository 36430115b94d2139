"""How kernels for perceptrons are told of the dense layers: columns of a table, one row each."""

# Where θ has the layer, its inputs and outputs, and the units of the hidden layers before.
START, N_IN, N_OUT, BEFORE = range(4)
