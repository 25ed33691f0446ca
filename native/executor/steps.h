// One step of a program: an operator, the slots it works on and its numbers, in the order that the
// Python plan writes them (src/intformer/runtime/emit.py).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "../kernels/common.h"

namespace intformer {

using Pointers = std::vector<std::byte*>;

struct Step;

// How an operator is executed: how many independent units it has, and a range of them.
struct Operation {
  const char* name;
  int64_t (*units)(const Step&);
  void (*run)(const Step&, const Pointers&, Range units, std::byte* scratch);
  int64_t (*scratch)(const Step&);  // bytes per thread, or null
};

struct Step {
  const Operation* operation;
  std::vector<int32_t> slots;  // -1: absent
  std::vector<int64_t> numbers;
};

// Operations on single values, and those of sequence models.
std::span<const Operation> elementwise_operations();
std::span<const Operation> sequence_operations();

// The operation called `name`; throws std::invalid_argument if there is none.
const Operation& operation(const std::string& name);

}  // namespace intformer
