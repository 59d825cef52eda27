// CUDA on a processor, for tests: what kernels/platform.cuh and the compiler give a kernel, with every rule checked.
//
// A thread is a fiber; the blocks of a cluster run together, one cluster after another. Between barriers the fibers run
// one after another in an order that the test chooses. Checked: alignment and bounds of every access, shared memory
// that one thread touches while another writes it with no barrier between them, global memory that is written twice or
// read after it was written, copies that were not waited for, barriers and shuffles that not all threads reach, memory
// beyond the shared memory that was asked for, shared memory of a block of the cluster that may have left.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __syncthreads() shim::block_barrier()
#define SHARED_MEMORY(name) uint4* const name = static_cast<uint4*>(shim::shared_memory())
#define LAUNCHABLE(name) \
    extern "C" void launch_##name(void** parameters) { shim::call(name, parameters); }

using std::min;

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

struct Index {
    unsigned x;
};
extern Index threadIdx, blockIdx, blockDim;

namespace shim {
void block_barrier();
void cluster_barrier();
float exchange(float value, int offset);
void* shared_memory();
int rank();
int size();
const void* remote(const void* place, int rank);
void check(const void* place, int bytes, bool write, bool remote = false);
void copy(void* shared, const void* global);
void wait_for_copies();

// Calls a kernel with what the pointers in `parameters` point to, as the driver does.
template <class... A, std::size_t... I>
void call_with(void (*kernel)(A...), void** parameters, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(parameters[I])...);
}
template <class... A>
void call(void (*kernel)(A...), void** parameters) {
    call_with(kernel, parameters, std::index_sequence_for<A...>());
}
}  // namespace shim

inline float __shfl_xor_sync(unsigned, float value, int offset) { return shim::exchange(value, offset); }

template <class U>
U load(const U* place) {
    shim::check(place, sizeof(U), false);
    return *place;
}

template <class U>
void store(U* place, U value) {
    shim::check(place, sizeof(U), true);
    *place = value;
}

inline void store_16_bytes(void* global, uint4 value) {
    shim::check(global, 16, true);
    std::memcpy(global, &value, 16);
}

inline void copy_16_bytes(void* shared, const void* global) { shim::copy(shared, global); }
inline void wait_for_copies() { shim::wait_for_copies(); }
inline int cluster_rank() { return shim::rank(); }
inline int cluster_size() { return shim::size(); }
inline void cluster_barrier() { shim::cluster_barrier(); }
inline float load_remote(const float* place, int rank) {
    const void* there = shim::remote(place, rank);
    shim::check(there, 4, false, true);
    return *static_cast<const float*>(there);
}

inline float as_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline std::uint32_t as_bits(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

struct F32 {
    using Bits = unsigned int;
    static float widen(Bits bits) { return as_float(bits); }
    static Bits narrow(float value) { return as_bits(value); }
};

struct BF16 {
    using Bits = unsigned short;
    static float widen(Bits bits) { return as_float(std::uint32_t(bits) << 16); }
    static Bits narrow(float value) {
        if (std::isnan(value)) return 0x7fff;
        const std::uint32_t bits = as_bits(value);
        return static_cast<Bits>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
};

struct F16 {
    using Bits = unsigned short;
    static float widen(Bits bits) {
        const std::uint32_t sign = std::uint32_t(bits & 0x8000) << 16, exponent = (bits >> 10) & 31, rest = bits & 0x3ff;
        if (exponent == 0) return std::copysign(std::ldexp(float(rest), -24), as_float(sign | 0x3f800000));
        return as_float(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | rest << 13);
    }
    static Bits narrow(float value) {
        const std::uint32_t bits = as_bits(value);
        const Bits sign = static_cast<Bits>(bits >> 16 & 0x8000);
        const float size = std::fabs(value);
        if (std::isnan(value)) return 0x7fff;
        if (size >= 65520.0f) return sign | 0x7c00;
        if (size < 0x1p-14f) return sign | static_cast<Bits>(std::nearbyint(size * 0x1p24f));
        const std::uint32_t kept = as_bits(size);
        return sign | static_cast<Bits>((kept + 0xfff + ((kept >> 13) & 1) - (112u << 23)) >> 13);
    }
};
