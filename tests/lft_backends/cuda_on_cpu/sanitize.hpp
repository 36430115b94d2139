// What the programs for the sanitizers share: arrays of exactly the size that kernels may touch.
#pragma once
#include "entry.cpp"

#include <vector>

namespace {

std::vector<real> random(size_t size) {
  static unsigned seed = 1;
  std::vector<real> numbers(size);
  for (auto& x : numbers) {
    seed = seed * 1664525u + 1013904223u;
    x = real(seed >> 8) / real(1 << 23) - 1;
  }
  return numbers;
}

struct Arguments {
  std::vector<void*> pointers;
  template <class... Types>
  explicit Arguments(Types&... values) : pointers{static_cast<void*>(&values)...} {}
};

}  // namespace
