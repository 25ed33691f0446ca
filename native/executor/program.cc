#include "program.h"

#include <algorithm>
#include <atomic>
#include <ctime>
#include <thread>

namespace intformer {

// Units handed out and threads that finished, per step.
struct Program::Progress {
  struct alignas(64) Counters {
    std::atomic<int64_t> next{0};
    std::atomic<int> finished{0};
  };
  explicit Progress(size_t steps) : counters(steps) {}
  std::vector<Counters> counters;
};

namespace {

// Spins briefly, then lets other threads have the core.
void wait_for(const std::atomic<int>& counter, int value) {
  for (int spins = 0; counter.load(std::memory_order_acquire) < value; ++spins) {
    if (spins > 4000) {
      std::this_thread::yield();
    } else {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  }
}

// Nanoseconds that the calling thread has computed.
int64_t cpu_time() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Program::Program(std::vector<Step> steps, std::vector<Slot> slots,
                 std::vector<std::byte*> constants, int64_t arena_bytes)
    : steps_(std::move(steps)),
      slots_(std::move(slots)),
      constants_(std::move(constants)),
      arena_bytes_(round_up(arena_bytes, 64)) {
  for (const Step& step : steps_) {
    units_.push_back(step.operation->units(step));
    const int64_t bytes = step.operation->scratch ? step.operation->scratch(step) : 0;
    scratch_bytes_ = std::max(scratch_bytes_, round_up(bytes, 64));
  }
}

Pointers Program::resolve(std::byte* arena, const std::vector<std::byte*>& inputs,
                          const std::vector<std::byte*>& outputs) const {
  Pointers pointers;
  pointers.reserve(slots_.size());
  for (const Slot& slot : slots_) {
    const auto base = static_cast<size_t>(slot.base);
    std::byte* start = slot.kind == Slot::Kind::arena    ? arena + slot.base
                       : slot.kind == Slot::Kind::input  ? inputs.at(base)
                       : slot.kind == Slot::Kind::output ? outputs.at(base)
                                                         : constants_.at(base);
    pointers.push_back(start + slot.offset);
  }
  return pointers;
}

void Program::execute(const Pointers& pointers, Progress& progress, int threads,
                      std::byte* scratch) const {
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    auto& [next, finished] = progress.counters[i];
    const int64_t units = units_[i];
    const int64_t grain = threads == 1 ? units : std::max<int64_t>(1, units / (threads * 8));
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= units) break;
      step.operation->run(step, pointers, {begin, std::min(units, begin + grain)}, scratch);
    }
    if (threads == 1) continue;
    finished.fetch_add(1, std::memory_order_acq_rel);
    wait_for(finished, threads);
  }
}

void Program::run(Engine& engine, const std::vector<std::byte*>& inputs,
                  const std::vector<std::byte*>& outputs) const {
  auto memory = engine.borrow();
  const auto bytes = arena_bytes_ + scratch_bytes_ * engine.threads();
  std::byte* arena = memory->reserve(static_cast<size_t>(bytes));
  const Pointers pointers = resolve(arena, inputs, outputs);
  Progress progress(steps_.size());
  engine.run([&](int thread, int threads) {
    execute(pointers, progress, threads, arena + arena_bytes_ + thread * scratch_bytes_);
  });
  engine.give_back(std::move(memory));
}

std::vector<int64_t> Program::profile(Engine& engine, const std::vector<std::byte*>& inputs,
                                      const std::vector<std::byte*>& outputs) const {
  auto memory = engine.borrow();
  std::byte* arena = memory->reserve(static_cast<size_t>(arena_bytes_ + scratch_bytes_));
  const Pointers pointers = resolve(arena, inputs, outputs);
  std::vector<int64_t> times;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const int64_t start = cpu_time();
    steps_[i].operation->run(steps_[i], pointers, {0, units_[i]}, arena + arena_bytes_);
    times.push_back(cpu_time() - start);
  }
  engine.give_back(std::move(memory));
  return times;
}

}  // namespace intformer
