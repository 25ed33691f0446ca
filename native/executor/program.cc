#include "program.h"

#include <algorithm>
#include <atomic>
#include <ctime>
#include <thread>

namespace intformer {

namespace {

// Spins briefly, then lets other threads have the core.
void wait_for(const std::atomic<int64_t>& counter, int64_t value) {
  for (int spins = 0; counter.load(std::memory_order_acquire) < value; ++spins) {
    if (spins > 4000) {
      std::this_thread::yield();
    } else {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
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

// One execution, shared by the threads that take part. A thread that comes after the last unit was
// handed out reads nothing but this object.
class Program::Run {
 public:
  Run(const Program& program, Pointers pointers, std::byte* scratch)
      : program_(program),
        pointers_(std::move(pointers)),
        scratch_(scratch),
        states_(program.steps_.size()) {
    for (size_t i = 0; i < states_.size(); ++i) states_[i].units = program.units_[i];
  }

  void take_part(int thread, int threads) {
    for (size_t i = 0; i < states_.size(); ++i) {
      State& state = states_[i];
      const int64_t share = state.units / (threads * kSharesPerThread);
      const int64_t grain = threads == 1 ? state.units : std::max<int64_t>(1, share);
      for (;;) {
        const int64_t begin = state.next.fetch_add(grain, std::memory_order_relaxed);
        if (begin >= state.units) break;
        const int64_t end = std::min(state.units, begin + grain);
        execute(i, {begin, end}, thread);
        state.completed.fetch_add(end - begin, std::memory_order_acq_rel);
      }
      wait_for(state.completed, state.units);
    }
  }

 private:
  static constexpr int kSharesPerThread = 8;

  // Units of a step handed out and done. A step begins when all units of the one before are done.
  struct alignas(64) State {
    std::atomic<int64_t> next{0}, completed{0};
    int64_t units = 0;
  };

  void execute(size_t step, Range units, int thread) const {
    const Step& s = program_.steps_[step];
    s.operation->run(s, pointers_, units, scratch_ + thread * program_.scratch_bytes_);
  }

  const Program& program_;
  const Pointers pointers_;
  std::byte* const scratch_;
  std::vector<State> states_;
};

void Program::run(Engine& engine, const std::vector<std::byte*>& inputs,
                  const std::vector<std::byte*>& outputs) const {
  auto memory = engine.borrow();
  const auto bytes = arena_bytes_ + scratch_bytes_ * engine.threads();
  std::byte* arena = memory->reserve(static_cast<size_t>(bytes));
  auto run = std::make_shared<Run>(*this, resolve(arena, inputs, outputs), arena + arena_bytes_);
  engine.run(std::make_shared<const Engine::Job>(
      [run](int thread, int threads) { run->take_part(thread, threads); }));
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
