// The arithmetic of TV-L1 optical flow per pixel: one source for the CPU and for CUDA, which agree bit for bit.
//
// Zach, Pock and Bischof 2007, with the discretisation of OpenCV's DualTVL1OpticalFlow. Everything here is IEEE float32
// add, subtract, multiply, divide, square root, floor, compare, in a written order. Compile without contraction into
// fused multiply-add (g++ -ffp-contract=off; nvcc --fmad=false) and with exact division and square root.
//
// What callers agree on beside this file ("toolkit TV-L1, revision 1"):
// - Images are grey levels 0..255 as float. Level s of the pyramid is level s-1 resized bilinearly, its sides
//   rint(side * scale_step); a level with a side under 16 px ends it.
// - Coarse to fine: flow starts at zero, is resized bilinearly to the next level and multiplied by 1 / scale_step. The
//   dual variables p start at zero on each level and are kept over its warps.
// - A warp samples the second image and its centred differences at x + u (bicubic, zero outside the image) and sets
//   grad, rho; then up to outer_iterations rounds of: median of u and v (edges repeated), up to inner_iterations
//   iterations of primal and dual update.
// - The stopping test comes after each group of TVL1_GROUP iterations (a round's last group may be smaller) and looks at
//   the group's last iteration: it holds when the sum of tvl1_update_units over the image is at most
//   TVL1_UNITS * width * height. It ends the round and the warp. Integers make the sum independent of its order.
#ifndef TOOLKIT_TVL1_PIXEL_H
#define TOOLKIT_TVL1_PIXEL_H

#ifdef __CUDACC__
#define TVL1_INLINE static __device__ __forceinline__
#define TVL1_SQRT(x) __fsqrt_rn(x)
#define TVL1_UNROLL _Pragma("unroll")
#else
#include <math.h>
#define TVL1_INLINE static inline __attribute__((always_inline))
#define TVL1_SQRT(x) sqrtf(x)
#define TVL1_UNROLL _Pragma("GCC unroll 32")
#endif

enum { TVL1_GROUP = 5, TVL1_UNITS = 256, TVL1_MAX_UNITS = 1 << 23, TVL1_MIN_SIDE = 16 };
// Samples lie at most so far outside the image; a wider border of zeros than this plus two is never read.
enum { TVL1_OUTSIDE = 4, TVL1_BORDER = TVL1_OUTSIDE + 2 };

template <class T> TVL1_INLINE T tvl1_min(T a, T b) { return a < b ? a : b; }
template <class T> TVL1_INLINE T tvl1_max(T a, T b) { return a > b ? a : b; }

TVL1_INLINE int tvl1_floor(float x) {
  const int truncated = (int)x;
  return truncated - ((float)truncated > x);
}

// Bilinear resize: source index and the weight of its right (lower) neighbour; `ratio` is source over target size.
TVL1_INLINE void tvl1_resize_at(int target, float ratio, int source_size, int *index, float *weight) {
  const float at = ((float)target + 0.5f) * ratio - 0.5f;
  int i = tvl1_floor(at);
  float f = at - (float)i;
  if (i < 0) { i = 0; f = 0.0f; }
  if (i >= source_size - 1) { i = source_size - 2; f = 1.0f; }
  *index = i;
  *weight = f;
}
TVL1_INLINE float tvl1_between(float a, float b, float weight) { return a * (1.0f - weight) + b * weight; }

TVL1_INLINE float tvl1_centred(float before, float after) { return 0.5f * (after - before); }

// Where a warp samples: whole pixel and the four bicubic weights (a = -0.75) of the pixels from one before it on.
TVL1_INLINE int tvl1_sample_at(int pixel, float flow, int size, float weights[4]) {
  float at = (float)pixel + flow;
  at = tvl1_min(tvl1_max(at, (float)-TVL1_OUTSIDE), (float)(size - 1 + TVL1_OUTSIDE));
  const int whole = tvl1_floor(at);
  const float t = at - (float)whole, s = 1.0f - t, t1 = t + 1.0f, a = -0.75f;
  weights[0] = ((a * t1 - 5.0f * a) * t1 + 8.0f * a) * t1 - 4.0f * a;
  weights[1] = ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f;
  weights[2] = ((a + 2.0f) * s - (a + 3.0f)) * s * s + 1.0f;
  weights[3] = 1.0f - weights[0] - weights[1] - weights[2];
  return whole;
}
// Weighted sum of four rows of neighbours, and then of four columns of those sums, in this order.
template <class T> TVL1_INLINE T tvl1_cubic_down(T p0, T p1, T p2, T p3, const float w[4]) {
  return (p0 * w[0] + p1 * w[1]) + (p2 * w[2] + p3 * w[3]);
}
TVL1_INLINE float tvl1_cubic_across(float p0, float p1, float p2, float p3, const float w[4]) {
  return (p0 * w[0] + p2 * w[2]) + (p1 * w[1] + p3 * w[3]);
}

// One over the squared gradient, and the residual at zero flow (rho of eq. 9 without its linear part).
TVL1_INLINE float tvl1_inverse_gradient(float wx, float wy) {
  const float squared = wx * wx + wy * wy, least = 1.1920929e-07f;
  return 1.0f / tvl1_max(squared, least);
}
TVL1_INLINE float tvl1_rho0(float warped, float wx, float wy, float u, float v, float first) {
  return ((warped - wx * u) - wy * v) - first;
}

// Thresholding step (eq. 15) as a clamp: the multiple of the gradient that is added to the flow.
TVL1_INLINE float tvl1_threshold(float wx, float wy, float inverse, float rho0, float u, float v, float lambda_theta) {
  const float rho = rho0 + (wx * u + wy * v);
  return tvl1_min(tvl1_max(-(rho * inverse), -lambda_theta), lambda_theta);
}
// Primal update: thresholding plus theta times the divergence (backward differences; p is zero before the image).
TVL1_INLINE float tvl1_primal(float u, float step, float w, float theta, float px, float px_left, float py, float py_up) {
  return (u + step * w) + theta * ((px - px_left) + (py - py_up));
}
// Dual update (eq. 14), one over its denominator; differences are forward, zero at the last column and row.
TVL1_INLINE float tvl1_shrink(float du_dx, float du_dy, float tau_theta) {
  return 1.0f / (1.0f + tau_theta * TVL1_SQRT(du_dx * du_dx + du_dy * du_dy));
}
TVL1_INLINE float tvl1_dual(float p, float du, float tau_theta, float shrink) { return (p + tau_theta * du) * shrink; }

// Squared update of a pixel in whole units of epsilon^2 / TVL1_UNITS; `scale` is TVL1_UNITS / epsilon^2.
TVL1_INLINE int tvl1_update_units(float du, float dv, float scale) {
  return (int)(tvl1_min((du * du + dv * dv) * scale, (float)TVL1_MAX_UNITS) + 0.5f);
}

// Medians by exchanges; `v` is destroyed. T is float, or a vector of floats.
template <class T> TVL1_INLINE void tvl1_exchange(T &a, T &b) {
  const T low = tvl1_min(a, b);
  b = tvl1_max(a, b);
  a = low;
}
// Median of COUNT values: of any COUNT / 2 + 2 of them neither the least nor the greatest can be it, so both give way to
// the next value, until three are left.
template <int COUNT, class T> TVL1_INLINE T tvl1_median(T *v) {
  int first = 0, last = COUNT / 2 + 1;
TVL1_UNROLL
  for (int next = COUNT / 2 + 2; next <= COUNT; next++) {
    // Each value meets its mirror image, so that the least lies in the first half and the greatest in the second.
TVL1_UNROLL
    for (int i = first, j = last; i < j; i++, j--) tvl1_exchange(v[i], v[j]);
TVL1_UNROLL
    for (int i = first + 1; i <= (first + last) / 2; i++) tvl1_exchange(v[first], v[i]);
TVL1_UNROLL
    for (int i = (first + last + 1) / 2; i < last; i++) tvl1_exchange(v[i], v[last]);
    first++;
    if (next < COUNT) v[last] = v[next]; else last--;
  }
  return v[first];
}
template <class T> TVL1_INLINE void tvl1_sort5(T *v) {
#define TVL1_X(i, j) tvl1_exchange(v[i], v[j])
  TVL1_X(0, 1); TVL1_X(3, 4); TVL1_X(2, 4); TVL1_X(2, 3); TVL1_X(1, 4); TVL1_X(0, 3); TVL1_X(0, 2); TVL1_X(1, 3); TVL1_X(1, 2);
#undef TVL1_X
}
// Median of 5 x 5 values whose columns are sorted, without looking at all of them: with the rows sorted too, the value in
// row i and column j (from 1) has i j values that it bounds from above and (6 - i)(6 - j) from below; neither may exceed
// 13, which leaves 13 candidates, and as many values dropped below as above. Call this for each row (from 0), then take
// tvl1_median<13> of the candidates.
template <int ROW, class T> TVL1_INLINE void tvl1_candidates(T *v, T *candidates) {
  tvl1_sort5(v);
  const int at[5] = {0, 2, 5, 8, 11}, from[5] = {3, 2, 1, 0, 0}, to[5] = {5, 5, 4, 3, 2};
TVL1_UNROLL
  for (int j = from[ROW]; j < to[ROW]; j++) candidates[at[ROW] + j - from[ROW]] = v[j];
}
#endif
