// The CUDA kernels as a library for the CPU; see cuda_shim.h.
#include "cuda_shim.h"
#include "tvl1.cu"

// Arguments come as for cuLaunchKernel: a pointer to each value. Returns 0 if there is no such kernel.
extern "C" int shim_launch(const char *name, unsigned x, unsigned y, unsigned z, int in_reverse, void **arguments) {
  backwards = in_reverse;
  const std::string wanted = name;
  const Index grid = {x, y, z};
#define CASE(kernel) if (wanted == #kernel) return launch(kernel, grid, arguments), 1;
  CASE(tvl1_begin) CASE(tvl1_load) CASE(tvl1_shrink_images) CASE(tvl1_start_level) CASE(tvl1_warp) CASE(tvl1_end_warp)
  CASE(tvl1_filter) CASE(tvl1_iterate) CASE(tvl1_finish)
  return 0;
}
