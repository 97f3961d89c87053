// TV-L1 optical flow in CUDA; see tvl1_pixel.h for the algorithm and its arithmetic. Compile with
// --fmad=false --prec-div=true --prec-sqrt=true --ftz=false, and the result equals the CPU's bit for bit.
// Written as cuda_kernel.h says; blockIdx.z is the pair (or image) of a batch.
//
// What decides the course of the iterations stays on the device, in one Control per pair: which of two buffers holds the
// flow and the dual variables, and whether the stopping test held. Blocks read it at their start; the last block to
// finish, known by a ticket, changes it at its end. A launch that finds the pair stopped does nothing.
#include "cuda_kernel.h"
#include "tvl1_pixel.h"

#ifndef BARRIER_AFTER_PRIMAL
#define BARRIER_AFTER_PRIMAL BARRIER THREADS
#endif

enum { TILE_WIDTH = 32, TILE_HEIGHT = 16, HALO_WIDTH = TILE_WIDTH + 2 * TVL1_GROUP, HALO_HEIGHT = TILE_HEIGHT + 2 * TVL1_GROUP };
enum { CELLS = HALO_WIDTH * HALO_HEIGHT, CELLS_PER_THREAD = (CELLS + THREADS_PER_BLOCK - 1) / THREADS_PER_BLOCK };
enum { TILE_CELLS_PER_THREAD = TILE_WIDTH * TILE_HEIGHT / THREADS_PER_BLOCK, MEDIAN_MARGIN = 2 };
enum { MEDIAN_WIDTH = TILE_WIDTH + 2 * MEDIAN_MARGIN, MEDIAN_HEIGHT = TILE_HEIGHT + 2 * MEDIAN_MARGIN };

struct Control {
  int flow;        // which buffer holds u and v
  int dual;        // which buffer holds p
  int stopped;     // the stopping test held for this warp
  int ticket;      // blocks of this launch that are done
  int unfinished;  // a warp ended by the number of launches, not by the stopping test or its own limit
  int groups;      // groups of iterations run so far
  unsigned long long units;  // this launch's update
};

// One block is done; returns 1 to the last of `blocks`.
TVL1_INLINE int tvl1_is_last(Control *control, int blocks) {
  FENCE();
  if (atomicAdd(&control->ticket, 1) != blocks - 1) return 0;
  control->ticket = 0;
  return 1;
}

// `pairs` controls to their state before the first pair's first warp.
KERNEL tvl1_begin(Control *controls, int pairs) {
  THREADS
    const int i = (int)blockIdx.x * THREADS_PER_BLOCK + thread;
    if (i < pairs) {
      Control fresh = {0, 0, 1, 0, 0, 0, 0};
      controls[i] = fresh;
    }
  BARRIER
}

// Grey levels to float.
KERNEL tvl1_load(const unsigned char *from, float *to, int count) {
  THREADS
    const int i = (int)blockIdx.x * THREADS_PER_BLOCK + thread;
    if (i < count) to[i] = (float)from[i];
  BARRIER
}

TVL1_INLINE float tvl1_resized(const float *from, int width, int height, int x, int y, float ratio_x, float ratio_y) {
  int i, j;
  float across, down;
  tvl1_resize_at(x, ratio_x, width, &i, &across);
  tvl1_resize_at(y, ratio_y, height, &j, &down);
  const float *upper = from + (long long)j * width, *lower = upper + width;
  return tvl1_between(tvl1_between(upper[i], upper[i + 1], across), tvl1_between(lower[i], lower[i + 1], across), down);
}

// A pyramid level of images from the finer one; images follow each other.
KERNEL tvl1_shrink_images(const float *from, int from_width, int from_height, float *to, int width, int height, float ratio) {
  THREADS
    const int i = (int)blockIdx.x * THREADS_PER_BLOCK + thread, image = (int)blockIdx.z;
    if (i < width * height)
      to[(long long)image * width * height + i] = tvl1_resized(from + (long long)image * from_width * from_height, from_width,
                                                       from_height, i % width, i / width, ratio, ratio);
  BARRIER
}

// Flow of the coarser level (or, where that has no width, zero) to this level; dual variables to zero.
// flow: [2 buffers][pairs][u, v][plane]; dual: [2 buffers][pairs][ux, uy, vx, vy][plane].
KERNEL tvl1_start_level(Control *controls, float *flow, float *dual, int pairs, int plane, int from_width, int from_height,
                        int width, int height, float ratio_x, float ratio_y, float factor) {
  const int pair = (int)blockIdx.z;
  Control *control = controls + pair;
  const int now = control->flow, p = control->dual;
  const float *from = flow + (long long)(now * pairs + pair) * 2 * plane;
  float *to = flow + (long long)((1 - now) * pairs + pair) * 2 * plane;
  float *zero = dual + (long long)(p * pairs + pair) * 4 * plane;
  THREADS
    const int i = (int)blockIdx.x * THREADS_PER_BLOCK + thread;
    if (i < width * height) {
      for (int k = 0; k < 2; k++)
        to[k * plane + i] = from_width ? tvl1_resized(from + k * plane, from_width, from_height, i % width, i / width,
                                                      ratio_x, ratio_y) * factor : 0.0f;
      for (int k = 0; k < 4; k++) zero[k * plane + i] = 0.0f;
    }
  BARRIER
  THREADS
    if (thread == 0 && tvl1_is_last(control, (int)gridDim.x)) control->flow = 1 - now;
  BARRIER
}

TVL1_INLINE float tvl1_pixel(const float *image, int width, int height, int x, int y) {
  x = x < 0 ? 0 : x > width - 1 ? width - 1 : x;
  y = y < 0 ? 0 : y > height - 1 ? height - 1 : y;
  return image[(long long)y * width + x];
}

// Sample the second images and their centred differences where the flow points; terms: [pairs][wx, wy, inverse, rho0][plane].
KERNEL tvl1_warp(Control *controls, const float *firsts, const float *seconds, const float *flow, float *terms, int pairs,
                 int plane, int width, int height) {
  const int pair = (int)blockIdx.z;
  Control *control = controls + pair;
  const float *first = firsts + (long long)pair * width * height, *second = seconds + (long long)pair * width * height;
  const float *u = flow + (long long)(control->flow * pairs + pair) * 2 * plane, *v = u + plane;
  float *out = terms + (long long)pair * 4 * plane;
  THREADS
    const int i = (int)blockIdx.x * THREADS_PER_BLOCK + thread;
    if (i < width * height) {
      float across[4], down[4], image[4], dx[4], dy[4];
      const int left = tvl1_sample_at(i % width, u[i], width, across) - 1;
      const int top = tvl1_sample_at(i / width, v[i], height, down) - 1;
      for (int c = 0; c < 4; c++) {
        const int x = left + c;
        float s[4], sx[4], sy[4];
        for (int r = 0; r < 4; r++) {
          const int y = top + r, inside = x >= 0 && x < width && y >= 0 && y < height;
          s[r] = inside ? tvl1_pixel(second, width, height, x, y) : 0.0f;
          sx[r] = inside ? tvl1_centred(tvl1_pixel(second, width, height, x - 1, y), tvl1_pixel(second, width, height, x + 1, y)) : 0.0f;
          sy[r] = inside ? tvl1_centred(tvl1_pixel(second, width, height, x, y - 1), tvl1_pixel(second, width, height, x, y + 1)) : 0.0f;
        }
        image[c] = tvl1_cubic_down(s[0], s[1], s[2], s[3], down);
        dx[c] = tvl1_cubic_down(sx[0], sx[1], sx[2], sx[3], down);
        dy[c] = tvl1_cubic_down(sy[0], sy[1], sy[2], sy[3], down);
      }
      const float wx = tvl1_cubic_across(dx[0], dx[1], dx[2], dx[3], across);
      const float wy = tvl1_cubic_across(dy[0], dy[1], dy[2], dy[3], across);
      const float warped = tvl1_cubic_across(image[0], image[1], image[2], image[3], across);
      out[i] = wx;
      out[plane + i] = wy;
      out[2 * plane + i] = tvl1_inverse_gradient(wx, wy);
      out[3 * plane + i] = tvl1_rho0(warped, wx, wy, u[i], v[i], first[i]);
    }
  BARRIER
  THREADS
    // Only now: other launches, not other blocks of this one, read these.
    if (thread == 0 && blockIdx.x == 0) {
      if (!control->stopped) control->unfinished = 1;
      control->stopped = 0;
    }
  BARRIER
}

// A warp that used all the rounds it may is finished too.
KERNEL tvl1_end_warp(Control *controls, int pairs) {
  THREADS
    const int i = (int)blockIdx.x * THREADS_PER_BLOCK + thread;
    if (i < pairs) controls[i].stopped = 1;
  BARRIER
}

// Median of u and v over `side` x `side` px (3 or 5), edges repeated.
KERNEL tvl1_filter(Control *controls, float *flow, int pairs, int plane, int width, int height, int side) {
  const int pair = (int)blockIdx.z;
  Control *control = controls + pair;
  if (control->stopped) return;
  SHARED float tile[2][MEDIAN_HEIGHT][MEDIAN_WIDTH];
  const int now = control->flow, x0 = (int)blockIdx.x * TILE_WIDTH, y0 = (int)blockIdx.y * TILE_HEIGHT;
  const float *from = flow + (long long)(now * pairs + pair) * 2 * plane;
  float *to = flow + (long long)((1 - now) * pairs + pair) * 2 * plane;
  THREADS
    for (int i = thread; i < 2 * MEDIAN_HEIGHT * MEDIAN_WIDTH; i += THREADS_PER_BLOCK) {
      const int k = i / (MEDIAN_HEIGHT * MEDIAN_WIDTH), cell = i % (MEDIAN_HEIGHT * MEDIAN_WIDTH);
      const int ty = cell / MEDIAN_WIDTH, tx = cell % MEDIAN_WIDTH;
      tile[k][ty][tx] = tvl1_pixel(from + k * plane, width, height, x0 + tx - MEDIAN_MARGIN, y0 + ty - MEDIAN_MARGIN);
    }
  BARRIER
  THREADS
    for (int i = thread; i < 2 * TILE_WIDTH * TILE_HEIGHT; i += THREADS_PER_BLOCK) {
      const int k = i / (TILE_WIDTH * TILE_HEIGHT), cell = i % (TILE_WIDTH * TILE_HEIGHT);
      const int ty = cell / TILE_WIDTH, tx = cell % TILE_WIDTH, x = x0 + tx, y = y0 + ty;
      if (x < width && y < height) {
        float middle;
        if (side == 5) {
          float column[5], window[5][5], kept[13];
          for (int c = 0; c < 5; c++) {
            for (int r = 0; r < 5; r++) column[r] = tile[k][ty + r][tx + c];
            tvl1_sort5(column);
            for (int r = 0; r < 5; r++) window[r][c] = column[r];
          }
          tvl1_candidates<0>(window[0], kept);
          tvl1_candidates<1>(window[1], kept);
          tvl1_candidates<2>(window[2], kept);
          tvl1_candidates<3>(window[3], kept);
          tvl1_candidates<4>(window[4], kept);
          middle = tvl1_median<13>(kept);
        } else {
          float window[9];
          for (int j = 0; j < 9; j++) window[j] = tile[k][ty + 1 + j / 3][tx + 1 + j % 3];
          middle = tvl1_median<9>(window);
        }
        to[k * plane + y * width + x] = middle;
      }
    }
  BARRIER
  THREADS
    if (thread == 0 && tvl1_is_last(control, (int)(gridDim.x * gridDim.y))) control->flow = 1 - now;
  BARRIER
}

// `count` (at most TVL1_GROUP) iterations on tiles with a halo of TVL1_GROUP px, which each iteration uses up by one px
// on every side: u, v and p in shared memory, what a warp left behind in registers.
KERNEL tvl1_iterate(Control *controls, const float *terms, float *flow, float *dual, int pairs, int plane, int width,
                    int height, int count, float lambda_theta, float tau_theta, float theta, float unit_scale) {
  const int pair = (int)blockIdx.z;
  Control *control = controls + pair;
  if (control->stopped) return;
  SHARED float u[HALO_HEIGHT][HALO_WIDTH], v[HALO_HEIGHT][HALO_WIDTH];
  SHARED float ux[HALO_HEIGHT][HALO_WIDTH], uy[HALO_HEIGHT][HALO_WIDTH], vx[HALO_HEIGHT][HALO_WIDTH], vy[HALO_HEIGHT][HALO_WIDTH];
  SHARED unsigned long long units;
  PER_THREAD(float, wx, CELLS_PER_THREAD);
  PER_THREAD(float, wy, CELLS_PER_THREAD);
  PER_THREAD(float, inverse, CELLS_PER_THREAD);
  PER_THREAD(float, rho0, CELLS_PER_THREAD);
  const int now = control->flow, p = control->dual;
  const int x0 = (int)blockIdx.x * TILE_WIDTH - TVL1_GROUP, y0 = (int)blockIdx.y * TILE_HEIGHT - TVL1_GROUP;
  const float *term = terms + (long long)pair * 4 * plane;
  const float *flow_in = flow + (long long)(now * pairs + pair) * 2 * plane, *dual_in = dual + (long long)(p * pairs + pair) * 4 * plane;
  float *flow_out = flow + (long long)((1 - now) * pairs + pair) * 2 * plane;
  float *dual_out = dual + (long long)((1 - p) * pairs + pair) * 4 * plane;
#define EACH_CELL                                                                                   \
  _Pragma("unroll") for (int i = 0; i < CELLS_PER_THREAD; i++) {                                    \
    const int cell = thread + i * THREADS_PER_BLOCK;                                           \
    const int ty = cell / HALO_WIDTH, tx = cell % HALO_WIDTH, x = x0 + tx, y = y0 + ty;             \
    const bool inside = cell < CELLS && x >= 0 && x < width && y >= 0 && y < height;
#define INTERIOR (inside && tx >= TVL1_GROUP && tx < TVL1_GROUP + TILE_WIDTH && ty >= TVL1_GROUP && ty < TVL1_GROUP + TILE_HEIGHT)
  THREADS
    if (thread == 0) units = 0;
    EACH_CELL
      const int at = inside ? y * width + x : 0;
      if (cell < CELLS) {
        u[ty][tx] = inside ? flow_in[at] : 0.0f;
        v[ty][tx] = inside ? flow_in[plane + at] : 0.0f;
        // Outside the image p is zero and stays so.
        ux[ty][tx] = inside ? dual_in[at] : 0.0f;
        uy[ty][tx] = inside ? dual_in[plane + at] : 0.0f;
        vx[ty][tx] = inside ? dual_in[2 * plane + at] : 0.0f;
        vy[ty][tx] = inside ? dual_in[3 * plane + at] : 0.0f;
      }
      OF(wx, thread, i) = inside ? term[at] : 0.0f;
      OF(wy, thread, i) = inside ? term[plane + at] : 0.0f;
      OF(inverse, thread, i) = inside ? term[2 * plane + at] : 0.0f;
      OF(rho0, thread, i) = inside ? term[3 * plane + at] : 0.0f;
    }
  BARRIER
  for (int k = 0; k < count; k++) {
    THREADS
      int update = 0;
      EACH_CELL
        if (inside && tx > 0 && ty > 0) {
          const float u0 = u[ty][tx], v0 = v[ty][tx], gx = OF(wx, thread, i), gy = OF(wy, thread, i);
          const float step = tvl1_threshold(gx, gy, OF(inverse, thread, i), OF(rho0, thread, i), u0, v0, lambda_theta);
          const float u1 = tvl1_primal(u0, step, gx, theta, ux[ty][tx], ux[ty][tx - 1], uy[ty][tx], uy[ty - 1][tx]);
          const float v1 = tvl1_primal(v0, step, gy, theta, vx[ty][tx], vx[ty][tx - 1], vy[ty][tx], vy[ty - 1][tx]);
          u[ty][tx] = u1;
          v[ty][tx] = v1;
          if (k == count - 1 && INTERIOR) update += tvl1_update_units(u1 - u0, v1 - v0, unit_scale);
        }
      }
      if (update) atomicAdd(&units, (unsigned long long)update);
    BARRIER_AFTER_PRIMAL
      EACH_CELL
        if (inside && tx < HALO_WIDTH - 1 && ty < HALO_HEIGHT - 1) {
          const float du_dx = x < width - 1 ? u[ty][tx + 1] - u[ty][tx] : 0.0f, du_dy = y < height - 1 ? u[ty + 1][tx] - u[ty][tx] : 0.0f;
          const float dv_dx = x < width - 1 ? v[ty][tx + 1] - v[ty][tx] : 0.0f, dv_dy = y < height - 1 ? v[ty + 1][tx] - v[ty][tx] : 0.0f;
          const float shrink_u = tvl1_shrink(du_dx, du_dy, tau_theta), shrink_v = tvl1_shrink(dv_dx, dv_dy, tau_theta);
          ux[ty][tx] = tvl1_dual(ux[ty][tx], du_dx, tau_theta, shrink_u);
          uy[ty][tx] = tvl1_dual(uy[ty][tx], du_dy, tau_theta, shrink_u);
          vx[ty][tx] = tvl1_dual(vx[ty][tx], dv_dx, tau_theta, shrink_v);
          vy[ty][tx] = tvl1_dual(vy[ty][tx], dv_dy, tau_theta, shrink_v);
        }
      }
    BARRIER
  }
  THREADS
    EACH_CELL
      if (INTERIOR) {
        const int at = y * width + x;
        flow_out[at] = u[ty][tx];
        flow_out[plane + at] = v[ty][tx];
        dual_out[at] = ux[ty][tx];
        dual_out[plane + at] = uy[ty][tx];
        dual_out[2 * plane + at] = vx[ty][tx];
        dual_out[3 * plane + at] = vy[ty][tx];
      }
    }
    if (thread == 0) {
      atomicAdd(&control->units, units);
      if (tvl1_is_last(control, (int)(gridDim.x * gridDim.y))) {
        control->stopped = atomicAdd(&control->units, 0ull) <= (unsigned long long)TVL1_UNITS * width * height;
        control->units = 0;
        control->flow = 1 - now;
        control->dual = 1 - p;
        control->groups++;
      }
    }
  BARRIER
}

// Flow as (height, width, 2).
KERNEL tvl1_finish(const Control *controls, const float *flow, float *out, int pairs, int plane, int width, int height) {
  const int pair = (int)blockIdx.z;
  const float *u = flow + (long long)(controls[pair].flow * pairs + pair) * 2 * plane, *v = u + plane;
  float *to = out + (long long)pair * 2 * width * height;
  THREADS
    const int i = (int)blockIdx.x * THREADS_PER_BLOCK + thread;
    if (i < width * height) {
      to[2 * i] = u[i];
      to[2 * i + 1] = v[i];
    }
  BARRIER
}
