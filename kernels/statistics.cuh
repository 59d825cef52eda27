// Statistics of planes, summed over lanes, warps and blocks, always in the same order: a run gives the same bits again.
#pragma once

#include "plane.cuh"

constexpr int LANES = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float from_lane(float value, int offset) { return __shfl_xor_sync(ALL_LANES, value, offset); }

// A sum of N floats each.
template <int N>
struct Sums {
    static constexpr int FLOATS = N;
    float value[N];

    __device__ __forceinline__ void merge(const Sums& other) {
#pragma unroll
        for (int i = 0; i < N; ++i) value[i] += other.value[i];
    }
};

// How many numbers, their mean as center + mean, and the sum of their squared distances from it. Two such are merged as
// Chan, Golub & LeVeque (1983) do; the center, near the mean, keeps digits that a single float of the mean would lose.
struct Moments {
    static constexpr int FLOATS = 4;
    float value[4];  // count, center, mean - center, squares

    // Adds `count` numbers with this mean (from the same center) and these squares; they are then `share` of all.
    __device__ __forceinline__ void add(float count, float mean, float squares, float share) {
        const float delta = mean - value[2];
        value[2] += delta * share;
        value[3] += squares + delta * delta * value[0] * share;
        value[0] += count;
    }
    __device__ __forceinline__ void merge(const Moments& other) {
        if (other.value[0] == 0.0f) return;
        if (value[0] == 0.0f)
            *this = other;
        else
            add(other.value[0], (other.value[1] - value[1]) + other.value[2], other.value[3],
                other.value[0] / (value[0] + other.value[0]));
    }
};

template <class P>
__device__ __forceinline__ P shuffled(const P& part, int offset) {
    P other;
#pragma unroll
    for (int i = 0; i < P::FLOATS; ++i) other.value[i] = from_lane(part.value[i], offset);
    return other;
}

template <class P>
__device__ __forceinline__ P read_part(const float* place) {
    P part;
#pragma unroll
    for (int i = 0; i < P::FLOATS; ++i) part.value[i] = load(place + i);
    return part;
}

template <class P>
__device__ __forceinline__ void write_part(float* place, const P& part) {
#pragma unroll
    for (int i = 0; i < P::FLOATS; ++i) store(place + i, part.value[i]);
}

// Floats of scratch that one call of `combine` needs.
template <class P, int S>
__device__ __forceinline__ int scratch_floats(int columns) {
    return (blockDim.x / LANES + 1) * columns * S * P::FLOATS;
}

// Merges what the threads of a block (CLUSTER: of all blocks of the cluster) that stand in the same column hold; all of
// them get the result. No two calls of a kernel may use the same scratch, since no barrier follows the last read.
template <class P, int S, bool CLUSTER>
__device__ __forceinline__ void combine(P (&parts)[S], int column, int columns, float* scratch) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, warps = blockDim.x / LANES;
    const int statistics = columns * S;
    float* totals = scratch + warps * statistics * P::FLOATS;

#pragma unroll 1
    for (int offset = LANES / 2; offset >= columns; offset /= 2) {
#pragma unroll
        for (int s = 0; s < S; ++s) parts[s].merge(shuffled(parts[s], offset));
    }
    if (lane < columns) {
#pragma unroll
        for (int s = 0; s < S; ++s) write_part(scratch + (warp * statistics + lane * S + s) * P::FLOATS, parts[s]);
    }
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < statistics; i += blockDim.x) {
        P total = read_part<P>(scratch + i * P::FLOATS);
#pragma unroll 1
        for (int w = 1; w < warps; ++w) total.merge(read_part<P>(scratch + (w * statistics + i) * P::FLOATS));
        write_part(totals + i * P::FLOATS, total);
    }
    if constexpr (CLUSTER) {
        cluster_barrier();
#pragma unroll
        for (int s = 0; s < S; ++s) {
            const float* place = totals + (column * S + s) * P::FLOATS;
            for (int rank = 0; rank < cluster_size(); ++rank) {
                P part;
#pragma unroll
                for (int i = 0; i < P::FLOATS; ++i) part.value[i] = load_remote(place + i, rank);
                if (rank == 0)
                    parts[s] = part;
                else
                    parts[s].merge(part);
            }
        }
    } else {
        __syncthreads();
#pragma unroll
        for (int s = 0; s < S; ++s) parts[s] = read_part<P>(totals + (column * S + s) * P::FLOATS);
    }
}
