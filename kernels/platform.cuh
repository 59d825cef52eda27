// What the kernels need from the machine, and nothing else touches: memory access, number formats, asynchronous copies,
// clusters. Outside of a CUDA compiler tests/kernels/shim/shim.h stands in, and the same kernels run on a processor.
#pragma once

#ifndef __CUDACC__
#include "shim.h"
#else

#define SHARED_MEMORY(name) extern __shared__ uint4 name[]
// Follows every kernel: a processor needs a way in that takes all arguments as one, a GPU has one.
#define LAUNCHABLE(name)

// One access to global or shared memory, of 2, 4 or 16 bytes, aligned to its size.
template <class U>
__device__ __forceinline__ U load(const U* place) {
    return *place;
}

template <class U>
__device__ __forceinline__ void store(U* place, U value) {
    *place = value;
}

// Sixteen bytes to global memory. Spelled out, since the compiler splits an ordinary store of 16 bytes where another
// branch stores the same place number by number.
__device__ __forceinline__ void store_16_bytes(void* global, uint4 value) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(global)), "r"(value.x),
                 "r"(value.y), "r"(value.z), "r"(value.w)
                 : "memory");
}

// How numbers are stored; arithmetic is float32 throughout. Narrowing rounds to nearest, ties to even.
struct F32 {
    using Bits = unsigned int;
    static __device__ __forceinline__ float widen(Bits bits) { return __uint_as_float(bits); }
    static __device__ __forceinline__ Bits narrow(float value) { return __float_as_uint(value); }
};

struct F16 {
    using Bits = unsigned short;
    static __device__ __forceinline__ float widen(Bits bits) {
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
        return value;
    }
    static __device__ __forceinline__ Bits narrow(float value) {
        Bits bits;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
        return bits;
    }
};

struct BF16 {
    using Bits = unsigned short;
    static __device__ __forceinline__ float widen(Bits bits) { return __uint_as_float(unsigned(bits) << 16); }
    static __device__ __forceinline__ Bits narrow(float value) {
        Bits bits;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
        return bits;
    }
};

// Sixteen bytes from global to shared memory, past the registers. What this thread has asked for is there, for this
// thread, after `wait_for_copies`.
__device__ __forceinline__ void copy_16_bytes(void* shared, const void* global) {
    const unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(__cvta_generic_to_global(global)) : "memory");
}

__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Clusters: blocks that run together and read each other's shared memory. Only sm_90 and newer have them; elsewhere the
// functions are declared and never called.
__device__ int cluster_rank();
__device__ int cluster_size();
// A barrier of all threads of the cluster; shared memory written before it is seen by all of them after it.
__device__ void cluster_barrier();
// The float at `place` of this block's shared memory, as it stands in the block `rank` of the cluster.
__device__ float load_remote(const float* place, int rank);

#if __CUDA_ARCH__ >= 900

__device__ __forceinline__ int cluster_rank() {
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return static_cast<int>(rank);
}

__device__ __forceinline__ int cluster_size() {
    unsigned size;
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return static_cast<int>(size);
}

__device__ __forceinline__ void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

__device__ __forceinline__ float load_remote(const float* place, int rank) {
    const unsigned here = static_cast<unsigned>(__cvta_generic_to_shared(place));
    unsigned there;
    float value;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(rank));
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(there) : "memory");
    return value;
}

#endif
#endif
