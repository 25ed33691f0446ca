// A pool of threads and of work memory that programs share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace intformer {

// Aligned memory that grows to the largest size asked for.
class Memory {
 public:
  std::byte* reserve(size_t bytes);

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t size_ = 0;
};

// Threads that execute one job together. Concurrent callers do not wait for each other: the first
// has the threads, the others run their job alone.
class Engine {
 public:
  // Called once per thread, thread 0 being the caller, as `job(thread, threads)`. A thread that
  // comes late may call it after `run` has returned; the job must then find nothing left to do.
  using Job = std::function<void(int thread, int threads)>;

  explicit Engine(int threads);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Returns when the caller's own part of the job has.
  void run(std::shared_ptr<const Job> job);

  // Work memory for the time of one run.
  std::unique_ptr<Memory> borrow();
  void give_back(std::unique_ptr<Memory> memory);

 private:
  void work(int thread);

  std::vector<std::thread> workers_;
  std::mutex busy_;  // held by the caller whose job the threads execute
  std::mutex mutex_;
  std::condition_variable wake_;
  std::shared_ptr<const Job> job_;
  uint64_t generation_ = 0;
  bool stopping_ = false;
  std::mutex memory_mutex_;
  std::vector<std::unique_ptr<Memory>> memory_;
};

}  // namespace intformer
