// The machine behind shim.h, and the one way in: `shim_launch`. The kernels are compiled into this file.
#include "shim.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

Index threadIdx, blockIdx, blockDim;

namespace shim {

constexpr int LANES = 32, STACK = 64 * 1024, GUARD = 256;
constexpr unsigned char POISON = 0xff;  // a NaN in every format

struct Barrier {
    int arrived = 0;
    unsigned passed = 0;
};

// Who touched two bytes of shared memory last, and when (see `time`).
struct Mark {
    int writer = -1, reader = -1;  // reader -2: several
    int writer_block = -1, reader_block = -1;
    unsigned long long write_time = 0, read_time = 0;
};

struct Warp {
    Barrier barrier;
    float slots[2][LANES];
};

struct Block {
    Barrier barrier;
    std::vector<Warp> warps;
    std::vector<unsigned char> memory;
    std::vector<Mark> marks;
    unsigned char* shared = nullptr;
    int left = 0;  // threads that have ended
};

struct Copy {
    void* to;
    const void* from;
};

struct Fiber {
    int number, thread, block;
    unsigned shuffles = 0;
    bool started = false, finished = false;
    std::vector<Copy> copies;
    ucontext_t context;
    jmp_buf place;
};

struct Range {
    unsigned char* begin;
    long long bytes;
    int writable;
};

struct Launch {
    int grid, threads, cluster, shared_bytes, order;
};

using Kernel = void (*)(void** parameters);

std::vector<Block> blocks;
std::vector<Fiber> fibers;
std::vector<std::unique_ptr<char[]>> stacks;
std::vector<Range> ranges;
std::vector<std::vector<unsigned char>> written;
Fiber* now;
Launch launch;
Barrier all;
unsigned base_time;  // no two clusters of blocks share a time (see `time`)
unsigned long long steps;
jmp_buf scheduler;
std::string error;
Kernel kernel;
void** parameters;

[[noreturn]] void fail(const std::string& what) {
    if (error.empty())
        error = what + " (block " + std::to_string(blockIdx.x) + ", thread " + std::to_string(threadIdx.x) + ")";
    _longjmp(scheduler, 1);
}

void yield() {
    if (_setjmp(now->place) == 0) _longjmp(scheduler, 1);
}

void wait(Barrier& barrier, int members) {
    const unsigned before = barrier.passed;
    ++steps;
    if (++barrier.arrived == members) {
        barrier.arrived = 0;
        ++barrier.passed;
        return;
    }
    while (barrier.passed == before) yield();
}

Block& block() { return blocks[now->block]; }

void block_barrier() { wait(block().barrier, launch.threads); }

void cluster_barrier() {
    // It orders the threads of a block, too.
    wait(block().barrier, launch.threads);
    wait(all, launch.threads * launch.cluster);
}

float exchange(float value, int offset) {
    Warp& warp = block().warps[now->thread / LANES];
    // Two sets of slots by turns: who writes one again has seen everybody come past the other.
    float* slots = warp.slots[now->shuffles++ % 2];
    slots[now->thread % LANES] = value;
    wait(warp.barrier, LANES);
    return slots[now->thread % LANES ^ offset];
}

void* shared_memory() { return block().shared; }
int rank() { return now->block; }
int size() { return launch.cluster; }

const void* remote(const void* place, int rank) {
    if (rank < 0 || rank >= launch.cluster) fail("no such block in the cluster");
    return blocks[rank].shared + (static_cast<const unsigned char*>(place) - block().shared);
}

// Barriers of the block that have been passed (upper half), and of the cluster.
unsigned long long time() {
    return static_cast<unsigned long long>(base_time + block().barrier.passed) << 32 | (base_time + all.passed);
}

// Whether another thread did something at `then` with no barrier for both of them since.
bool together(int thread, int other_block, unsigned long long then) {
    if (thread == -1 || thread == now->number) return false;
    return other_block == now->block ? then >> 32 == time() >> 32 : unsigned(then) == unsigned(time());
}

void check_shared(Block& owner, const unsigned char* place, int bytes, bool write) {
    for (long i = (place - owner.shared) / 2; i < (place - owner.shared + bytes) / 2; ++i) {
        Mark& mark = owner.marks[i];
        if (together(mark.writer, mark.writer_block, mark.write_time))
            fail(write ? "two threads write shared memory, no barrier between" : "shared memory is read unsynchronised");
        if (write) {
            if (together(mark.reader, mark.reader_block, mark.read_time))
                fail("shared memory is written while another thread may still read it");
            mark.writer = now->number, mark.writer_block = now->block, mark.write_time = time();
        } else {
            const bool several = together(mark.reader, mark.reader_block, mark.read_time);
            mark.reader = several ? -2 : now->number, mark.reader_block = now->block, mark.read_time = time();
        }
    }
}

void check(const void* pointer, int bytes, bool write, bool remote) {
    const auto* place = static_cast<const unsigned char*>(pointer);
    if (reinterpret_cast<std::uintptr_t>(place) % bytes) fail("an access is not aligned to its size");
    for (Block& owner : blocks) {
        if (place < owner.shared || place >= owner.shared + launch.shared_bytes + GUARD) continue;
        if (place + bytes > owner.shared + launch.shared_bytes) fail("access beyond the shared memory asked for");
        if (owner.left > 0 && &owner != &block()) fail("another block's shared memory after that block may have left");
        if (&owner != &block() && !remote) fail("another block's shared memory, other than by load_remote");
        return check_shared(owner, place, bytes, write);
    }
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        const Range& range = ranges[i];
        if (place < range.begin || place + bytes > range.begin + range.bytes) continue;
        if (write && !range.writable) fail("an input is written");
        for (long b = place - range.begin; range.writable && b < place - range.begin + bytes; ++b) {
            if (written[i][b]) fail(write ? "global memory is written twice" : "global memory is read after a write");
            written[i][b] = write;
        }
        return;
    }
    fail("access out of bounds");
}

void copy(void* shared, const void* global) {
    check(global, 16, false);
    check(shared, 16, true);
    now->copies.push_back({shared, global});
}

void wait_for_copies() {
    for (const Copy& c : now->copies) std::memcpy(c.to, c.from, 16);
    now->copies.clear();
}

void run_fiber() {
    kernel(parameters);
    if (!now->copies.empty()) fail("a thread ends with copies that it has not waited for");
    now->finished = true;
    ++block().left;
    ++steps;
    _longjmp(scheduler, 1);
}

void resume(Fiber& fiber, int first_block) {
    now = &fiber;
    threadIdx.x = fiber.thread;
    blockIdx.x = first_block + fiber.block;
    if (_setjmp(scheduler)) return;  // the fiber waits, has ended or has failed
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks[fiber.number].get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_fiber, 0);
    setcontext(&fiber.context);
}

void prepare(const std::vector<int>& order) {
    fibers.clear();
    fibers.resize(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
        Fiber& fiber = fibers[i];
        fiber.number = order[i];
        fiber.block = fiber.number / launch.threads;
        fiber.thread = fiber.number % launch.threads;
    }
    blocks.resize(launch.cluster);
    for (Block& b : blocks) {
        b.left = 0;
        b.warps.assign(launch.threads / LANES, {});
        b.memory.assign(launch.shared_bytes + GUARD + 16, POISON);
        b.shared = b.memory.data() + (16 - reinterpret_cast<std::uintptr_t>(b.memory.data()) % 16) % 16;
        b.marks.resize(launch.shared_bytes / 2 + 8);
    }
    // After all times of the blocks before: what they did to the same memory is no conflict.
    base_time += all.passed + 1;
    for (const Block& b : blocks) base_time += b.barrier.passed;
    all = {};
    for (Block& b : blocks) b.barrier = {};
}

// Runs the blocks first_block ... of one cluster to their end.
void run_cluster(int first_block, const std::vector<int>& order) {
    prepare(order);
    for (std::size_t left = fibers.size(); left > 0 && error.empty();) {
        const unsigned long long before = steps;
        for (Fiber& fiber : fibers) {
            if (fiber.finished || !error.empty()) continue;
            resume(fiber, first_block);
            left -= fiber.finished;
        }
        if (steps == before && error.empty()) error = "a barrier or shuffle that not all threads reach";
    }
}

std::vector<int> order_of_threads() {
    std::vector<int> order(launch.threads * launch.cluster);
    std::iota(order.begin(), order.end(), 0);
    if (launch.order == 1) std::reverse(order.begin(), order.end());
    if (launch.order > 1) std::shuffle(order.begin(), order.end(), std::mt19937(launch.order));
    return order;
}

}  // namespace shim

// Runs a kernel; returns null, or what it did wrong. `parameters` point to its arguments, as for the driver's launch.
// `order` is 0: threads ascending, 1: descending, else: shuffled.
extern "C" const char* shim_launch(
    shim::Kernel kernel, shim::Launch launch, const shim::Range* ranges, int range_count, void** parameters) {
    using namespace shim;
    shim::kernel = kernel;
    shim::launch = launch;
    shim::parameters = parameters;
    shim::ranges.assign(ranges, ranges + range_count);
    written.clear();
    for (const Range& range : shim::ranges) written.emplace_back(range.bytes, 0);
    error.clear();
    blockDim.x = launch.threads;
    const std::vector<int> order = order_of_threads();
    while (stacks.size() < order.size()) stacks.emplace_back(new char[STACK]);
    for (int first = 0; first < launch.grid && error.empty(); first += launch.cluster) run_cluster(first, order);
    return error.empty() ? nullptr : error.c_str();
}

extern "C" float shim_widen_f16(unsigned short bits) { return F16::widen(bits); }
extern "C" unsigned short shim_narrow_f16(float value) { return F16::narrow(value); }
extern "C" float shim_widen_bf16(unsigned short bits) { return BF16::widen(bits); }
extern "C" unsigned short shim_narrow_bf16(float value) { return BF16::narrow(value); }

#include "faults.cu"
#include "gradients.cu"
#include "instance_norm_residual.cu"
#include "tensorrt_plugin.cu"
