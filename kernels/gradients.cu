// Gradients of the operation, one launch: with g the gradient of `out` where the ReLU let something through,
//
//     normal = (x - mean) / sqrt(var + eps)
//     grad_x = weight / sqrt(var + eps) * (g - mean(g) - normal * mean(g * normal))
//
// and of each plane the sums of g * normal and of g, which make the gradients of weight and bias (Ioffe & Szegedy 2015,
// section 3, with a plane for a batch). Mean and variance are made anew from x: the operation keeps none.
#include "bodies.cuh"

constexpr int GRADIENT_THREADS = 256;

// A block a team. HELD: x and the gradient stay in shared memory and are read once; else x is read three times, the
// gradient twice.
template <class T, int V, bool CHANNELS_LAST, bool HELD>
__device__ __forceinline__ void gradients(const Arguments& a) {
    using Bits = typename T::Bits;
    SHARED_MEMORY(memory);
    Bits* planes = reinterpret_cast<Bits*>(memory);
    Bits* given = planes + a.capacity * V;
    float* scratch = reinterpret_cast<float*>(memory) + (HELD ? a.capacity * V * sizeof(Bits) / 2 : 0);
    const Team<T, V, CHANNELS_LAST> team(a, blockIdx.x);
    constexpr int S = Team<T, V, CHANNELS_LAST>::S;
    const int first = team.idle ? team.vectors : threadIdx.x;

    if constexpr (HELD) {
        for (int j = first; j < team.vectors; j += blockDim.x) {
            team.hold(planes + j * V, a.x, j);
            team.hold(given + j * V, a.residual, j);
        }
        wait_for_copies();
    }
    const auto take = [&](const Bits* held, const void* tensor, int j, float (&values)[V]) {
        if constexpr (HELD)
            widen_vector<T, V>(held + j * V, values);
        else
            team.read(tensor, j, values);
    };

    Moments moments[S];
    const auto take_x = [&](int j, float (&values)[V]) { take(planes, a.x, j, values); };
    measure<T, V, CHANNELS_LAST>(take_x, team, first, team.vectors, moments, scratch);
    Affine affines[S];
    float inverse[S];
#pragma unroll
    for (int s = 0; s < S; ++s) {
        const Moments& m = moments[s];
        const float variance = m.value[3] / m.value[0];
        inverse[s] = 1.0f / sqrtf(variance + a.eps);
        if (!team.idle) affines[s] = affine(a, team.channel + s, m.value[1], m.value[2], variance);
    }

    // The normal value and g of number e, in the place of x and of the gradient.
    const auto prepare = [&](int e, float& x, float& g) {
        const int s = team.statistic(e);
        const float out = affines[s].apply(x, false);
        x = ((x - affines[s].center) - affines[s].rest) * inverse[s];
        // Not so a NaN, which is neither: it must reach the result.
        if (a.relu && out <= 0.0f) g = 0.0f;
    };
    float xs[V], gs[V];
    Sums<2> sums[S] = {};
    for (int j = first; j < team.vectors; j += blockDim.x) {
        take_x(j, xs);
        take(given, a.residual, j, gs);
        team.each(j, [&](int e) {
            prepare(e, xs[e], gs[e]);
            sums[team.statistic(e)].value[0] += gs[e] * xs[e];
            sums[team.statistic(e)].value[1] += gs[e];
        });
    }
    combine<Sums<2>, S, false>(
        sums, team.column, team.columns,
        scratch + scratch_floats<Sums<2>, S>(team.columns) + scratch_floats<Moments, S>(team.columns));
    if (team.idle) return;

    if (static_cast<int>(threadIdx.x) < team.columns) {
#pragma unroll
        for (int s = 0; s < S; ++s) write_part(a.workspace + (team.plane + s) * 2, sums[s]);
    }
    const float share = 1.0f / static_cast<float>(a.pixels);
    for (int j = first; j < team.vectors; j += blockDim.x) {
        take_x(j, xs);
        take(given, a.residual, j, gs);
#pragma unroll
        for (int e = 0; e < V; ++e) {
            const int s = team.statistic(e);
            prepare(e, xs[e], gs[e]);
            xs[e] = affines[s].scale * ((gs[e] - sums[s].value[1] * share) - xs[e] * (sums[s].value[0] * share));
        }
        team.write(a.out, j, xs);
    }
}

// Kernels by name: gradients_held_DTYPE_LAYOUT_xV, gradients_streamed_DTYPE_LAYOUT_xV. In the place of residual, out and
// workspace they take the gradient of `out`, that of x, and the sums.
#define GRADIENTS(name, body) ENTRY(GRADIENT_THREADS, name, body)

#define GRADIENTS_OF(dtype, T, V) \
    GRADIENTS(gradients_streamed_##dtype##_nchw_x1, (gradients<T, 1, false, false>)) \
    GRADIENTS(gradients_streamed_##dtype##_nhwc_x1, (gradients<T, 1, true, false>)) \
    GRADIENTS(gradients_streamed_##dtype##_nchw_x##V, (gradients<T, V, false, false>)) \
    GRADIENTS(gradients_streamed_##dtype##_nhwc_x##V, (gradients<T, V, true, false>)) \
    GRADIENTS(gradients_held_##dtype##_nchw_x##V, (gradients<T, V, false, true>)) \
    GRADIENTS(gradients_held_##dtype##_nhwc_x##V, (gradients<T, V, true, true>))

#ifdef STORE_F32
GRADIENTS_OF(f32, F32, 4)
#endif
#ifdef STORE_F16
GRADIENTS_OF(f16, F16, 8)
#endif
#ifdef STORE_BF16
GRADIENTS_OF(bf16, BF16, 8)
#endif
