// A program for the sanitizers: every kernel of mlp.cu once, on arrays of exactly the size that it
// may touch.
#include "sanitize.hpp"

int main(int, char** argv) {  // tasks, N, backwards, mistake
  const Index tasks = std::atoi(argv[1]);
  int N = std::atoi(argv[2]);
  const bool backwards_order = std::atoi(argv[3]) != 0;
  shim_mistake = std::atoi(argv[4]);
  Index x_tasks = tasks > 1 ? tasks / 2 : 1;  // tasks share examples
  const size_t rows = tasks * N, inside = rows * Layer<LAYERS - 1>::BEFORE;
  auto x = random(x_tasks * N * WIDTH[0]), theta = random(tasks * SIZE), theta_dot = theta;
  auto theta_bar = theta, theta_bar_dot = theta, hidden = random(inside), hidden_dot = hidden;
  auto y = random(rows * WIDTH[LAYERS]), y_dot = y, y_bar = y, y_bar_dot = y;
  auto room = random(2 * rows * WIDEST), twice = random(4 * rows * WIDEST);
  real *a0 = theta.data(), *a1 = x.data(), *a2 = hidden.data(), *a3 = y.data();
  real *a4 = y_bar.data(), *a5 = room.data(), *a6 = theta_bar.data(), *a7 = theta_dot.data();
  real *a8 = hidden_dot.data(), *a9 = y_dot.data(), *b0 = y_bar_dot.data();
  real *b1 = twice.data(), *b2 = theta_bar_dot.data();

  auto run = [&](const char* name, Arguments arguments) {
    const unsigned grid[2] = {unsigned(tasks), 1}, block[2] = {BLOCK, 1};
    if (!shim_launch(name, arguments.pointers.data(), grid, block, backwards_order)) std::abort();
  };
  run("lft_mlp_forwards", Arguments(a0, a1, a2, a3, x_tasks, N));
  run("lft_mlp_backwards", Arguments(a0, a1, a2, a4, a5, a6, x_tasks, N));
  run("lft_mlp_forwards_dot", Arguments(a0, a1, a2, a7, a8, a9, x_tasks, N));
  run("lft_mlp_backwards_dot", Arguments(a0, a1, a2, a4, a7, a8, b0, b1, b2, x_tasks, N));
  std::puts("done");
}
