// The operation in one launch, whatever the size of the planes: TensorRT gives a plugin one kernel and no workspace.
// tensorrt_plugin.py says what it is launched with.
#include "bodies.cuh"

constexpr float EPS = 1e-5f;  // as in dadfi_fast/ops/instance_norm_residual.py

// In shared memory where a plane fits into `room` vectors, else from global memory twice. All blocks decide alike, by
// the plane that lies worst: one that begins in the last number of a vector.
// `parts` blocks are launched for each plane: all of them work on one that is read twice, the first on one that is held.
template <class T, int V, bool CHANNELS_LAST>
__device__ __forceinline__ void either(Arguments a, int room, int parts) {
    a.capacity = CHANNELS_LAST ? a.pixels << a.column_bits : (a.pixels + 2 * V - 2) / V;
    if (a.capacity > room)
        streamed<T, V, CHANNELS_LAST>(a, parts);
    else if (blockIdx.x % parts == 0)
        resident<T, V, CHANNELS_LAST, false>(a, blockIdx.x / parts);
}

// A build defines PLUGIN as the kernel that it wants, PLAIN(...) or RESIDUAL(...), which takes one tensor more: an engine
// has only what it runs. TensorRT's order of arguments: tensors that are read, numbers, the tensor that is written.
// Tensors begin at multiples of 16 bytes.
#define NUMBERS int channels, int pixels, int room, int parts, int column_bits, int parameters, int relu
#define RUN(T, V, LAST, residual) \
    either<T, V, LAST>( \
        {x, weight, bias, residual, out, nullptr, channels, pixels, 0, 1, column_bits, parameters, relu, EPS}, room, \
        parts)

#define PLAIN(suffix, T, V, LAST) \
    extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) plugin_##suffix( \
        const void* x, const void* weight, const void* bias, NUMBERS, void* out) { \
        RUN(T, V, LAST, nullptr); \
    } \
    LAUNCHABLE(plugin_##suffix)

#define RESIDUAL(suffix, T, V, LAST) \
    extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) plugin_residual_##suffix( \
        const void* x, const void* weight, const void* bias, const void* residual, NUMBERS, void* out) { \
        RUN(T, V, LAST, residual); \
    } \
    LAUNCHABLE(plugin_residual_##suffix)

PLUGIN
