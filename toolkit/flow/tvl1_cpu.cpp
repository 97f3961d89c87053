// TV-L1 optical flow on one core; see tvl1_pixel.h for the algorithm. A plain C interface, loaded with ctypes.
//
// Nothing is allocated per pair: a solver holds the pyramids of two successive frames, and the older gives way.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "tvl1_pixel.h"

namespace {

constexpr int MAX_SIDE = 4096, MAX_LEVELS = 16, LEFT = 8, RIGHT = 16;

// A plane of floats with a row of zeros above it and columns beside it, all of which stay as they were made unless a row
// function says otherwise.
struct Plane {
  int width = 0, height = 0, pitch = 0;
  std::vector<float> values;
  void create(int w, int h) {
    width = w;
    height = h;
    pitch = LEFT + (w + 7) / 8 * 8 + RIGHT;
    values.assign((size_t)pitch * (h + 1), 0.0f);
  }
  void clear() { std::fill(values.begin(), values.end(), 0.0f); }
  float *row(int y) { return values.data() + (ptrdiff_t)pitch * (y + 1) + LEFT; }
  const float *row(int y) const { return values.data() + (ptrdiff_t)pitch * (y + 1) + LEFT; }
};

// Where a row is sampled: offsets into the interleaved samples and bicubic weights, and what was found there.
struct Samples {
  int offset[MAX_SIDE];
  float a0[MAX_SIDE], a1[MAX_SIDE], a2[MAX_SIDE], a3[MAX_SIDE], d0[MAX_SIDE], d1[MAX_SIDE], d2[MAX_SIDE], d3[MAX_SIDE];
  float sample[4 * MAX_SIDE];
};

struct Level {
  Plane first, second, u, v, wx, wy, inverse, rho0, ux, uy, vx, vy, spare;
  std::vector<float> samples, lines;
  int sample_pitch = 0;
  Samples samples_at;
  void create(int w, int h) {
    for (Plane *plane : {&first, &second, &u, &v, &wx, &wy, &inverse, &rho0, &ux, &uy, &vx, &vy, &spare}) plane->create(w, h);
    sample_pitch = w + 2 * TVL1_BORDER;
    samples.assign((size_t)4 * sample_pitch * (h + 2 * TVL1_BORDER), 0.0f);
    lines.assign((size_t)5 * u.pitch, 0.0f);
  }
  float *sample(int x, int y) {
    return samples.data() + 4 * ((ptrdiff_t)sample_pitch * (y + TVL1_BORDER) + x + TVL1_BORDER);
  }
};

struct Constants {
  float lambda_theta, tau_theta, theta, unit_scale;
};

}  // namespace

extern "C" {
struct Tvl1Parameters {
  float tau, lambda, theta, scale_step, epsilon;
  int scales, warps, inner_iterations, outer_iterations, median;
};
struct Tvl1Counts {
  int64_t iterations, medians, pixel_iterations;
};
}

#define TVL1_ISA baseline
#define TVL1_TARGET
#include "tvl1_cpu_level.inc"
#undef TVL1_ISA
#undef TVL1_TARGET
#if defined(__x86_64__)
#define TVL1_ISA avx2
#define TVL1_TARGET __attribute__((target("avx2")))
#include "tvl1_cpu_level.inc"
#undef TVL1_ISA
#undef TVL1_TARGET
#endif

struct Tvl1 {
  Tvl1Parameters parameters;
  Constants constants;
  int level_count, use_avx2;
  Level levels[MAX_LEVELS];
  Tvl1Counts counts;
};

#if defined(__x86_64__)
#define TVL1_CALL(solver, call) ((solver)->use_avx2 ? avx2::call : baseline::call)
#else
#define TVL1_CALL(solver, call) (baseline::call)
#endif

extern "C" {

int tvl1_has_avx2(void) {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") ? 1 : 0;
#else
  return 0;
#endif
}

// Returns null when memory is short or a side is out of range.
Tvl1 *tvl1_create(int width, int height, const Tvl1Parameters *p, int use_avx2) try {
  if (width < TVL1_MIN_SIDE || height < TVL1_MIN_SIDE || width > MAX_SIDE || height > MAX_SIDE) return nullptr;
  Tvl1 *solver = new Tvl1();
  solver->parameters = *p;
  solver->use_avx2 = use_avx2 && tvl1_has_avx2();
  solver->constants = {p->lambda * p->theta, p->tau / p->theta, p->theta, (float)TVL1_UNITS / (p->epsilon * p->epsilon)};
  int w = width, h = height, n = 0;
  while (n < p->scales && n < MAX_LEVELS && w >= TVL1_MIN_SIDE && h >= TVL1_MIN_SIDE) {
    solver->levels[n++].create(w, h);
    w = (int)lrint((double)w * (double)p->scale_step);
    h = (int)lrint((double)h * (double)p->scale_step);
  }
  solver->level_count = n;
  return solver;
} catch (const std::bad_alloc &) {
  return nullptr;
}

void tvl1_destroy(Tvl1 *solver) { delete solver; }

// The newest frame becomes the earlier one; `image`, height x width grey levels in rows `stride` bytes apart, the newest.
void tvl1_push(Tvl1 *solver, const uint8_t *image, int64_t stride) {
  const float ratio = 1.0f / solver->parameters.scale_step;
  for (int s = 0; s < solver->level_count; s++) {
    Level &level = solver->levels[s];
    std::swap(level.first, level.second);
    if (s > 0) {
      TVL1_CALL(solver, resize)(solver->levels[s - 1].second, level.second, ratio, ratio, 1.0f);
      continue;
    }
    for (int y = 0; y < level.second.height; y++) {
      float *row = level.second.row(y);
      for (int x = 0; x < level.second.width; x++) row[x] = (float)image[y * stride + x];
    }
  }
}

// Flow from the earlier to the newest frame into `flow`, height x width x (x, y) px.
void tvl1_solve(Tvl1 *solver, float *flow) {
  const Tvl1Parameters &p = solver->parameters;
  solver->counts = {0, 0, 0};
  for (int s = solver->level_count - 1; s >= 0; s--) {
    Level &level = solver->levels[s];
    if (s == solver->level_count - 1) {
      level.u.clear();
      level.v.clear();
    } else {
      const Level &coarser = solver->levels[s + 1];
      const float ratio_x = (float)coarser.u.width / (float)level.u.width;
      const float ratio_y = (float)coarser.u.height / (float)level.u.height;
      TVL1_CALL(solver, resize)(coarser.u, level.u, ratio_x, ratio_y, 1.0f / p.scale_step);
      TVL1_CALL(solver, resize)(coarser.v, level.v, ratio_x, ratio_y, 1.0f / p.scale_step);
    }
    TVL1_CALL(solver, solve_level)(level, p, solver->constants, solver->counts);
  }
  const Level &finest = solver->levels[0];
  for (int y = 0; y < finest.u.height; y++) {
    const float *u = finest.u.row(y), *v = finest.v.row(y);
    float *out = flow + (size_t)2 * y * finest.u.width;
    for (int x = 0; x < finest.u.width; x++) {
      out[2 * x] = u[x];
      out[2 * x + 1] = v[x];
    }
  }
}

Tvl1Counts tvl1_counts(const Tvl1 *solver) { return solver->counts; }

}  // extern "C"
