// Where the numbers of a plane lie, and how a thread walks over them: vectors of V numbers, 16 bytes wide or one number.
#pragma once

#include "platform.cuh"

// All kernels take the same arguments, so that one launcher serves all; choice.py says what goes in.
struct Arguments {
    const void* x;
    const void* weight;    // [C]
    const void* bias;      // [C]
    const void* residual;  // as x, or null; for the gradients that of `out`
    void* out;             // for the gradients that of `x`
    float* workspace;      // [teams, splits, columns * V, 4] of the two-pass versions; [planes, 2] of the gradients
    int channels;
    int pixels;       // of a plane
    int capacity;     // vectors that one block works on
    int splits;       // blocks a team
    int column_bits;  // channels last: log2 of the vectors that stand side by side in a team; else 0
    int parameters;   // how weight and bias are stored: 0 float32, 1 float16, 2 bfloat16
    int relu;
    float eps;
};

// The vector of V numbers at `place`, widened. V is 1, or as many as fill 16 bytes.
template <class T, int V>
__device__ __forceinline__ void widen_vector(const typename T::Bits* place, float (&values)[V]) {
    if constexpr (V == 1) {
        values[0] = T::widen(load(place));
    } else {
        const uint4 raw = load(reinterpret_cast<const uint4*>(place));
        const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
        for (int e = 0; e < V; ++e) {
            constexpr int PER_WORD = V / 4;
            const unsigned word = words[e / PER_WORD] >> (16 * (e % PER_WORD));
            values[e] = T::widen(static_cast<typename T::Bits>(word));
        }
    }
}

// Writes the vector of V numbers at `place` in global memory.
template <class T, int V>
__device__ __forceinline__ void narrow_vector(typename T::Bits* place, const float (&values)[V]) {
    if constexpr (V == 1) {
        store(place, T::narrow(values[0]));
    } else {
        unsigned words[4] = {0, 0, 0, 0};
#pragma unroll
        for (int e = 0; e < V; ++e) {
            constexpr int PER_WORD = V / 4;
            words[e / PER_WORD] |= static_cast<unsigned>(T::narrow(values[e])) << (16 * (e % PER_WORD));
        }
        store_16_bytes(place, uint4{words[0], words[1], words[2], words[3]});
    }
}

// One entry of weight or bias.
__device__ __forceinline__ float parameter(const void* table, int index, int stored) {
    if (stored == 0) return load(static_cast<const float*>(table) + index);
    const unsigned short bits = load(static_cast<const unsigned short*>(table) + index);
    return stored == 1 ? F16::widen(bits) : BF16::widen(bits);
}

// What the blocks of one team share, and where this thread stands in it. A team owns
//   NCHW: one plane; a thread keeps one statistic (S = 1). A plane that starts in the middle of a vector is walked from
//         the start of that vector: its first and last vector are partial, all others are 16-byte accesses.
//   NHWC: `columns` * V neighbouring channels of one picture; a thread stays in one column and keeps V statistics.
template <class T, int V, bool CHANNELS_LAST>
struct Team {
    using Bits = typename T::Bits;
    static constexpr int S = CHANNELS_LAST ? V : 1;

    int lead;       // NCHW: numbers of the first vector that lie before the plane
    int vectors;    // of the whole team
    int channel;    // first channel of this thread
    int column;     // channels last: which of the columns is this thread's
    bool idle;      // channels last: the column lies beyond the last channel
    int columns;
    int pixels, channels, column_bits;
    long long base;   // number of the first number of vector 0
    long long plane;  // the thread's first plane, of all pictures

    __device__ Team(const Arguments& a, int team)
        : lead(0), column(0), columns(1 << a.column_bits), pixels(a.pixels), channels(a.channels),
          column_bits(a.column_bits) {
        if constexpr (CHANNELS_LAST) {
            const int group = columns * V, groups = (channels + group - 1) / group;
            const int picture = team / groups;
            column = threadIdx.x & (columns - 1);
            channel = team % groups * group + column * V;
            vectors = pixels << column_bits;
            base = static_cast<long long>(picture) * pixels * channels + channel;
            plane = static_cast<long long>(picture) * channels + channel;
            idle = channel >= channels;
        } else {
            channel = team % channels;
            base = static_cast<long long>(team) * pixels;
            plane = team;
            lead = static_cast<int>(base % V);
            base -= lead;
            vectors = (lead + pixels + V - 1) / V;
            idle = false;
        }
    }

    // Which of all numbers vector j starts with. Channels last: j must be of this thread's column.
    __device__ __forceinline__ long long start(int j) const {
        if constexpr (CHANNELS_LAST) return base + static_cast<long long>(j >> column_bits) * channels;
        return base + static_cast<long long>(j) * V;
    }

    // The part [first, last) of vector j that belongs to the plane.
    __device__ __forceinline__ int first(int j) const { return j == 0 ? lead : 0; }
    __device__ __forceinline__ int last(int j) const { return j == vectors - 1 ? lead + pixels - j * V : V; }
    __device__ __forceinline__ bool whole(int j) const {
        return CHANNELS_LAST || V == 1 || (first(j) == 0 && last(j) == V);
    }

    // Calls f(e) for each number e of vector j that belongs to the plane; e is a constant once unrolled.
    template <class F>
    __device__ __forceinline__ void each(int j, F f) const {
        if (whole(j)) {
#pragma unroll
            for (int e = 0; e < V; ++e) f(e);
        } else {
#pragma unroll
            for (int e = 0; e < V; ++e)
                if (e >= first(j) && e < last(j)) f(e);
        }
    }

    // Vector j of a tensor; 0 where it reaches beyond the plane.
    __device__ __forceinline__ void read(const void* tensor, int j, float (&values)[V]) const {
        const Bits* place = static_cast<const Bits*>(tensor) + start(j);
        if (whole(j)) {
            widen_vector<T, V>(place, values);
        } else {
#pragma unroll
            for (int e = 0; e < V; ++e)
                values[e] = e >= first(j) && e < last(j) ? T::widen(load(place + e)) : 0.0f;
        }
    }

    __device__ __forceinline__ void write(void* tensor, int j, const float (&values)[V]) const {
        Bits* place = static_cast<Bits*>(tensor) + start(j);
        if (whole(j)) {
            narrow_vector<T, V>(place, values);
        } else {
            each(j, [&](int e) { store(place + e, T::narrow(values[e])); });
        }
    }

    // Brings vector j to shared memory; the numbers beyond the plane are left as they are.
    __device__ __forceinline__ void hold(Bits* slot, const void* tensor, int j) const {
        const Bits* place = static_cast<const Bits*>(tensor) + start(j);
        if (V > 1 && whole(j)) {
            copy_16_bytes(slot, place);
        } else {
            each(j, [&](int e) { store(slot + e, load(place + e)); });
        }
    }

    // Which of the thread's statistics number e counts to.
    static __device__ __forceinline__ constexpr int statistic(int e) { return CHANNELS_LAST ? e : 0; }
};
