// A file seen as memory, safe against whatever happens to the file meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>

namespace intformer {

// Maps a file for reading. Where another process cuts the file off, the system answers reads past
// its new end with SIGBUS, which ends a process; a handler of this class puts zeros there instead,
// and `intact` is false from then on. Signals for other addresses go where they went before.
class MappedFile {
 public:
  // Maps `size` bytes of the open file `descriptor`, which may be closed afterwards. Throws
  // std::runtime_error where that is impossible.
  MappedFile(int descriptor, size_t size);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }

  // Whether the file still has the size and the time of change that it had when it was mapped.
  bool intact() const;

  // Gives the memory of pages read so far back; they are read again when they are needed.
  void release() const;

 private:
  int descriptor_;
  size_t size_, slot_;
  int64_t changed_seconds_ = 0, changed_nanoseconds_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace intformer
