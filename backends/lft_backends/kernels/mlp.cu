// Many small perceptrons at once on a GPU, each with weights of its own: twins of the four passes of
// lft_ref/networks.py through dense layers with ReLU between them.
//
// A layer of a small network is less work than starting a kernel, so a block does one task from the
// first layer to the last. Its threads share out the entries of each layer's result, and wait for one
// another before the next layer reads them. Every entry is one thread's sum in a fixed order: the same
// input gives the same bits.
//
// NVRTC compiles this file once per network, with these names defined:
//   LFT_REAL    float or double
//   LFT_WIDTHS  the widths, inputs first and outputs last: 1,40,40,1
//   LFT_WIDEST  the largest of the widths between them; 1 without any
//   LFT_BLOCK   threads of a block
//
// Arrays are contiguous. What comes out of the hidden layers lies in one row of memory, layer after
// layer: (tasks, N, width) of each. Task t has the examples x[t % x_tasks].

using real = LFT_REAL;
using Index = long long;

constexpr int WIDTH[] = {LFT_WIDTHS};
constexpr int LAYERS = sizeof(WIDTH) / sizeof(int) - 1, WIDEST = LFT_WIDEST, BLOCK = LFT_BLOCK;

template <int K>
struct Layer {  // y = h W + b; θ has W (IN, OUT) at START, then b (OUT)
  static constexpr int IN = WIDTH[K], OUT = WIDTH[K + 1];
  static constexpr int START = Layer<K - 1>::START + (Layer<K - 1>::IN + 1) * Layer<K - 1>::OUT;
  static constexpr int BEFORE = Layer<K - 1>::BEFORE + Layer<K - 1>::OUT;  // units of layers before
  static constexpr bool LAST = K == LAYERS - 1;
};

template <>
struct Layer<-1> {
  static constexpr int IN = -1, OUT = 0, START = 0, BEFORE = 0;
};

constexpr int SIZE = Layer<LAYERS - 1>::START + (WIDTH[LAYERS - 1] + 1) * WIDTH[LAYERS];

struct Task {  // the block's own
  Index number, tasks;
  int N;
  const real* x;  // (N, WIDTH[0])
};

__device__ inline Task own_task(const real* x, Index x_tasks, int N) {
  const Index number = blockIdx.x;
  return {number, gridDim.x, N, x + number % x_tasks * N * WIDTH[0]};
}

// What comes out of hidden layer K, or its tangent: (N, OUT) of this task.
template <int K>
__device__ inline real* units(real* hidden, const Task& task) {
  return hidden + (task.tasks * Layer<K>::BEFORE + task.number * Layer<K>::OUT) * task.N;
}

// What goes into layer K: (N, IN).
template <int K>
__device__ inline const real* input(real* hidden, const Task& task) {
  if constexpr (K == 0) return task.x;
  else return units<K - 1>(hidden, task);
}

// Σ_k a[k] b[k · STEP], one entry of a product.
template <int TERMS, int STEP>
__device__ inline real dot(const real* a, const real* b) {
  real s = 0;
#pragma unroll 8
  for (int k = 0; k < TERMS; ++k) s += a[k] * b[k * STEP];
  return s;
}

// z = h W + b, layer by layer; h⁺ = max(z, 0), and NaN stays NaN.
template <int K>
__device__ inline void forwards(const Task& task, const real* theta, real* hidden, real* y) {
  constexpr int IN = Layer<K>::IN, OUT = Layer<K>::OUT;
  const real *W = theta + Layer<K>::START, *b = W + IN * OUT, *h = input<K>(hidden, task);
  real* z = y;
  if constexpr (!Layer<K>::LAST) z = units<K>(hidden, task);
  for (int item = threadIdx.x; item < task.N * OUT; item += BLOCK) {
    const int i = item / OUT, j = item % OUT;
    const real z_ij = dot<IN, OUT>(h + i * IN, W + j) + b[j];
    z[item] = !Layer<K>::LAST && z_ij <= 0 ? real(0) : z_ij;
  }
  if constexpr (!Layer<K>::LAST) {
    __syncthreads();
    forwards<K + 1>(task, theta, hidden, y);
  }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    lft_mlp_forwards(const real* theta, const real* x, real* hidden, real* y, Index x_tasks,
                     int N) {
  const Task task = own_task(x, x_tasks, N);
  forwards<0>(task, theta + task.number * SIZE, hidden, y + task.number * N * WIDTH[LAYERS]);
}

// W̄ = hᵀ z̄ and b̄ = Σ_N z̄, then z̄ of the layer before: z̄ Wᵀ where h > 0. Layers take turns with
// two rooms for z̄, since one is read while the other is written.
template <int K>
__device__ inline void backwards(const Task& task, const real* theta, real* hidden,
                                 const real* z_bar, real* room, real* theta_bar) {
  constexpr int IN = Layer<K>::IN, OUT = Layer<K>::OUT;
  const real *W = theta + Layer<K>::START, *h = input<K>(hidden, task);
  for (int item = threadIdx.x; item < (IN + 1) * OUT; item += BLOCK) {
    const int k = item / OUT, j = item % OUT;
    real s = 0;
    for (int i = 0; i < task.N; ++i) s += (k < IN ? h[i * IN + k] : real(1)) * z_bar[i * OUT + j];
    theta_bar[Layer<K>::START + item] = s;
  }
  if constexpr (K > 0) {
    real* h_bar = room + K % 2 * task.N * WIDEST;
    for (int item = threadIdx.x; item < task.N * IN; item += BLOCK) {
      const int i = item / IN, k = item % IN;
      h_bar[item] = h[item] > 0 ? dot<OUT, 1>(z_bar + i * OUT, W + k * OUT) : real(0);
    }
    __syncthreads();
    backwards<K - 1>(task, theta, hidden, h_bar, room, theta_bar);
  }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    lft_mlp_backwards(const real* theta, const real* x, real* hidden, const real* y_bar, real* room,
                      real* theta_bar, Index x_tasks, int N) {
  const Task task = own_task(x, x_tasks, N);
  backwards<LAYERS - 1>(task, theta + task.number * SIZE, hidden,
                        y_bar + task.number * N * WIDTH[LAYERS],
                        room + task.number * 2 * N * WIDEST, theta_bar + task.number * SIZE);
}

// ż = ḣ W + h Ẇ + ḃ, and 0 where the unit is off. The examples stand still.
template <int K>
__device__ inline void forwards_dot(const Task& task, const real* theta, real* hidden,
                                    const real* theta_dot, real* hidden_dot, real* y_dot) {
  constexpr int IN = Layer<K>::IN, OUT = Layer<K>::OUT;
  const real *W = theta + Layer<K>::START, *h = input<K>(hidden, task);
  const real *W_dot = theta_dot + Layer<K>::START, *b_dot = W_dot + IN * OUT;
  real* z_dot = y_dot;
  if constexpr (!Layer<K>::LAST) z_dot = units<K>(hidden_dot, task);
  for (int item = threadIdx.x; item < task.N * OUT; item += BLOCK) {
    const int i = item / OUT, j = item % OUT;
    real s = dot<IN, OUT>(h + i * IN, W_dot + j) + b_dot[j];
    if constexpr (K > 0) s += dot<IN, OUT>(units<K - 1>(hidden_dot, task) + i * IN, W + j);
    bool on = true;
    if constexpr (!Layer<K>::LAST) on = units<K>(hidden, task)[item] > 0;
    z_dot[item] = on ? s : real(0);
  }
  if constexpr (!Layer<K>::LAST) {
    __syncthreads();
    forwards_dot<K + 1>(task, theta, hidden, theta_dot, hidden_dot, y_dot);
  }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    lft_mlp_forwards_dot(const real* theta, const real* x, real* hidden, const real* theta_dot,
                         real* hidden_dot, real* y_dot, Index x_tasks, int N) {
  const Task task = own_task(x, x_tasks, N);
  forwards_dot<0>(task, theta + task.number * SIZE, hidden, theta_dot + task.number * SIZE,
                  hidden_dot, y_dot + task.number * N * WIDTH[LAYERS]);
}

struct Bars {  // z̄ and its tangent
  const real *z, *z_dot;
};

// The tangent of what backwards does, with z̄ beside it.
template <int K>
__device__ inline void backwards_dot(const Task& task, const real* theta, real* hidden,
                                     const real* theta_dot, real* hidden_dot, const Bars& bars,
                                     real* room, real* theta_bar_dot) {
  constexpr int IN = Layer<K>::IN, OUT = Layer<K>::OUT;
  const real *W = theta + Layer<K>::START, *W_dot = theta_dot + Layer<K>::START;
  const real* h = input<K>(hidden, task);
  for (int item = threadIdx.x; item < (IN + 1) * OUT; item += BLOCK) {
    const int k = item / OUT, j = item % OUT;
    real s = 0;
    for (int i = 0; i < task.N; ++i) {
      s += (k < IN ? h[i * IN + k] : real(1)) * bars.z_dot[i * OUT + j];
      if constexpr (K > 0)
        if (k < IN) s += units<K - 1>(hidden_dot, task)[i * IN + k] * bars.z[i * OUT + j];
    }
    theta_bar_dot[Layer<K>::START + item] = s;
  }
  if constexpr (K > 0) {
    real *h_bar = room + K % 2 * 2 * task.N * WIDEST, *h_bar_dot = h_bar + task.N * WIDEST;
    for (int item = threadIdx.x; item < task.N * IN; item += BLOCK) {
      const int i = item / IN, k = item % IN;
      const real *z = bars.z + i * OUT, *z_dot = bars.z_dot + i * OUT;
      const bool on = h[item] > 0;
      h_bar[item] = on ? dot<OUT, 1>(z, W + k * OUT) : real(0);
      h_bar_dot[item] =
          on ? dot<OUT, 1>(z_dot, W + k * OUT) + dot<OUT, 1>(z, W_dot + k * OUT) : real(0);
    }
    __syncthreads();
    backwards_dot<K - 1>(task, theta, hidden, theta_dot, hidden_dot, {h_bar, h_bar_dot}, room,
                         theta_bar_dot);
  }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    lft_mlp_backwards_dot(const real* theta, const real* x, real* hidden, const real* y_bar,
                          const real* theta_dot, real* hidden_dot, const real* y_bar_dot,
                          real* room, real* theta_bar_dot, Index x_tasks, int N) {
  const Task task = own_task(x, x_tasks, N);
  const Index first = task.number * N * WIDTH[LAYERS];
  backwards_dot<LAYERS - 1>(task, theta + task.number * SIZE, hidden,
                            theta_dot + task.number * SIZE, hidden_dot,
                            {y_bar + first, y_bar_dot + first}, room + task.number * 4 * N * WIDEST,
                            theta_bar_dot + task.number * SIZE);
}
