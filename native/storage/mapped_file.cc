#include "mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <stdexcept>

namespace intformer {
namespace {

// What the handler may read at any time: ranges of addresses, and whether zeros were put there.
struct Entry {
  std::atomic<bool> taken{false}, lost{false};
  std::atomic<uintptr_t> begin{0}, end{0};
};

constexpr size_t kEntries = 256;
Entry entries[kEntries];
struct sigaction previous;
std::mutex handler_mutex;

bool put_zeros(uintptr_t address) {
  for (Entry& entry : entries) {
    const uintptr_t begin = entry.begin.load(), end = entry.end.load();
    if (address < begin || address >= end) continue;
    entry.lost.store(true);
    void* at = reinterpret_cast<void*>(begin);
    return mmap(at, end - begin, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at;
  }
  return false;
}

void on_bus_error(int number, siginfo_t* info, void* context) {
  if (put_zeros(reinterpret_cast<uintptr_t>(info->si_addr))) return;
  if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(number, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    return previous.sa_handler(number);
  }
  signal(number, SIG_DFL);  // the access is tried again and ends the process
}

void install_handler() {
  std::lock_guard lock(handler_mutex);
  struct sigaction current{};
  sigaction(SIGBUS, nullptr, &current);
  if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_bus_error) return;
  previous = current;
  struct sigaction own{};
  own.sa_sigaction = on_bus_error;
  own.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&own.sa_mask);
  sigaction(SIGBUS, &own, nullptr);
}

size_t take_entry() {
  for (size_t i = 0; i < kEntries; ++i) {
    if (!entries[i].taken.exchange(true)) return i;
  }
  throw std::runtime_error("too many files are mapped");
}

size_t whole_pages(size_t size) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (size + page - 1) / page * page;
}

timespec time_of_change(const struct stat& status) {
#if defined(__APPLE__)
  return status.st_mtimespec;
#else
  return status.st_mtim;
#endif
}

}  // namespace

MappedFile::MappedFile(int descriptor, size_t size)
    : descriptor_(fcntl(descriptor, F_DUPFD_CLOEXEC, 0)), size_(size) {
  struct stat status{};
  if (descriptor_ < 0 || size == 0 || fstat(descriptor_, &status) != 0) {
    if (descriptor_ >= 0) close(descriptor_);
    throw std::runtime_error("the file cannot be mapped");
  }
  changed_seconds_ = time_of_change(status).tv_sec;
  changed_nanoseconds_ = time_of_change(status).tv_nsec;
  try {
    slot_ = take_entry();
  } catch (...) {
    close(descriptor_);
    throw;
  }
  install_handler();
  void* at = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (at == MAP_FAILED) {
    entries[slot_].taken.store(false);
    close(descriptor_);
    throw std::runtime_error("the file cannot be mapped");
  }
  data_ = static_cast<std::byte*>(at);
  Entry& entry = entries[slot_];
  entry.lost.store(false);
  entry.begin.store(reinterpret_cast<uintptr_t>(at));
  entry.end.store(reinterpret_cast<uintptr_t>(at) + whole_pages(size));
}

MappedFile::~MappedFile() {
  Entry& entry = entries[slot_];
  entry.end.store(0);
  entry.begin.store(0);
  munmap(data_, size_);
  close(descriptor_);
  entry.taken.store(false);
}

bool MappedFile::intact() const {
  struct stat status{};
  if (entries[slot_].lost.load() || fstat(descriptor_, &status) != 0) return false;
  const timespec changed = time_of_change(status);
  return static_cast<size_t>(status.st_size) == size_ && changed.tv_sec == changed_seconds_ &&
         changed.tv_nsec == changed_nanoseconds_;
}

void MappedFile::release() const {
  // Zeros that replaced a lost page would be gone, too, and come back as zeros.
  madvise(data_, size_, MADV_DONTNEED);
}

}  // namespace intformer
