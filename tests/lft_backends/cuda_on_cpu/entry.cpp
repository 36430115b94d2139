// The kernels of one CUDA source as a shared library that is called the way a CUDA driver calls
// kernels: by name, with an array of pointers to the arguments.
#include <type_traits>
#include <utility>

#include "shim.hpp"

// Which of the mistakes planted in the source is made; none.
extern "C" int shim_mistake;
int shim_mistake = 0;

#include LFT_SOURCE

namespace {

template <class T>
char code() {
  if (std::is_pointer_v<T>) return 'P';
  if (std::is_same_v<T, float>) return 'f';
  if (std::is_same_v<T, double>) return 'd';
  if (std::is_same_v<T, int>) return 'i';
  return std::is_same_v<T, long long> ? 'q' : '?';
}

template <class... Types>
void signature(void (*)(Types...), char* letters) {
  const char codes[] = {code<Types>()..., 0};
  std::memcpy(letters, codes, sizeof(codes));
}

template <class... Types>
struct Bound {
  void (*kernel)(Types...);
  void** arguments;
  template <size_t... I>
  void call(std::index_sequence<I...>) const {
    kernel(*static_cast<Types*>(arguments[I])...);
  }
  static void run(const void* self) {
    static_cast<const Bound*>(self)->call(std::index_sequence_for<Types...>());
  }
};

template <class... Types>
void launch(void (*kernel)(Types...), void** arguments, Dim grid, Dim block, bool backwards) {
  const Bound<Types...> bound = {kernel, arguments};
  shim::launch({Bound<Types...>::run, &bound}, grid, block, backwards);
}

template <class Use>
bool with_kernel(const char* name, Use use) {
#define LFT_KERNEL(kernel) \
  if (!std::strcmp(name, #kernel)) return use(kernel), true;
#ifdef LFT_WIDTHS  // mlp.cu
  LFT_KERNEL(lft_mlp_forwards)
  LFT_KERNEL(lft_mlp_backwards)
  LFT_KERNEL(lft_mlp_forwards_dot)
  LFT_KERNEL(lft_mlp_backwards_dot)
#else  // lstm.cu
  LFT_KERNEL(lft_pack)
  LFT_KERNEL(lft_step)
  LFT_KERNEL(lft_vjp)
  LFT_KERNEL(lft_sum)
  LFT_KERNEL(lft_forward)
#endif
  return false;
}

}  // namespace

// One letter for each argument: as in Python's struct module, and P for a pointer.
extern "C" bool shim_signature(const char* name, char* letters) {
  return with_kernel(name, [=](auto* kernel) { signature(kernel, letters); });
}

extern "C" bool shim_launch(const char* name, void** arguments, const unsigned* grid,
                            const unsigned* block, bool backwards) {
  return with_kernel(name, [=](auto* kernel) {
    launch(kernel, arguments, {grid[0], grid[1]}, {block[0], block[1]}, backwards);
  });
}

// Where constant memory lies, and its size; null where Φ does not fit into it.
extern "C" void* shim_constant(size_t* bytes) {
#if LFT_CONSTANT
  *bytes = sizeof(lft_phi);
  return &lft_phi;
#else
  *bytes = 0;
  return nullptr;
#endif
}
