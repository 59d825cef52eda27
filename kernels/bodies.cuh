// The bodies of all kernels but their gradients: what a block does, for every dtype, layout and width of access.
//
//     out = act((x - mean) / sqrt(var + eps) * weight + bias) + residual
//
// mean and biased variance over each plane, float32 throughout. dadfi_fast/ops/instance_norm_residual.py has the plain
// version; README.md says which version runs when, and why the statistics are made as they are.
#pragma once

#include "statistics.cuh"

constexpr int MAX_THREADS = 512;

// A kernel that the host finds by its name: `body` with the arguments of `Arguments`, which all of them take.
#define ENTRY(threads, name, body) \
    extern "C" __global__ void __launch_bounds__(threads, 1) name( \
        const void* x, const void* weight, const void* bias, const void* residual, void* out, float* workspace, \
        int channels, int pixels, int capacity, int splits, int column_bits, int parameters, int relu, float eps) { \
        body({x, weight, bias, residual, out, workspace, channels, pixels, capacity, splits, column_bits, parameters, \
              relu, eps}); \
    } \
    LAUNCHABLE(name)

// Mean, scale and shift of a channel: out = ((x - center) - rest) * scale + shift. Two floats of the mean, since one
// float of a large mean is off by more than a small deviation.
struct Affine {
    float center, rest, scale, shift;

    __device__ __forceinline__ float apply(float value, bool relu) const {
        const float out = ((value - center) - rest) * scale + shift;
        // A NaN must stay one; fmaxf would drop it.
        return relu && out < 0.0f ? 0.0f : out;
    }
};

__device__ __forceinline__ Affine affine(const Arguments& a, int channel, float center, float rest, float variance) {
    const float scale = parameter(a.weight, channel, a.parameters) / sqrtf(variance + a.eps);
    return {center, rest, scale, parameter(a.bias, channel, a.parameters)};
}

// Normalises vector j, adds the residual and writes it.
template <class T, int V, bool CHANNELS_LAST, int S>
__device__ __forceinline__ void finish(
    const Arguments& a, const Team<T, V, CHANNELS_LAST>& team, int j, float (&values)[V], const Affine (&affines)[S]) {
    float residual[V] = {};
    if (a.residual != nullptr) team.read(a.residual, j, residual);
#pragma unroll
    for (int e = 0; e < V; ++e) {
        values[e] = affines[team.statistic(e)].apply(values[e], a.relu);
        if (a.residual != nullptr) values[e] += residual[e];
    }
    team.write(a.out, j, values);
}

// Statistics of the block's vectors from `first` to `end`, each taken once by take(j, values); all threads of a column
// get them. `scratch` has room for both calls of `combine`.
template <class T, int V, bool CHANNELS_LAST, int S, class Take>
__device__ __forceinline__ void measure(
    Take take, const Team<T, V, CHANNELS_LAST>& team, int first, int end, Moments (&moments)[S], float* scratch) {
    // The center: the mean of the block's first vector a thread. Any number will do, one near the mean costs no digits.
    Sums<2> sample[S] = {};
    float values[V];
    if (first < end) {
        take(first, values);
        team.each(first, [&](int e) {
            sample[team.statistic(e)].value[0] += values[e];
            sample[team.statistic(e)].value[1] += 1.0f;
        });
    }
    combine<Sums<2>, S, false>(sample, team.column, team.columns, scratch);

#pragma unroll
    for (int s = 0; s < S; ++s) moments[s] = {{0.0f, sample[s].value[0] / sample[s].value[1], 0.0f, 0.0f}};
    for (int j = first; j < end; j += blockDim.x) {
        take(j, values);
        if constexpr (CHANNELS_LAST) {
            const float share = 1.0f / (moments[0].value[0] + 1.0f);
#pragma unroll
            for (int s = 0; s < S; ++s) moments[s].add(1.0f, values[s] - moments[s].value[1], 0.0f, share);
        } else {
            float count = 0.0f, mean = 0.0f, squares = 0.0f;
            team.each(j, [&](int e) {
                count += 1.0f;
                mean += values[e] - moments[0].value[1];
            });
            mean /= count;
            team.each(j, [&](int e) {
                const float distance = (values[e] - moments[0].value[1]) - mean;
                squares += distance * distance;
            });
            moments[0].add(count, mean, squares, count / (moments[0].value[0] + count));
        }
    }
    combine<Moments, S, false>(moments, team.column, team.columns, scratch + scratch_floats<Sums<2>, S>(team.columns));
}

// Versions 1 and 2, first pass: statistics of `capacity` vectors, to the workspace.
template <class T, int V, bool CHANNELS_LAST>
__device__ __forceinline__ void gather(const Arguments& a) {
    SHARED_MEMORY(memory);
    const int split = blockIdx.x % a.splits, number = blockIdx.x / a.splits;
    const Team<T, V, CHANNELS_LAST> team(a, number);
    constexpr int S = Team<T, V, CHANNELS_LAST>::S;
    const int begin = split * a.capacity, end = min(begin + a.capacity, team.vectors);
    const int first = team.idle ? end : begin + threadIdx.x;
    Moments moments[S];
    const auto take = [&](int j, float (&values)[V]) { team.read(a.x, j, values); };
    measure<T, V, CHANNELS_LAST>(take, team, first, end, moments, reinterpret_cast<float*>(memory));

    float* row = a.workspace + static_cast<long long>(blockIdx.x) * team.columns * S * Moments::FLOATS;
    if (static_cast<int>(threadIdx.x) < team.columns) {
#pragma unroll
        for (int s = 0; s < S; ++s) write_part(row + (team.column * S + s) * Moments::FLOATS, moments[s]);
    }
}

// Versions 1 and 2, second pass: a warp a channel merges what the splits found, then the block normalises its vectors.
template <class T, int V, bool CHANNELS_LAST>
__device__ __forceinline__ void normalise(const Arguments& a) {
    SHARED_MEMORY(memory);
    float* table = reinterpret_cast<float*>(memory);
    const int split = blockIdx.x % a.splits, number = blockIdx.x / a.splits;
    const Team<T, V, CHANNELS_LAST> team(a, number);
    constexpr int S = Team<T, V, CHANNELS_LAST>::S;
    const int lane = threadIdx.x % LANES, statistics = team.columns * S;
    const float* rows = a.workspace + static_cast<long long>(number) * a.splits * statistics * Moments::FLOATS;

#pragma unroll 1
    for (int i = threadIdx.x / LANES; i < statistics; i += blockDim.x / LANES) {
        Moments moments = {};
#pragma unroll 1
        for (int r = lane; r < a.splits; r += LANES)
            moments.merge(read_part<Moments>(rows + (r * statistics + i) * Moments::FLOATS));
#pragma unroll 1
        for (int offset = LANES / 2; offset > 0; offset /= 2) moments.merge(shuffled(moments, offset));
        if (lane == 0) write_part(table + i * Moments::FLOATS, moments);
    }
    __syncthreads();

    if (team.idle) return;
    Affine affines[S];
#pragma unroll
    for (int s = 0; s < S; ++s) {
        const Moments m = read_part<Moments>(table + (team.column * S + s) * Moments::FLOATS);
        affines[s] = affine(a, team.channel + s, m.value[1], m.value[2], m.value[3] / m.value[0]);
    }
    const int begin = split * a.capacity, end = min(begin + a.capacity, team.vectors);
    for (int j = begin + threadIdx.x; j < end; j += blockDim.x) {
        float values[V];
        team.read(a.x, j, values);
        finish(a, team, j, values, affines);
    }
}

// Version 3, and version 4 with CLUSTER: one read, one write. Each thread keeps its vectors in shared memory, which no
// other thread touches, so that only the sums need barriers. The statistics are those of the corrected two-pass
// algorithm (Chan, Golub & LeVeque 1983): a first mean, then the distances from it, whose own mean corrects it.
template <class T, int V, bool CHANNELS_LAST, bool CLUSTER>
__device__ __forceinline__ void resident(const Arguments& a, int number) {
    using Bits = typename T::Bits;
    SHARED_MEMORY(memory);
    Bits* held = reinterpret_cast<Bits*>(memory);
    int rank = 0;
    if constexpr (CLUSTER) rank = cluster_rank();
    const Team<T, V, CHANNELS_LAST> team(a, number);
    constexpr int S = Team<T, V, CHANNELS_LAST>::S;
    float* scratch = reinterpret_cast<float*>(memory) + (a.capacity * V * sizeof(Bits) + 15) / 16 * 4;
    const int begin = rank * a.capacity, end = min(begin + a.capacity, team.vectors);
    const int first = team.idle ? end : begin + threadIdx.x;

    for (int j = first; j < end; j += blockDim.x) team.hold(held + (j - begin) * V, a.x, j);
    wait_for_copies();

    const auto take = [&](int j, float (&values)[V]) { widen_vector<T, V>(held + (j - begin) * V, values); };
    float values[V];
    // Divided before they are summed, so that no sum overflows where the mean does not.
    const float inverse = 1.0f / static_cast<float>(a.pixels);
    Sums<1> mean[S] = {};
    for (int j = first; j < end; j += blockDim.x) {
        take(j, values);
        team.each(j, [&](int e) { mean[team.statistic(e)].value[0] += values[e] * inverse; });
    }
    combine<Sums<1>, S, CLUSTER>(mean, team.column, team.columns, scratch);

    Sums<2> distances[S] = {};
    for (int j = first; j < end; j += blockDim.x) {
        take(j, values);
        team.each(j, [&](int e) {
            const float distance = values[e] - mean[team.statistic(e)].value[0];
            distances[team.statistic(e)].value[0] += distance;
            distances[team.statistic(e)].value[1] += distance * distance;
        });
    }
    combine<Sums<2>, S, CLUSTER>(
        distances, team.column, team.columns, scratch + scratch_floats<Sums<1>, S>(team.columns));
    // The other blocks read this one's sums: no block may leave before all have.
    if constexpr (CLUSTER) cluster_barrier();

    if (team.idle) return;
    Affine affines[S];
#pragma unroll
    for (int s = 0; s < S; ++s) {
        const float rest = distances[s].value[0] * inverse;
        // Never below 0: rounding may take off more than there is.
        const float variance = distances[s].value[1] * inverse - rest * rest;
        affines[s] = affine(a, team.channel + s, mean[s].value[0], rest, variance < 0.0f ? 0.0f : variance);
    }
    for (int j = first; j < end; j += blockDim.x) {
        take(j, values);
        finish(a, team, j, values, affines);
    }
}

template <class T, int V, bool CHANNELS_LAST>
__device__ __forceinline__ void resident_block(const Arguments& a) {
    resident<T, V, CHANNELS_LAST, false>(a, blockIdx.x);
}

template <class T, int V, bool CHANNELS_LAST>
__device__ __forceinline__ void resident_cluster(const Arguments& a) {
    resident<T, V, CHANNELS_LAST, true>(a, blockIdx.x / cluster_size());
}

// For planes that shared memory does not hold: one launch, two reads, one write. Statistics as in the first pass of
// versions 1 and 2. No workspace, so that a runtime that launches one kernel a call (TensorRT) can run it. Where there
// are few planes `parts` blocks share one: each reads all of it for the statistics, and normalises its part.
template <class T, int V, bool CHANNELS_LAST>
__device__ __forceinline__ void streamed(const Arguments& a, int parts) {
    SHARED_MEMORY(memory);
    const Team<T, V, CHANNELS_LAST> team(a, blockIdx.x / parts);
    constexpr int S = Team<T, V, CHANNELS_LAST>::S;
    const int first = team.idle ? team.vectors : threadIdx.x;
    Moments moments[S];
    const auto take = [&](int j, float (&values)[V]) { team.read(a.x, j, values); };
    measure<T, V, CHANNELS_LAST>(take, team, first, team.vectors, moments, reinterpret_cast<float*>(memory));
    if (team.idle) return;
    Affine affines[S];
#pragma unroll
    for (int s = 0; s < S; ++s) {
        const Moments& m = moments[s];
        affines[s] = affine(a, team.channel + s, m.value[1], m.value[2], m.value[3] / m.value[0]);
    }
    // Whole pixels, so that every part starts with the first column.
    const int share = (team.vectors + parts * team.columns - 1) / (parts * team.columns) * team.columns;
    const int begin = blockIdx.x % parts * share, end = min(begin + share, team.vectors);
    for (int j = begin + threadIdx.x; j < end; j += blockDim.x) {
        float values[V];
        team.read(a.x, j, values);
        finish(a, team, j, values, affines);
    }
}
