// Python bindings of the native runtime.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "../executor/program.h"
#include "../kernels/ranking/ranking.h"
#include "../kernels/registry.h"
#include "../storage/mapped_file.h"

namespace nb = nanobind;

namespace intformer {
namespace {

using Input = nb::ndarray<nb::ro, nb::device::cpu, nb::c_contig>;
using Output = nb::ndarray<nb::device::cpu, nb::c_contig>;
using StepText = std::tuple<std::string, std::vector<int32_t>, std::vector<int64_t>>;
using SlotText = std::tuple<int64_t, int64_t, int64_t>;

template <class Array>
std::vector<std::byte*> pointers_to(const std::vector<Array>& arrays) {
  std::vector<std::byte*> pointers;
  for (const Array& array : arrays) {
    pointers.push_back(static_cast<std::byte*>(const_cast<void*>(array.data())));
  }
  return pointers;
}

// The bytes of a file as a NumPy array that cannot be written.
nb::ndarray<nb::numpy, const uint8_t, nb::ndim<1>> content(const MappedFile& file) {
  return {file.data(), {file.size()}};
}

template <class T, int kRank>
using Table = nb::ndarray<nb::ro, T, nb::ndim<kRank>, nb::device::cpu, nb::c_contig>;
template <class T, int kRank>
using Result = nb::ndarray<T, nb::ndim<kRank>, nb::device::cpu, nb::c_contig>;

// See `rank_row`; one row of `tokens`, `octaves` and `totals` per row of logits.
void rank_rows(const Table<int16_t, 2>& logits, const Table<int32_t, 1>& weights,
               const Table<int64_t, 1>& costs, const Table<uint8_t, 1>& closed,
               const Result<int64_t, 2>& tokens, const Result<int64_t, 2>& octaves,
               const Result<int64_t, 1>& totals) {
  const int64_t rows = logits.shape(0), count = logits.shape(1), keep = tokens.shape(1);
  const bool fits = count > 0 && keep > 0 && weights.size() == 1 << 16 && costs.size() == 1 << 16 &&
                    int64_t(closed.size()) == count && int64_t(tokens.shape(0)) == rows &&
                    int64_t(octaves.shape(0)) == rows && int64_t(octaves.shape(1)) == keep &&
                    int64_t(totals.size()) == rows;
  if (!fits) throw nb::value_error("rank_rows: shapes do not fit each other");
  const RankRowFn rank = kernels().sequence->rank_row;
  nb::gil_scoped_release release;
  for (int64_t i = 0; i < rows; ++i) {
    const Ranking row{logits.data() + i * count, count, weights.data(), costs.data(),
                      closed.data()};
    totals.data()[i] = rank(row, keep, tokens.data() + i * keep, octaves.data() + i * keep);
  }
}

// A program together with the arrays its constants live in.
class BoundProgram {
 public:
  BoundProgram(const std::vector<StepText>& steps, const std::vector<SlotText>& slots,
               std::vector<Input> constants, int64_t arena_bytes)
      : constants_(std::move(constants)),
        program_(decode(steps), decode(slots), pointers_to(constants_), arena_bytes) {}

  void run(Engine& engine, const std::vector<Input>& inputs, const std::vector<Output>& outputs) {
    const auto in = pointers_to(inputs), out = pointers_to(outputs);
    nb::gil_scoped_release release;
    program_.run(engine, in, out);
  }

  std::vector<int64_t> profile(Engine& engine, const std::vector<Input>& inputs,
                               const std::vector<Output>& outputs) {
    return program_.profile(engine, pointers_to(inputs), pointers_to(outputs));
  }

  int64_t scratch_bytes() const { return program_.scratch_bytes(); }

 private:
  static std::vector<Step> decode(const std::vector<StepText>& steps) {
    std::vector<Step> result;
    for (const auto& [name, slots, numbers] : steps) {
      result.push_back({&operation(name), slots, numbers});
    }
    return result;
  }

  static std::vector<Slot> decode(const std::vector<SlotText>& slots) {
    std::vector<Slot> result;
    for (const auto& [kind, base, offset] : slots) {
      result.push_back({static_cast<Slot::Kind>(kind), base, offset});
    }
    return result;
  }

  std::vector<Input> constants_;
  Program program_;
};

}  // namespace
}  // namespace intformer

NB_MODULE(_native, m) {
  using namespace intformer;
  m.doc() = "Native integer kernels and executor.";
  m.def("plan_format", [] { return INTFORMER_PLAN_FORMAT; });
  m.def("level", [] { return std::string(kernels().name); });
  m.def("lanes", [] { return kernels().lanes; });
  m.def("splits_lanes", [] { return kernels().split_lanes; });
  m.def("levels", &available_levels);
  m.def("features", &cpu_features);
  m.def("attention_packed_bytes", [](int64_t keys, int64_t size, int64_t value_size) {
    return kernels().attention_packed_bytes(keys, size, value_size);
  });
  m.def("probe", [](int64_t form, int64_t rounds) {
    return kernels().probe(static_cast<Form>(form), rounds);
  });
  m.def("rank_rows", &rank_rows);
  nb::class_<MappedFile>(m, "MappedFile")
      .def(nb::init<int, size_t>(), nb::arg("descriptor"), nb::arg("size"))
      .def_prop_ro("content", &content, nb::rv_policy::reference_internal)
      .def_prop_ro("intact", &MappedFile::intact)
      .def("release", &MappedFile::release);
  nb::class_<Engine>(m, "Engine")
      .def(nb::init<int>(), nb::arg("threads"))
      .def_prop_ro("threads", &Engine::threads);
  nb::class_<BoundProgram>(m, "Program")
      .def(nb::init<const std::vector<StepText>&, const std::vector<SlotText>&, std::vector<Input>,
                    int64_t>())
      .def("run", &BoundProgram::run)
      .def("profile", &BoundProgram::profile)
      .def_prop_ro("scratch_bytes", &BoundProgram::scratch_bytes);
}
