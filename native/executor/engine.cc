#include "engine.h"

#include <cstdlib>
#include <new>

namespace intformer {

std::byte* Memory::reserve(size_t bytes) {
  if (bytes > size_) {
    const size_t rounded = (bytes + 4095) / 4096 * 4096;
    data_.reset();
    size_ = 0;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, rounded)));
    if (!data_) throw std::bad_alloc();
    size_ = rounded;
  }
  return data_.get();
}

void Memory::Free::operator()(std::byte* p) const { std::free(p); }

Engine::Engine(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

Engine::~Engine() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void Engine::work(int thread) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || (job_ && generation_ != seen); });
    if (stopping_) return;
    seen = generation_;
    std::shared_ptr<const Job> job = job_;
    lock.unlock();
    (*job)(thread, threads());
    job.reset();
    lock.lock();
  }
}

void Engine::run(std::shared_ptr<const Job> job) {
  std::unique_lock busy(busy_, std::try_to_lock);
  if (workers_.empty() || !busy.owns_lock()) {
    (*job)(0, 1);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    job_ = job;
    ++generation_;
  }
  wake_.notify_all();
  (*job)(0, threads());
  std::lock_guard lock(mutex_);
  job_.reset();
}

std::unique_ptr<Memory> Engine::borrow() {
  std::lock_guard lock(memory_mutex_);
  if (memory_.empty()) return std::make_unique<Memory>();
  auto memory = std::move(memory_.back());
  memory_.pop_back();
  return memory;
}

void Engine::give_back(std::unique_ptr<Memory> memory) {
  std::lock_guard lock(memory_mutex_);
  memory_.push_back(std::move(memory));
}

}  // namespace intformer
