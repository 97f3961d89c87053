// What networks and flow see of a captured frame, on the device: toolkit/preprocess.py and the quantisation of
// toolkit/flow/encoding.py, to the bit of what OpenCV computes there on x86-64 (resampling.py says how). Compile without
// contraction into fused multiply-add, as tvl1.cu. Written as cuda_kernel.h says; one thread makes one pixel.
#include "cuda_kernel.h"
#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#else
#include <math.h>
#define DEVICE static inline
#endif

// `Resampling.arithmetic`.
enum { LINEAR, AREA, BOX, HALVE };

// A source pixel of a target pixel, on one axis.
struct Tap {
  int index;
  float weight;
};

// Taps of each of `columns` and then of each row.
struct Taps {
  const Tap *all;
  int columns, across, down;
};
DEVICE const Tap *taps_across(Taps taps, int column) { return taps.all + column * taps.across; }
DEVICE const Tap *taps_down(Taps taps, int row) { return taps.all + taps.columns * taps.across + row * taps.down; }

// (height, width, 3) grey levels at (left, top) of a black picture.
struct Picture {
  const unsigned char *pixels;
  int width, height, left, top, infrared;
};

DEVICE int bt601(int red, int green, int blue) { return (9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15; }

DEVICE int level(Picture picture, int x, int y, int channel) {
  x -= picture.left;
  y -= picture.top;
  if (x < 0 || x >= picture.width || y < 0 || y >= picture.height) return 0;
  const unsigned char *pixel = picture.pixels + 3 * ((long long)y * picture.width + x);
  return picture.infrared ? bt601(pixel[0], pixel[1], pixel[2]) : pixel[channel];
}

DEVICE int clipped(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

DEVICE int resampled_level(Picture picture, Taps taps, int arithmetic, float factor, int column, int row, int channel) {
  const Tap *across = taps_across(taps, column), *down = taps_down(taps, row);
  if (arithmetic == LINEAR) {
    int sum = 2;
    for (int j = 0; j < 2; j++) {
      int line = 0;
      for (int i = 0; i < 2; i++) line += level(picture, across[i].index, down[j].index, channel) * (int)across[i].weight;
      sum += ((int)down[j].weight * (line >> 4)) >> 16;
    }
    return clipped(sum >> 2);
  }
  float sum = 0.0f;
  for (int j = 0; j < taps.down; j++) {
    float line = 0.0f;
    for (int i = 0; i < taps.across; i++)
      line += (float)level(picture, across[i].index, down[j].index, channel) * across[i].weight;
    sum += line * down[j].weight;
  }
  if (arithmetic == HALVE) return ((int)sum + 2) >> 2;
  return clipped((int)rintf(arithmetic == BOX ? sum * factor : sum));
}

// A region of a captured frame as the (rows, columns, 3) working frame and its grey image.
KERNEL prepare_working(const unsigned char *region, int width, int height, int left, int top, int infrared, const Tap *taps,
                       int arithmetic, int across, int down, float factor, unsigned char *working, unsigned char *grey,
                       int columns, int rows) {
  const Picture picture = {region, width, height, left, top, infrared};
  const Taps all = {taps, columns, across, down};
  THREADS
    const int at = (int)blockIdx.x * THREADS_PER_BLOCK + thread;
    if (at < columns * rows) {
      int colour[3];
      for (int c = 0; c < 3; c++)
        colour[c] = c && infrared ? colour[0] : resampled_level(picture, all, arithmetic, factor, at % columns, at / columns, c);
      for (int c = 0; c < 3; c++) working[3 * (long long)at + c] = (unsigned char)colour[c];
      grey[at] = (unsigned char)bt601(colour[0], colour[1], colour[2]);
    }
  BARRIER
}

// `value` times `scale` plus `offset`, to `count` slots of `size` floats, `step` slots apart.
DEVICE void store(float *slot, int size, int step, int count, float value, float scale, float offset) {
  value *= scale;
  if (offset != 0.0f) value += offset;
  for (int i = 0; i < count; i++) slot[(long long)i * step * size] = value;
}

// The (height, width, 3) working frame as (3, side, side) in slots of the ring from `first` on.
KERNEL prepare_rgb(const unsigned char *working, int width, int height, const Tap *taps, int arithmetic, int across, int down,
                   float factor, float *ring, int side, int first, int step, int count, float scale_r, float scale_g,
                   float scale_b, float offset_r, float offset_g, float offset_b) {
  const Picture picture = {working, width, height, 0, 0, 0};
  const Taps all = {taps, side, across, down};
  const float scale[3] = {scale_r, scale_g, scale_b}, offset[3] = {offset_r, offset_g, offset_b};
  THREADS
    const int at = (int)blockIdx.x * THREADS_PER_BLOCK + thread, plane = side * side;
    if (at < plane)
#pragma unroll
      for (int c = 0; c < 3; c++) {
        const int value = resampled_level(picture, all, arithmetic, factor, at % side, at / side, c);
        store(ring + (long long)(3 * first + c) * plane + at, 3 * plane, step, count, (float)value, scale[c], offset[c]);
      }
  BARRIER
}

// Flow in steps of 1 / steps_per_px, as it is stored for training.
DEVICE float quantised(float px, float bound_px, float steps_per_px) {
  const float bounded = px < -bound_px ? -bound_px : px > bound_px ? bound_px : px;
  return (float)(int)rintf(bounded * steps_per_px) / steps_per_px;
}

// (height, width, 2) flow, or none, as (2, side, side) in slots of the ring from `first` on.
KERNEL prepare_flow(const float *flow, int width, int height, float bound_px, float steps_per_px, const Tap *taps,
                    int arithmetic, int across, int down, float factor, float *ring, int side, int first, int step, int count,
                    float scale_x, float scale_y, float offset_x, float offset_y) {
  const Taps all = {taps, side, across, down};
  const float scale[2] = {scale_x, scale_y}, offset[2] = {offset_x, offset_y};
  THREADS
    const int at = (int)blockIdx.x * THREADS_PER_BLOCK + thread, plane = side * side;
    if (at < plane) {
      const Tap *x = taps_across(all, at % side), *y = taps_down(all, at / side);
#pragma unroll
      for (int c = 0; c < 2; c++) {
        float value = 0.0f;
        for (int j = 0; flow && j < down; j++) {
          const float *line = flow + 2 * (long long)y[j].index * width + c;
          const float here = quantised(line[2 * x[0].index], bound_px, steps_per_px);
          const float beside = across == 2 ? quantised(line[2 * x[1].index], bound_px, steps_per_px) : 0.0f;
          if (arithmetic == LINEAR) value += (here * x[0].weight + beside * x[1].weight) * y[j].weight;
          else value = value + here + beside;
        }
        if (arithmetic != LINEAR) value *= factor;
        store(ring + (long long)(2 * first + c) * plane + at, 2 * plane, step, count, value, scale[c], offset[c]);
      }
    }
  BARRIER
}
