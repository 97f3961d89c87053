// The engine room's CUDA kernels as a library for the CPU; see cuda_shim.h.
#include "cuda_shim.h"
#include "preprocess.cu"

extern "C" int shim_launch(const char *name, unsigned x, unsigned y, unsigned z, int in_reverse, void **arguments) {
  backwards = in_reverse;
  const std::string wanted = name;
  const Index grid = {x, y, z};
#define CASE(kernel) if (wanted == #kernel) return launch(kernel, grid, arguments), 1;
  CASE(prepare_working) CASE(prepare_rgb) CASE(prepare_flow)
  return 0;
}
