// How a step's numbers and slots are read.
#pragma once

#include <algorithm>

#include "steps.h"

namespace intformer {

// Reads the numbers and slots of a step in order.
class Reader {
 public:
  explicit Reader(const Step& step, const Pointers* pointers = nullptr)
      : step_(step), pointers_(pointers) {}

  int64_t number() { return step_.numbers.at(next_number_++); }
  int as_int() { return static_cast<int>(number()); }

  template <class E>
  E as() {
    return static_cast<E>(number());
  }

  template <class T>
  T* slot() {
    const int32_t index = step_.slots.at(next_slot_++);
    if (index < 0 || !pointers_) return nullptr;
    return reinterpret_cast<T*>(pointers_->at(static_cast<size_t>(index)));
  }

 private:
  const Step& step_;
  const Pointers* pointers_;
  size_t next_number_ = 0, next_slot_ = 0;
};

inline int64_t first_number(const Step& step) { return step.numbers.at(0); }

inline int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

inline Range block_at(int64_t index, int64_t block, int64_t size) {
  return {index * block, std::min(size, (index + 1) * block)};
}

}  // namespace intformer
