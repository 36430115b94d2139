// The cell of eq. (3), its vjp, and one step of Statement 1 on a GPU: twins of lft_ref/ops.py.
//
// NVRTC compiles this file once per size, with these names defined:
//   LFT_REAL      float or double
//   LFT_N, LFT_M  hidden units n (1 to 64) and features m (1 to 4)
//   LFT_INPUT     0: features and their slopes are handed in; 1: x = g; 2: log/sign of g
//   LFT_CONSTANT  1: Φ is read from constant memory; 0: from the pointer phi
//   LFT_BLOCK     threads of a block; one thread works on one coordinate
//   LFT_GROUP     hidden units whose weight gradients are summed together
//
// Arrays are contiguous: g (tasks, d), states (tasks, n, d), features (tasks, m, d). Neighbouring
// threads then read neighbouring numbers. Tasks lie on the grid's second axis and share Φ, which is
// repacked by unit. Hidden units are worked on one at a time, since all 4n gates of a coordinate would
// not fit into registers.

using real = LFT_REAL;
using Index = long long;

constexpr int N = LFT_N, M = LFT_M, A = M + N;  // A inputs (x, h), without the 1 of the bias
constexpr int BIAS = 4 * N * A, OUTPUT = BIAS + 4 * N, P = OUTPUT + N + 1;
constexpr int BLOCK = LFT_BLOCK, GROUP = LFT_GROUP;
constexpr int STRIDE = BLOCK + 1;         // one more: columns of shared arrays fall on all banks
constexpr bool SMALL = N <= 10;           // loops over units are unrolled; else too much code
constexpr int UNITS = SMALL ? N : 1, INPUTS = SMALL ? A : 4;
constexpr real ONE = 1, HALF = 0.5;

static_assert(N <= BLOCK, "the forward kernel gives each unit a thread");

struct alignas(16) Quad {  // one number for each of the gates i, f, u, o
  real gate[4];
};

struct Phi {
  Quad to[N][A + 1];  // to the gates of unit v from each of (x, h, 1)
  real w_o[N];
  real b_o;
};

#if LFT_CONSTANT
__constant__ Phi lft_phi;
#endif

// Φ. All threads read the same entry at once, which is what constant memory is made for.
__device__ inline const Phi& weights(const Phi* phi) {
#if LFT_CONSTANT
  (void)phi;
  return lft_phi;
#else
  return *phi;
#endif
}

// Preprocessing: lft_ref/preprocess.py -----------------------------------------------------------

struct Input {
  const real* g;       // (tasks, d)
  const real* x;       // (tasks, m, d), read where LFT_INPUT is 0
  const real* slope;   // dx/dg, likewise
  real p, small, steep;  // log/sign: p, e^-p and e^p
  Index d;
};

// x(g) and dx/dg of coordinate j.
__device__ inline void features(const Input& in, Index task, Index j, real (&x)[M], real (&slope)[M]) {
#if LFT_INPUT == 0
#pragma unroll
  for (int k = 0; k < M; ++k) {
    x[k] = in.x[(task * M + k) * in.d + j];
    slope[k] = in.slope[(task * M + k) * in.d + j];
  }
#elif LFT_INPUT == 1
  x[0] = in.g[task * in.d + j];
  slope[0] = ONE;
#else
  const real g = in.g[task * in.d + j];
  const bool large = fabs(g) >= in.small;  // false for NaN, which the other branch hands on
  x[0] = large ? log(fabs(g)) / in.p : -ONE;
  x[1] = large ? (g > 0 ? ONE : -ONE) : in.steep * g;
  slope[0] = large ? ONE / (in.p * g) : real(0);
  slope[1] = large ? real(0) : in.steep;
#endif
}

// The cell: lft_ref/lstm.py ----------------------------------------------------------------------

struct Unit {
  real i, f, u, o;  // gates
  real c, tanh_c;   // c⁺ = f c + i u
};

__device__ inline real logistic(real z) { return HALF * tanh(HALF * z) + HALF; }

// Unit v of one coordinate; inputs[a] are its x and h.
template <int UNROLL, class Inputs>
__device__ inline Unit unit(const Phi& W, const Inputs& inputs, int v, real c_old) {
  Quad z = W.to[v][A];
#pragma unroll UNROLL
  for (int a = 0; a < A; ++a) {
    const real input = inputs[a];
#pragma unroll
    for (int q = 0; q < 4; ++q) z.gate[q] += input * W.to[v][a].gate[q];
  }
  Unit s = {logistic(z.gate[0]), logistic(z.gate[1]), tanh(z.gate[2]), logistic(z.gate[3]), 0, 0};
  s.c = s.f * c_old + s.i * s.u;
  s.tanh_c = tanh(s.c);
  return s;
}

// Φ by unit, from its five arrays: what is then copied to constant memory.
extern "C" __global__ void lft_pack(const real* W_x, const real* W_h, const real* b, const real* w_o,
                                    const real* b_o, Phi* phi) {
  const int k = blockIdx.x * blockDim.x + threadIdx.x;
  if (k < 4 * N * (A + 1)) {
    const int a = k / (4 * N), q = k / N % 4, v = k % N;
    const real* row = a < M ? W_x + a * 4 * N : a < A ? W_h + (a - M) * 4 * N : b;
    phi->to[v][a].gate[q] = row[q * N + v];
  }
  if (k < N) phi->w_o[k] = w_o[k];
  if (k == 0) phi->b_o = *b_o;
}

// Γ and Π of eq. (3): Δθ (tasks, d) and the new state.
extern "C" __global__ void __launch_bounds__(BLOCK)
    lft_step(const Phi* __restrict__ phi, const real* __restrict__ g, const real* __restrict__ x,
             const real* __restrict__ slope, real p, real small, real steep, real scale,
             const real* __restrict__ h, const real* __restrict__ c, real* __restrict__ delta,
             real* __restrict__ h_new, real* __restrict__ c_new, Index tasks, Index d) {
  const Index j = Index(blockIdx.x) * BLOCK + threadIdx.x;
  if (j >= d) return;
  const Input in = {g, x, slope, p, small, steep, d};
  const Phi& W = weights(phi);
  for (Index task = blockIdx.y; task < tasks; task += gridDim.y) {
    real inputs[A], features_of_g[M], unused[M];
    features(in, task, j, features_of_g, unused);
#pragma unroll
    for (int k = 0; k < M; ++k) inputs[k] = features_of_g[k];
#pragma unroll
    for (int v = 0; v < N; ++v) inputs[M + v] = h[(task * N + v) * d + j];
    real y = W.b_o;
#pragma unroll UNITS
    for (int v = 0; v < N; ++v) {
      const Index at = (task * N + v) * d + j;
      const Unit s = unit<A>(W, inputs, v, c[at]);
      const real h_v = s.o * s.tanh_c;
      h_new[at] = h_v;
      c_new[at] = s.c;
      y += W.w_o[v] * h_v;
    }
    delta[task * d + j] = scale * y;
  }
}

// The vjp ----------------------------------------------------------------------------------------
//
// A block works on tiles of BLOCK coordinates. Each thread pulls its coordinate's cotangents back,
// leaves z̄ of a group of units in shared memory, and then the block's threads share out the sums
// over the tile: Φ̄ = Σ_j (x, h, 1)_j ⊗ z̄_j. Every entry of Φ̄ belongs to one thread, which adds
// tiles in order; lft_sum adds blocks in order. So the same input always gives the same bits.

struct Column {  // one thread's inputs, in shared memory
  const real* first;
  __device__ real operator[](int a) const { return first[a * STRIDE]; }
};

// z̄ of one unit from h̄ and c̄ of its new state; c̄ becomes that of the old state.
__device__ inline Quad unit_vjp(const Unit& s, real c_old, real h_bar, real& c_bar) {
  c_bar += h_bar * s.o * (ONE - s.tanh_c * s.tanh_c);
  const Quad z_bar = {{c_bar * s.u * s.i * (ONE - s.i), c_bar * c_old * s.f * (ONE - s.f),
                       c_bar * s.i * (ONE - s.u * s.u), h_bar * s.tanh_c * s.o * (ONE - s.o)}};
  c_bar *= s.f;
  return z_bar;
}

__device__ inline void put(real* sum, real value, bool first_tile) {
  *sum = first_tile ? value : *sum + value;
}

// Add a tile's share of Φ̄ for the units first … first + units − 1: one thread, one row of four sums.
__device__ inline void add_tile(real* sums, const real* in_s, const Quad* z_s, const real* y_s,
                                int first, int units, bool first_tile) {
  for (int item = threadIdx.x; item < units * A; item += BLOCK) {
    const int a = item % A, u = item / A;
    real s[4] = {0, 0, 0, 0};
    for (int k = 0; k < BLOCK; ++k) {
      const real input = in_s[a * STRIDE + k];
      const Quad z = z_s[u * STRIDE + k];
#pragma unroll
      for (int q = 0; q < 4; ++q) s[q] += input * z.gate[q];
    }
#pragma unroll
    for (int q = 0; q < 4; ++q) put(sums + (a * 4 + q) * N + first + u, s[q], first_tile);
  }
  // b̄ and w̄_o of the group, and b̄_o once: plain sums over the tile.
  const int items = 5 * units + (first == 0);
  for (int item = threadIdx.x; item < items; item += BLOCK) {
    real s = 0;
    if (item < 4 * units) {
      const int u = item / 4, q = item % 4;
      for (int k = 0; k < BLOCK; ++k) s += z_s[u * STRIDE + k].gate[q];
      put(sums + BIAS + q * N + first + u, s, first_tile);
    } else {
      const int u = item - 4 * units;
      const int row = u < units ? u : GROUP;
      for (int k = 0; k < BLOCK; ++k) s += y_s[row * STRIDE + k];
      put(sums + (u < units ? OUTPUT + first + u : P - 1), s, first_tile);
    }
  }
}

// Cotangents of g and of the old state, and each block's share of Φ̄: partial (tasks, blocks, P).
extern "C" __global__ void __launch_bounds__(BLOCK)
    lft_vjp(const Phi* __restrict__ phi, const real* __restrict__ g, const real* __restrict__ x,
            const real* __restrict__ slope, real p, real small, real steep, real scale,
            const real* __restrict__ h, const real* __restrict__ c,
            const real* __restrict__ delta_bar, const real* __restrict__ h_bar,
            const real* __restrict__ c_bar, real* __restrict__ g_bar, real* __restrict__ h_old_bar,
            real* __restrict__ c_old_bar, real* __restrict__ partial, Index tasks, Index d,
            Index tiles_per_block) {
  __shared__ real in_s[A * STRIDE];             // x and h of the tile
  __shared__ Quad z_s[GROUP * STRIDE];          // z̄ of a group of units
  __shared__ real y_s[(GROUP + 1) * STRIDE];    // ȳ h⁺ of each unit; the last row is ȳ
  const int t = threadIdx.x;
  const Input in = {g, x, slope, p, small, steep, d};
  const Phi& W = weights(phi);
  for (Index task = blockIdx.y; task < tasks; task += gridDim.y) {
    real* sums = partial + (task * gridDim.x + blockIdx.x) * P;
    const Index first_tile = blockIdx.x * tiles_per_block;
    for (Index tile = first_tile; tile < first_tile + tiles_per_block; ++tile) {
      if (tile * BLOCK >= d) break;
      const Index j = tile * BLOCK + t;
      const bool active = j < d;  // the last tile's other threads hand in zeros
      real slopes[M] = {}, features_of_g[M] = {};
      if (active) features(in, task, j, features_of_g, slopes);
#pragma unroll
      for (int k = 0; k < M; ++k) in_s[k * STRIDE + t] = features_of_g[k];
#pragma unroll
      for (int v = 0; v < N; ++v)
        in_s[(M + v) * STRIDE + t] = active ? h[(task * N + v) * d + j] : real(0);
      const real y_bar = active ? scale * delta_bar[task * d + j] : real(0);
      y_s[GROUP * STRIDE + t] = y_bar;
      const Column inputs = {in_s + t};
      real in_bar[A] = {};  // cotangents of x and h
#pragma unroll UNITS
      for (int first = 0; first < N; first += GROUP) {
#pragma unroll UNITS
        for (int v = first; v < (first + GROUP < N ? first + GROUP : N); ++v) {
          const Index at = (task * N + v) * d + j;
          const real c_old = active ? c[at] : real(0);
          const Unit s = unit<INPUTS>(W, inputs, v, c_old);
          const real h_v = (active ? h_bar[at] : real(0)) + W.w_o[v] * y_bar;
          real c_v = active ? c_bar[at] : real(0);
          const Quad z_bar = unit_vjp(s, c_old, h_v, c_v);
          if (active) c_old_bar[at] = c_v;
          z_s[(v - first) * STRIDE + t] = z_bar;
          y_s[(v - first) * STRIDE + t] = y_bar * s.o * s.tanh_c;
        }
        __syncthreads();
        add_tile(sums, in_s, z_s, y_s, first, first + GROUP < N ? GROUP : N - first,
                 tile == first_tile);
#pragma unroll UNITS
        for (int v = first; v < (first + GROUP < N ? first + GROUP : N); ++v) {
          const Quad z_bar = z_s[(v - first) * STRIDE + t];
#pragma unroll
          for (int a = 0; a < A; ++a) {
#pragma unroll
            for (int q = 0; q < 4; ++q) in_bar[a] += W.to[v][a].gate[q] * z_bar.gate[q];
          }
        }
        __syncthreads();
      }
      if (!active) continue;
      real g_sum = 0;
#pragma unroll
      for (int k = 0; k < M; ++k) g_sum += in_bar[k] * slopes[k];
      g_bar[task * d + j] = g_sum;
#pragma unroll
      for (int v = 0; v < N; ++v) h_old_bar[(task * N + v) * d + j] = in_bar[M + v];
    }
  }
}

// Φ̄ (tasks, P): the blocks' shares, always added in the same order.
constexpr int SUM_COLUMNS = 32, SUM_ROWS = 16;

extern "C" __global__ void __launch_bounds__(SUM_COLUMNS* SUM_ROWS)
    lft_sum(const real* __restrict__ partial, real* __restrict__ sums, Index tasks, Index blocks) {
  __shared__ real rows[SUM_ROWS][SUM_COLUMNS];
  const int k = blockIdx.x * SUM_COLUMNS + threadIdx.x;
  for (Index task = blockIdx.y; task < tasks; task += gridDim.y) {
    real s = 0;
    if (k < P) {
#pragma unroll 4
      for (Index block = threadIdx.y; block < blocks; block += SUM_ROWS)
        s += partial[(task * blocks + block) * P + k];
    }
    rows[threadIdx.y][threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.y == 0 && k < P) {
      for (int row = 1; row < SUM_ROWS; ++row) s += rows[row][threadIdx.x];
      sums[task * P + k] = s;
    }
    __syncthreads();
  }
}

// Statement 1: lft_ref/ops.py --------------------------------------------------------------------

struct Slopes {                // of one unit at one coordinate
  real c_i, c_f, c_u;          // ∂c⁺/∂z of three gates
  real h_c, h_o;               // ∂h⁺/∂c⁺, and ∂h⁺/∂z of the output gate
  real f, h;                   // ∂c⁺/∂c, and h⁺
  Quad z_g;                    // ∂z/∂g
};

// (8) and (9): G (tasks, d, width) and H (tasks, d, 2n, width) at the next step. A block works on one
// coordinate, a thread on one column of Φ at a time: columns are rows first … last − 1 of (W_x; W_h;
// b), then w_o and b_o if the width says so.
extern "C" __global__ void __launch_bounds__(BLOCK)
    lft_forward(const Phi* __restrict__ phi, const real* __restrict__ g, const real* __restrict__ x,
                const real* __restrict__ slope, real p, real small, real steep, real scale,
                const real* __restrict__ h, const real* __restrict__ c, const real* __restrict__ G,
                const real* __restrict__ G_dot, const real* __restrict__ H,
                real* __restrict__ G_next, real* __restrict__ H_next, Index tasks, Index d,
                int first, int last, int width) {
  __shared__ real in_s[A + 1], slope_s[M];
  __shared__ Slopes slopes_s[N];
  const int t = threadIdx.x, dense = 4 * N * (last - first);
  const Index j = blockIdx.x;
  const Input in = {g, x, slope, p, small, steep, d};
  const Phi& W = weights(phi);
  for (Index task = blockIdx.y; task < tasks; task += gridDim.y) {
    if (t == 0) {
      real features_of_g[M], slopes[M];
      features(in, task, j, features_of_g, slopes);
#pragma unroll
      for (int k = 0; k < M; ++k) in_s[k] = features_of_g[k], slope_s[k] = slopes[k];
      in_s[A] = ONE;
    }
    if (t < N) in_s[M + t] = h[(task * N + t) * d + j];
    __syncthreads();
    if (t < N) {
      const real c_old = c[(task * N + t) * d + j];
      const Unit s = unit<4>(W, in_s, t, c_old);
      Slopes own = {s.u * s.i * (ONE - s.i),
                    c_old * s.f * (ONE - s.f),
                    s.i * (ONE - s.u * s.u),
                    s.o * (ONE - s.tanh_c * s.tanh_c),
                    s.tanh_c * s.o * (ONE - s.o),
                    s.f,
                    s.o * s.tanh_c,
                    {}};
#pragma unroll
      for (int k = 0; k < 4 * M; ++k)
        own.z_g.gate[k % 4] += W.to[t][k / 4].gate[k % 4] * slope_s[k / 4];
      slopes_s[t] = own;
    }
    __syncthreads();
#pragma unroll 1
    for (int column = t; column < width; column += BLOCK) {
      const Index at_G = (task * d + j) * width + column;
      const Index at_H = (task * d + j) * 2 * N * width + column;
      // What this entry of Φ feeds: `input` into one gate of one unit; no gate for w_o and b_o.
      const int gate = column < dense ? column / N % 4 : -1, fed = column % N;
      const real input = column < dense ? in_s[first + column / (4 * N)] : real(0);
      const real g_dot = G_dot[at_G];
      real H_h[N];
#pragma unroll
      for (int v = 0; v < N; ++v) H_h[v] = H[at_H + Index(v) * width];
      real y = column < dense         ? real(0)
               : column < width - 1 ? slopes_s[column - dense].h
                                      : ONE;
#pragma unroll 1
      for (int v = 0; v < N; ++v) {
        const Slopes& s = slopes_s[v];
        real z[4];
#pragma unroll
        for (int q = 0; q < 4; ++q)
          z[q] = s.z_g.gate[q] * g_dot + (v == fed && q == gate ? input : real(0));
#pragma unroll
        for (int k = 0; k < N; ++k) {
#pragma unroll
          for (int q = 0; q < 4; ++q) z[q] += W.to[v][M + k].gate[q] * H_h[k];
        }
        const real c_v =
            s.c_i * z[0] + s.c_f * z[1] + s.c_u * z[2] + s.f * H[at_H + Index(N + v) * width];
        const real h_v = s.h_c * c_v + s.h_o * z[3];
        H_next[at_H + Index(v) * width] = h_v;  // (9)
        H_next[at_H + Index(N + v) * width] = c_v;
        y += W.w_o[v] * h_v;
      }
      G_next[at_G] = G[at_G] - scale * y;  // (8)
    }
    __syncthreads();
  }
}
