// Kernels with one fault each, to show that the shim finds them.
#include "plane.cuh"

#define FAULT(name) \
    extern "C" __global__ void name(const void* x, void* out); \
    LAUNCHABLE(name) \
    extern "C" __global__ void name(const void* x, void* out)

FAULT(no_fault) {
    SHARED_MEMORY(memory);
    float* shared = reinterpret_cast<float*>(memory);
    store(shared + threadIdx.x, load(static_cast<const float*>(x) + threadIdx.x));
    __syncthreads();
    store(static_cast<float*>(out) + threadIdx.x, load(shared + (threadIdx.x + 1) % blockDim.x));
}

FAULT(fault_missing_barrier) {
    SHARED_MEMORY(memory);
    float* shared = reinterpret_cast<float*>(memory);
    store(shared + threadIdx.x, 1.0f);
    store(static_cast<float*>(out) + threadIdx.x, load(shared + (threadIdx.x + 1) % blockDim.x));
}

FAULT(fault_read_then_write) {
    SHARED_MEMORY(memory);
    float* shared = reinterpret_cast<float*>(memory);
    const float value = load(shared);
    if (threadIdx.x == 1) store(shared, value);
}

FAULT(fault_missing_cluster_barrier) {
    SHARED_MEMORY(memory);
    float* shared = reinterpret_cast<float*>(memory);
    if (threadIdx.x == 0) store(shared, 1.0f);
    __syncthreads();
    store(static_cast<float*>(out) + blockIdx.x * blockDim.x + threadIdx.x, load_remote(shared, 1 - cluster_rank()));
}

FAULT(fault_cluster_left_early) {
    SHARED_MEMORY(memory);
    float* shared = reinterpret_cast<float*>(memory);
    if (threadIdx.x == 0) store(shared, 1.0f);
    cluster_barrier();
    store(static_cast<float*>(out) + blockIdx.x * blockDim.x + threadIdx.x, load_remote(shared, 1 - cluster_rank()));
}

FAULT(fault_barrier_in_a_branch) {
    if (threadIdx.x < 16) __syncthreads();
}

FAULT(fault_shuffle_in_a_branch) {
    if (threadIdx.x % 32 < 16) store(static_cast<float*>(out) + threadIdx.x, __shfl_xor_sync(~0u, 1.0f, 1));
}

FAULT(fault_out_of_bounds) { load(static_cast<const float*>(x) + 64 + threadIdx.x); }

FAULT(fault_beyond_shared_memory) {
    SHARED_MEMORY(memory);
    store(reinterpret_cast<float*>(memory) + 64 + threadIdx.x, 0.0f);
}

FAULT(fault_not_aligned) {
    store_16_bytes(static_cast<float*>(out) + 1, uint4{0, 0, 0, 0});
}

FAULT(fault_written_twice) { store(static_cast<float*>(out), 1.0f); }

FAULT(fault_input_written) { store(static_cast<float*>(const_cast<void*>(x)) + threadIdx.x, 1.0f); }

FAULT(fault_copy_not_waited_for) {
    SHARED_MEMORY(memory);
    copy_16_bytes(memory + threadIdx.x, static_cast<const float*>(x) + threadIdx.x / 4 * 4);
}
