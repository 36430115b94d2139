// A program for the sanitizers: every kernel of lstm.cu once, on arrays of exactly the size that it may touch.
#include "sanitize.hpp"

int main(int, char** argv) {  // tasks, d, backwards, mistake
  const Index tasks = std::atoi(argv[1]), d = std::atoi(argv[2]);
  const bool backwards = std::atoi(argv[3]) != 0;
  shim_mistake = std::atoi(argv[4]);
  const Index tiles = (d + BLOCK - 1) / BLOCK, per_block = 2, blocks = (tiles + 1) / 2;
  const int first = 1, last = A, width = 4 * N * (last - first) + N + 1;
  auto W_x = random(4 * N * M), W_h = random(4 * N * N), b = random(4 * N), w_o = random(N);
  auto b_o = random(1), g = random(tasks * d), x = random(tasks * d * M), slope = x;
  auto h = random(tasks * d * N), c = h, h_bar = h, c_bar = h, delta_bar = g;
  auto delta = g, h_new = h, c_new = h, g_bar = g, h_old = h, c_old = h;
  auto partial = random(tasks * blocks * P), sums = random(tasks * P);
  auto G = random(tasks * d * width), G_dot = G, G_next = G;
  auto H = random(tasks * d * 2 * N * width), H_next = H;
  std::vector<Phi> packed(1);
  real p = 10, small = real(4.5e-5), steep = 22026, scale = real(0.1);
  auto at = [](auto& v) { return v.data(); };
  real *a0 = at(W_x), *a1 = at(W_h), *a2 = at(b), *a3 = at(w_o), *a4 = at(b_o);
  real *a5 = at(g), *a6 = at(x), *a7 = at(slope), *a8 = at(h), *a9 = at(c), *b0 = at(delta);
  real *b1 = at(h_new), *b2 = at(c_new), *b3 = at(delta_bar), *b4 = at(h_bar), *b5 = at(c_bar);
  real *b6 = at(g_bar), *b7 = at(h_old), *b8 = at(c_old), *b9 = at(partial), *c0 = at(sums);
  real *c1 = at(G), *c2 = at(G_dot), *c3 = at(H), *c4 = at(G_next), *c5 = at(H_next);
  Phi* phi = packed.data();
  Index n_tasks = tasks, n_d = d, n_tiles = per_block, n_blocks = blocks;
  int n_first = first, n_last = last, n_width = width;

  auto run = [&](const char* name, unsigned x_blocks, unsigned bx, unsigned by, Arguments arguments) {
    // One row of blocks, so that each has several tasks: what they share must be free again.
    const unsigned grid[2] = {x_blocks, 1}, block[2] = {bx, by};
    if (!shim_launch(name, arguments.pointers.data(), grid, block, backwards)) std::abort();
  };
  const unsigned grid[2] = {(P + 127) / 128, 1}, block[2] = {128, 1};
  Arguments pack(a0, a1, a2, a3, a4, phi);
  if (!shim_launch("lft_pack", pack.pointers.data(), grid, block, backwards)) std::abort();
#if LFT_CONSTANT
  lft_phi = packed[0];
#endif
  run("lft_step", tiles, BLOCK, 1,
      Arguments(phi, a5, a6, a7, p, small, steep, scale, a8, a9, b0, b1, b2, n_tasks, n_d));
  run("lft_vjp", blocks, BLOCK, 1,
      Arguments(phi, a5, a6, a7, p, small, steep, scale, a8, a9, b3, b4, b5, b6, b7, b8, b9, n_tasks,
                n_d, n_tiles));
#ifdef LFT_THREADS  // blocks share nothing: one or two show what many would
  const unsigned columns = 1, coordinates = 2;
#else
  const unsigned columns = (P + SUM_COLUMNS - 1) / SUM_COLUMNS, coordinates = d;
#endif
  run("lft_sum", columns, SUM_COLUMNS, SUM_ROWS,
      Arguments(b9, c0, n_tasks, n_blocks));
  run("lft_forward", coordinates, BLOCK, 1,
      Arguments(phi, a5, a6, a7, p, small, steep, scale, a8, a9, c1, c2, c3, c4, c5, n_tasks, n_d,
                n_first, n_last, n_width));
  std::puts("done");
}
