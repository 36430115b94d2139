// What the kernels need of CUDA, on a CPU: included before it by g++ (-include shim.hpp).
//
// The threads of a block are fibres on one core, or, with LFT_THREADS, real threads for the thread
// sanitizer. __syncthreads lets all threads of the block come to the same point. Blocks run one after
// the other; shared memory is filled with NaN before each, so that nothing is inherited unnoticed.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#ifdef LFT_THREADS
#include <barrier>
#include <memory>
#include <thread>
#include <vector>
#define LFT_OWN thread_local
#else
#include <ucontext.h>
#define LFT_OWN
#endif

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};
inline LFT_OWN Dim threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __constant__
#define __launch_bounds__(...)
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static  // red zones lie around ordinary variables only
#else
#define __shared__ static __attribute__((section("lft_shared")))
// Weak: a source without shared memory has no such section.
extern "C" __attribute__((visibility("hidden"), weak)) char __start_lft_shared[];
extern "C" __attribute__((visibility("hidden"), weak)) char __stop_lft_shared[];
#endif

using std::fabs;
using std::log;
using std::tanh;

namespace shim {

struct Call {  // a kernel with its arguments
  void (*run)(const void*);
  const void* what;
};

inline Dim thread_of(unsigned i, Dim block) { return {i % block.x, i / block.x, 0}; }

inline void poison_shared_memory() {
#ifndef __SANITIZE_ADDRESS__
  if (__start_lft_shared != nullptr)
    std::memset(__start_lft_shared, 0xff, __stop_lft_shared - __start_lft_shared);
#endif
}

#ifdef LFT_THREADS

inline std::unique_ptr<std::barrier<>> all_threads;
inline void synchronize() { all_threads->arrive_and_wait(); }

inline void run_block(Call kernel, Dim grid, Dim block, Dim at, bool) {
  const unsigned threads = block.x * block.y;
  all_threads = std::make_unique<std::barrier<>>(threads);
  std::vector<std::thread> running;
  for (unsigned i = 0; i < threads; ++i)
    running.emplace_back([&, i] {
      gridDim = grid, blockDim = block, blockIdx = at, threadIdx = thread_of(i, block);
      kernel.run(kernel.what);
      all_threads->arrive_and_drop();
    });
  for (auto& thread : running) thread.join();
}

#else

constexpr size_t STACK = 64 * 1024, MOST_THREADS = 1024;
struct Fibre {
  ucontext_t context;
  bool done, waiting;
};
inline Fibre fibres[MOST_THREADS];
inline char stacks[MOST_THREADS][STACK];
inline ucontext_t scheduler;
inline unsigned current;
inline Call body;

inline void start() {
  body.run(body.what);
  fibres[current].done = true;
  swapcontext(&fibres[current].context, &scheduler);
}

inline void synchronize() {
  fibres[current].waiting = true;
  swapcontext(&fibres[current].context, &scheduler);
}

inline void run_block(Call kernel, Dim grid, Dim block, Dim at,
                      bool backwards) {
  const unsigned threads = block.x * block.y;
  gridDim = grid, blockDim = block, blockIdx = at, body = kernel;
  for (unsigned i = 0; i < threads; ++i) {
    fibres[i].done = false;
    getcontext(&fibres[i].context);
    fibres[i].context.uc_stack.ss_sp = stacks[i];
    fibres[i].context.uc_stack.ss_size = STACK;
    fibres[i].context.uc_link = nullptr;
    makecontext(&fibres[i].context, start, 0);
  }
  for (unsigned left = threads; left > 0;) {
    unsigned waiting = 0;
    for (unsigned k = 0; k < threads; ++k) {
      current = backwards ? threads - 1 - k : k;
      if (fibres[current].done) continue;
      fibres[current].waiting = false;
      threadIdx = thread_of(current, block);
      swapcontext(&scheduler, &fibres[current].context);
      left -= fibres[current].done;
      waiting += fibres[current].waiting;
    }
    if (waiting != left || (waiting != 0 && left != threads)) {
      std::fprintf(stderr, "shim: only %u of %u threads came to __syncthreads\n", waiting, threads);
      std::abort();
    }
  }
}

#endif

inline void launch(Call kernel, Dim grid, Dim block, bool backwards) {
  for (unsigned y = 0; y < grid.y; ++y)
    for (unsigned x = 0; x < grid.x; ++x) {
      poison_shared_memory();
      run_block(kernel, grid, block, {backwards ? grid.x - 1 - x : x, y, 0}, backwards);
    }
}

}  // namespace shim

inline void __syncthreads() { shim::synchronize(); }
