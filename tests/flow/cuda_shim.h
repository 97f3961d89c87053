// A CPU that takes our kernels for its own: blocks run one after another, and the threads of a block one after another from
// barrier to barrier, forwards or backwards. Forwards and backwards must agree to the bit, or a barrier is missing.
#pragma once
#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

struct Index { unsigned x, y, z; };
static Index blockIdx, gridDim;
static bool backwards;

static int atomicAdd(int *at, int value) { const int before = *at; *at += value; return before; }
static unsigned long long atomicAdd(unsigned long long *at, unsigned long long value) {
  const unsigned long long before = *at;
  *at += value;
  return before;
}

#define KERNEL static void
#define SHARED static
#define PER_THREAD(type, name, count) static type name[THREADS_PER_BLOCK][count]
#define OF(name, thread, i) name[thread][i]
#define THREADS                                                                    \
  for (int nth = 0; nth < THREADS_PER_BLOCK; nth++) {                         \
    const int thread = backwards ? THREADS_PER_BLOCK - 1 - nth : nth;
#define BARRIER }
#define FENCE()

template <class... Arguments, size_t... I>
static void launch(void (*kernel)(Arguments...), Index grid, void **arguments, std::index_sequence<I...>) {
  gridDim = grid;
  const unsigned blocks = grid.x * grid.y * grid.z;
  for (unsigned nth = 0; nth < blocks; nth++) {
    const unsigned block = backwards ? blocks - 1 - nth : nth;
    blockIdx = {block % grid.x, block / grid.x % grid.y, block / (grid.x * grid.y)};
    kernel(*static_cast<std::remove_reference_t<Arguments> *>(arguments[I])...);
  }
}
template <class... Arguments> static void launch(void (*kernel)(Arguments...), Index grid, void **arguments) {
  launch(kernel, grid, arguments, std::index_sequence_for<Arguments...>{});
}
