// Instance norm, ReLU and the addition of a residual in one: the kernels of the ladder (README.md), by name.
#include "bodies.cuh"

// Kernels by name: VERSION_DTYPE_LAYOUT_xV. What a build defines (STORE_F32, STORE_F16, STORE_BF16) says which dtypes it
// has. None is launched with more than MAX_THREADS threads.
#define KERNEL(name, body) ENTRY(MAX_THREADS, name, body)

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define CLUSTER_KERNEL(name, body) KERNEL(name, body)
#else
#define CLUSTER_KERNEL(name, body)
#endif

#define TWO_PASS(suffix, T, V, LAST) \
    KERNEL(gather_##suffix, (gather<T, V, LAST>)) \
    KERNEL(normalise_##suffix, (normalise<T, V, LAST>))

#define ONE_PASS(suffix, T, V, LAST) \
    KERNEL(resident_##suffix, (resident_block<T, V, LAST>)) \
    CLUSTER_KERNEL(cluster_##suffix, (resident_cluster<T, V, LAST>))

#define KERNELS_OF(dtype, T, V) \
    TWO_PASS(dtype##_nchw_x1, T, 1, false) \
    TWO_PASS(dtype##_nhwc_x1, T, 1, true) \
    TWO_PASS(dtype##_nchw_x##V, T, V, false) \
    TWO_PASS(dtype##_nhwc_x##V, T, V, true) \
    ONE_PASS(dtype##_nchw_x##V, T, V, false) \
    ONE_PASS(dtype##_nhwc_x##V, T, V, true)

#ifdef STORE_F32
KERNELS_OF(f32, F32, 4)
#endif
#ifdef STORE_F16
KERNELS_OF(f16, F16, 8)
#endif
#ifdef STORE_BF16
KERNELS_OF(bf16, BF16, 8)
#endif
