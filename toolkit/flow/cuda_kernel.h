// How every kernel of ours is written, so that the tests can run its source on a CPU.
//
// Blocks are one row of THREADS_PER_BLOCK threads. Threads of a block meet only in shared memory, between sections
// THREADS ... BARRIER, and what a thread keeps from one section to the next is declared PER_THREAD: a CPU can then run a
// block section by section, in any order of threads. Whoever compiles for a CPU defines these macros before.
#ifndef TOOLKIT_CUDA_KERNEL_H
#define TOOLKIT_CUDA_KERNEL_H

#define THREADS_PER_BLOCK 256
#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS_PER_BLOCK)
#define SHARED __shared__
#define PER_THREAD(type, name, count) type name[count]
#define OF(name, thread, i) name[i]
#define THREADS { const int thread = (int)threadIdx.x;
#define BARRIER } __syncthreads();
#define FENCE() __threadfence()
#endif

#endif
