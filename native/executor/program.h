// A plan ready to run: steps over slots.
#pragma once

#include <memory>
#include <vector>

#include "engine.h"
#include "steps.h"

namespace intformer {

// Where a value lives: `base` counts inputs, outputs or constants; offsets are in bytes.
struct Slot {
  enum class Kind : int64_t { arena, input, output, constant } kind;
  int64_t base, offset;
};

class Program {
 public:
  Program(std::vector<Step> steps, std::vector<Slot> slots, std::vector<std::byte*> constants,
          int64_t arena_bytes);

  // Executes all steps; inputs and outputs are dense arrays of the planned types and shapes.
  void run(Engine& engine, const std::vector<std::byte*>& inputs,
           const std::vector<std::byte*>& outputs) const;

  // Executes on the calling thread and returns the CPU time of each step in nanoseconds.
  std::vector<int64_t> profile(Engine& engine, const std::vector<std::byte*>& inputs,
                               const std::vector<std::byte*>& outputs) const;

  // Bytes of scratch that each thread needs besides the arena.
  int64_t scratch_bytes() const { return scratch_bytes_; }

 private:
  class Run;
  Pointers resolve(std::byte* arena, const std::vector<std::byte*>& inputs,
                   const std::vector<std::byte*>& outputs) const;
  std::vector<Step> steps_;
  std::vector<int64_t> units_;
  std::vector<Slot> slots_;
  std::vector<std::byte*> constants_;
  int64_t arena_bytes_, scratch_bytes_ = 0;
};

}  // namespace intformer
