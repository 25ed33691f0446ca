// Runs plans for another process: at instruction sets that are emulated, and under sanitizers,
// whose runtime a Python process does not have. tests/other_process.py is the other end.
//
// Requests come on standard input, answers go to standard output. Both are int64 numbers and arrays
// of bytes or numbers with their count in front. A request is [ticket, command, arguments...], its
// answer [ticket, 0, bytes] or [ticket, 1, message]. Runs are answered by threads of their own, in
// any order.
#include <cstdio>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "../executor/program.h"
#include "../kernels/registry.h"

namespace intformer {
namespace {

enum class Command : int64_t { describe, packed_bytes, engine, load, unload, run };

using Bytes = std::vector<std::byte>;

// --- reading requests

struct EndOfInput {};

void read_exactly(void* to, size_t size) {
  if (size && std::fread(to, 1, size, stdin) != size) throw EndOfInput{};
}

int64_t read_number() {
  int64_t number = 0;
  read_exactly(&number, sizeof number);
  return number;
}

template <class T>
std::vector<T> read_array() {
  std::vector<T> array(static_cast<size_t>(read_number()));
  read_exactly(array.data(), array.size() * sizeof(T));
  return array;
}

std::vector<Bytes> read_arrays() {
  std::vector<Bytes> arrays(static_cast<size_t>(read_number()));
  for (Bytes& array : arrays) array = read_array<std::byte>();
  return arrays;
}

std::string read_text() {
  const std::vector<char> text = read_array<char>();
  return {text.begin(), text.end()};
}

// --- answering

std::mutex output_mutex;

void answer(int64_t ticket, bool failed, const void* data, size_t size) {
  const int64_t head[] = {ticket, failed, static_cast<int64_t>(size)};
  std::lock_guard lock(output_mutex);
  std::fwrite(head, sizeof head, 1, stdout);
  if (size) std::fwrite(data, 1, size, stdout);
  std::fflush(stdout);
}

void answer(int64_t ticket, int64_t number) { answer(ticket, false, &number, sizeof number); }

// Answers what `work` returns, or the message of what it throws.
template <class Work>
void answer_with(int64_t ticket, Work work) {
  try {
    const auto result = work();
    answer(ticket, false, result.data(), result.size());
  } catch (const std::exception& error) {
    const std::string message = error.what();
    answer(ticket, true, message.data(), message.size());
  }
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += text.empty() ? word : " " + word;
  return text;
}

std::string description() {
  const Kernels& chosen = kernels();
  return std::string(chosen.name) + "\n" + std::to_string(chosen.lanes) + "\n" +
         std::to_string(chosen.split_lanes) + "\n" + joined(available_levels()) + "\n" +
         joined(cpu_features());
}

// --- programs

std::vector<std::byte*> pointers_to(std::vector<Bytes>& arrays) {
  std::vector<std::byte*> pointers;
  for (Bytes& array : arrays) pointers.push_back(array.data());
  return pointers;
}

// A program and its constants. Every array has exactly its size, so that an address sanitizer sees
// what reads past one.
struct Loaded {
  std::vector<Bytes> constants;
  std::unique_ptr<Program> program;
};

std::vector<Step> read_steps() {
  std::vector<Step> steps(static_cast<size_t>(read_number()));
  for (Step& step : steps) {
    step.operation = &operation(read_text());
    step.slots = read_array<int32_t>();
    step.numbers = read_array<int64_t>();
  }
  return steps;
}

std::vector<Slot> read_slots() {
  const std::vector<int64_t> numbers = read_array<int64_t>();
  std::vector<Slot> slots;
  for (size_t i = 0; i + 2 < numbers.size(); i += 3) {
    slots.push_back({static_cast<Slot::Kind>(numbers[i]), numbers[i + 1], numbers[i + 2]});
  }
  return slots;
}

std::shared_ptr<Loaded> read_program() {
  auto loaded = std::make_shared<Loaded>();
  std::vector<Step> steps = read_steps();
  std::vector<Slot> slots = read_slots();
  loaded->constants = read_arrays();
  const int64_t arena_bytes = read_number();
  loaded->program = std::make_unique<Program>(std::move(steps), std::move(slots),
                                              pointers_to(loaded->constants), arena_bytes);
  return loaded;
}

Bytes run(const Loaded& loaded, Engine& engine, std::vector<Bytes> inputs,
          const std::vector<int64_t>& sizes) {
  std::vector<Bytes> outputs;
  for (const int64_t size : sizes) outputs.emplace_back(static_cast<size_t>(size));
  loaded.program->run(engine, pointers_to(inputs), pointers_to(outputs));
  Bytes joined;
  for (const Bytes& output : outputs) joined.insert(joined.end(), output.begin(), output.end());
  return joined;
}

// --- the loop

class Server {
 public:
  [[noreturn]] void serve() {
    for (;;) {
      const int64_t ticket = read_number();
      handle(ticket, static_cast<Command>(read_number()));
    }
  }

 private:
  void handle(int64_t ticket, Command command) {
    switch (command) {
      case Command::describe:
        return answer_with(ticket, description);
      case Command::packed_bytes: {
        const int64_t keys = read_number(), size = read_number(), value_size = read_number();
        return answer(ticket, kernels().attention_packed_bytes(keys, size, value_size));
      }
      case Command::engine:
        engines_[ticket] = std::make_shared<Engine>(static_cast<int>(read_number()));
        return answer(ticket, ticket);
      case Command::load:
        programs_[ticket] = read_program();
        return answer(ticket, programs_[ticket]->program->scratch_bytes());
      case Command::unload: {
        const int64_t handle = read_number();
        return answer(ticket, static_cast<int64_t>(programs_.erase(handle)));
      }
      case Command::run:
        return start_run(ticket);
    }
  }

  void start_run(int64_t ticket) {
    auto loaded = programs_.at(read_number());
    auto engine = engines_.at(read_number());
    auto inputs = read_arrays();
    auto sizes = read_array<int64_t>();
    std::thread([=, inputs = std::move(inputs)]() mutable {
      answer_with(ticket, [&] { return run(*loaded, *engine, std::move(inputs), sizes); });
    }).detach();
  }

  std::map<int64_t, std::shared_ptr<Engine>> engines_;
  std::map<int64_t, std::shared_ptr<Loaded>> programs_;
};

}  // namespace
}  // namespace intformer

int main() {
  try {
    intformer::Server().serve();
  } catch (const intformer::EndOfInput&) {
    return 0;
  }
}
