#include "steps.h"

#include <algorithm>
#include <stdexcept>

#include "../kernels/layout/layout.h"
#include "../kernels/products/products.h"
#include "../kernels/registry.h"
#include "reader.h"
#include "walk.h"

namespace intformer {
namespace {

// --- gemm: numbers [block_rows, block_columns, m, n, k, form, a_type, a_stride, epilogue...]

int64_t gemm_units(const Step& step) {
  Reader r(step);
  const int64_t rows = r.number(), columns = r.number(), m = r.number(), n = r.number();
  return blocks(m, rows) * blocks(n, columns);
}

Epilogue read_epilogue(Reader& r) {
  Epilogue e{};
  e.finish = r.as<Finish>();
  e.out_type = r.as<DType>();
  e.out_stride = r.number();
  e.shift = r.as_int();
  e.residual_stride = r.number();
  e.residual_rows = r.number();
  e.table_type = r.as<DType>();
  e.out = r.slot<void>();
  e.bias = r.slot<const int32_t>();
  e.multiplier = r.slot<const int32_t>();
  e.offset = r.slot<const int64_t>();
  e.residual = r.slot<const int16_t>();
  e.residual_multiplier = r.slot<const int32_t>();
  e.table = r.slot<const uint8_t>();
  e.look_up = kernels().table;
  return e;
}

Gemm read_gemm(Reader& r) {
  Gemm g{};
  g.m = r.number();
  g.n = r.number();
  g.k = r.number();
  g.form = r.as<Form>();
  g.a_type = r.as<DType>();
  g.a_stride = r.number();
  g.a = r.slot<const void>();
  g.b = r.slot<const void>();
  g.epilogue = read_epilogue(r);
  return g;
}

void gemm_run(const Step& step, const Pointers& pointers, Range units, std::byte* scratch) {
  Reader r(step, &pointers);
  const int64_t block_rows = r.number(), block_columns = r.number();
  const Gemm g = read_gemm(r);
  const int64_t across = blocks(g.n, block_columns);
  for (int64_t u = units.begin; u < units.end; ++u) {
    kernels().gemm(g, block_at(u / across, block_rows, g.m),
                   block_at(u % across, block_columns, g.n), scratch);
  }
}

int64_t gemm_scratch(const Step& step) {
  const auto form = static_cast<Form>(step.numbers.at(5));
  return kernels().gemm_scratch_bytes(form, step.numbers.at(0), step.numbers.at(4));
}

// --- window_gemm: numbers of gemm, then of patches. A are the windows of an image, which are
// gathered for one block at a time.

Patches read_patches(Reader& r) {
  Patches p{};
  for (int64_t* field : {&p.height, &p.width, &p.channels, &p.kernel_h, &p.kernel_w, &p.stride_h,
                         &p.stride_w, &p.pad_h, &p.pad_w, &p.out_h, &p.out_w}) {
    *field = r.number();
  }
  p.x = r.slot<const uint8_t>();
  p.pad = r.slot<const uint8_t>();
  return p;
}

void window_gemm_run(const Step& step, const Pointers& pointers, Range units, std::byte* scratch) {
  Reader r(step, &pointers);
  const int64_t block_rows = r.number(), block_columns = r.number();
  Gemm g = read_gemm(r);
  const Patches p = read_patches(r);
  const int64_t across = blocks(g.n, block_columns);
  auto* gathered = reinterpret_cast<uint8_t*>(scratch + round_up(gemm_scratch(step), 64));
  Range known{-1, -1};
  for (int64_t u = units.begin; u < units.end; ++u) {
    const Range rows = block_at(u / across, block_rows, g.m);
    if (rows.begin != known.begin) windows(p, rows, gathered);
    known = rows;
    g.a = gathered - rows.begin * g.a_stride;
    kernels().gemm(g, rows, block_at(u % across, block_columns, g.n), scratch);
  }
}

// Vector loads may read past the last window.
constexpr int64_t kBehindWindows = 64;

int64_t window_gemm_scratch(const Step& step) {
  const int64_t windows = step.numbers.at(0) * step.numbers.at(4);
  return round_up(gemm_scratch(step), 64) + windows + kBehindWindows;
}

// --- attention: numbers [block, batch, heads, queries, keys, size, value_size, strides...,
// constants..., bias strides...]

constexpr size_t kPackedSlot = 5;

Attention read_attention(const Step& step, const Pointers* pointers) {
  Reader r(step, pointers);
  r.number();
  Attention a{};
  for (int64_t* field :
       {&a.batch, &a.heads, &a.queries, &a.keys, &a.size, &a.value_size, &a.q_stride, &a.k_stride,
        &a.v_stride, &a.q_batch, &a.k_batch, &a.v_batch}) {
    *field = r.number();
  }
  for (int32_t* field : {&a.q_zero, &a.k_zero, &a.v_zero, &a.limit, &a.multiplier}) {
    *field = r.as_int();
  }
  a.exp_shift = r.as_int();
  a.gain = r.number();
  a.offset = r.number();
  a.shift = r.as_int();
  a.out_type = r.as<DType>();
  a.softmax = r.as<Softmax>();
  a.unit = r.as_int();
  a.bits = r.as_int();
  for (int64_t* field : {&a.bias_windows, &a.bias_window, &a.bias_head, &a.bias_query}) {
    *field = r.number();
  }
  a.q = r.slot<const uint8_t>();
  a.k = r.slot<const uint8_t>();
  a.v = r.slot<const uint8_t>();
  a.mask = r.slot<const uint8_t>();
  a.out = r.slot<void>();
  a.packed = r.slot<std::byte>();
  a.bias = r.slot<const int32_t>();
  return a;
}

int64_t attention_units(const Step& step) {
  const Attention a = read_attention(step, nullptr);
  return a.batch * a.heads * blocks(a.queries, first_number(step));
}

int64_t packed_head(const Attention& a) {
  return kernels().attention_packed_bytes(a.keys, a.size, a.value_size);
}

int64_t scratch_of(const Attention& a) {
  return round_up(kernels().attention_scratch_bytes(a.keys, a.size, a.value_size), 64);
}

// Without a place for the packed keys and values of all heads, every unit packs those of its head.
bool packs_itself(const Step& step) { return step.slots.at(kPackedSlot) < 0; }

void attention_run(const Step& step, const Pointers& pointers, Range units, std::byte* scratch) {
  Attention a = read_attention(step, &pointers);
  const int64_t block = first_number(step), per_head = blocks(a.queries, block);
  a.one_head = packs_itself(step) && packed_head(a) > 0;
  if (a.one_head) a.packed = scratch + scratch_of(a);
  for (int64_t u = units.begin; u < units.end; ++u) {
    if (a.one_head) kernels().pack_attention(a, u / per_head);
    kernels().attention(a, u / per_head, block_at(u % per_head, block, a.queries), scratch);
  }
}

int64_t attention_scratch(const Step& step) {
  const Attention a = read_attention(step, nullptr);
  return scratch_of(a) + (packs_itself(step) ? packed_head(a) : 0);
}

int64_t pack_units(const Step& step) {
  const Attention a = read_attention(step, nullptr);
  return a.batch * a.heads;
}

void pack_run(const Step& step, const Pointers& pointers, Range units, std::byte*) {
  const Attention a = read_attention(step, &pointers);
  for (int64_t u = units.begin; u < units.end; ++u) kernels().pack_attention(a, u);
}

// --- norm: numbers [rows, channels, eps, shift, bits, reciprocal, kind, start, x_type,
// out_type]

void norm_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  Norm n{};
  n.channels = r.number();
  n.eps = r.number();
  n.shift = r.as_int();
  n.bits = r.as_int();
  n.reciprocal = r.as_int();
  n.kind = r.as<NormKind>();
  n.start = r.as_int();
  n.x_type = r.as<DType>();
  n.out_type = r.as<DType>();
  n.x = r.slot<const void>();
  n.gain = r.slot<const int32_t>();
  n.offset = r.slot<const int64_t>();
  n.out = r.slot<void>();
  kernels().norm(n, rows);
}

// --- copy: numbers [outer, item, rank, dims..., in_strides..., out_strides...]

void copy_run(const Step& step, const Pointers& pointers, Range outer, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  Copy c{};
  c.item = r.number();
  c.rank = r.as_int();
  if (c.rank > kMaxRank) throw std::invalid_argument("copy of too high a rank");
  for (auto* field : {c.dims, c.in_strides, c.out_strides}) {
    for (int i = 0; i < c.rank; ++i) field[i] = r.number();
  }
  c.in = r.slot<const std::byte>();
  c.out = r.slot<std::byte>();
  copy(c, outer);
}

// --- patches: numbers [rows, height, width, channels, kernel, stride, padding, output]

void patches_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  Patches p = read_patches(r);
  p.out = r.slot<uint8_t>();
  patches(p, rows);
}

// --- embedding: numbers [tokens, channels, vocabulary, shift, ids_type, out_type]

Embedding read_embedding(const Step& step, const Pointers& pointers) {
  Reader r(step, &pointers);
  r.number();
  Embedding e{};
  e.channels = r.number();
  e.vocabulary = r.number();
  e.shift = r.as_int();
  e.ids_type = r.as<DType>();
  e.out_type = r.as<DType>();
  e.ids = r.slot<const void>();
  e.rows = r.slot<const int8_t>();
  e.multiplier = r.slot<const int32_t>();
  e.out = r.slot<void>();
  return e;
}

void embedding_run(const Step& step, const Pointers& pointers, Range tokens, std::byte*) {
  embedding(read_embedding(step, pointers), tokens);
}

// The same numbers, then [lanes, depth] of a packed weight.
void tied_embedding_run(const Step& step, const Pointers& pointers, Range tokens, std::byte*) {
  tied_embedding({read_embedding(step, pointers), step.numbers.at(6), step.numbers.at(7)}, tokens);
}

// --- sum, argmax: numbers [outer, axis, inner, type]

Reduce read_reduce(const Step& step, const Pointers& pointers) {
  Reader r(step, &pointers);
  r.number();
  Reduce reduce{};
  reduce.axis = r.number();
  reduce.inner = r.number();
  reduce.in_type = r.as<DType>();
  reduce.in = r.slot<const void>();
  reduce.out = r.slot<void>();
  return reduce;
}

void sum_run(const Step& step, const Pointers& pointers, Range outer, std::byte*) {
  sum(read_reduce(step, pointers), outer);
}

void argmax_run(const Step& step, const Pointers& pointers, Range outer, std::byte*) {
  argmax(read_reduce(step, pointers), outer);
}

void max_run(const Step& step, const Pointers& pointers, Range outer, std::byte*) {
  maximum(read_reduce(step, pointers), outer);
}

// --- matmul: numbers [matrices, m, k, n, a_zero, b_zero, rank, dims..., a.., b..]

void matmul_run(const Step& step, const Pointers& pointers, Range matrices, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  Product p{};
  p.m = r.number();
  p.k = r.number();
  p.n = r.number();
  p.a_zero = static_cast<int32_t>(r.number());
  p.b_zero = static_cast<int32_t>(r.number());
  const Walk walk = read_walk(r);
  const auto* a = r.slot<const uint8_t>();
  const auto* b = r.slot<const uint8_t>();
  auto* out = r.slot<int32_t>();
  for (int64_t i = matrices.begin; i < matrices.end; ++i) {
    kernels().products->product(p, a + row_offset(walk, walk.a, i), b + row_offset(walk, walk.b, i),
                                out + i * p.m * p.n, {0, p.m});
  }
}

// --- depthwise: numbers [rows, height, width, channels, kernel, stride, padding, output]

void depthwise_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  Depthwise d{};
  for (int64_t* field : {&d.height, &d.width, &d.channels, &d.kernel_h, &d.kernel_w, &d.stride_h,
                         &d.stride_w, &d.pad_h, &d.pad_w, &d.out_h, &d.out_w}) {
    *field = r.number();
  }
  d.x = r.slot<const uint8_t>();
  d.pad = r.slot<const uint8_t>();
  d.weight = r.slot<const int8_t>();
  d.bias = r.slot<const int32_t>();
  d.out = r.slot<int32_t>();
  kernels().products->depthwise(d, rows);
}

// --- softmax: numbers [rows, columns, limit, multiplier, exp_shift, gain, offset, shift, type]

void softmax_run(const Step& step, const Pointers& pointers, Range rows, std::byte* scratch) {
  Reader r(step, &pointers);
  r.number();
  SoftmaxRows s{};
  s.columns = r.number();
  s.limit = static_cast<int32_t>(r.number());
  s.multiplier = static_cast<int32_t>(r.number());
  s.exp_shift = r.as_int();
  s.gain = r.number();
  s.offset = r.number();
  s.shift = r.as_int();
  s.out_type = r.as<DType>();
  s.x = r.slot<const int16_t>();
  s.out = r.slot<void>();
  kernels().products->softmax(s, rows, scratch);
}

// The weights of a row in whole vectors.
int64_t softmax_scratch(const Step& step) { return 4 * round_up(step.numbers.at(1), 16); }

constexpr Operation kOperations[] = {
    {"gemm", gemm_units, gemm_run, gemm_scratch},
    {"window_gemm", gemm_units, window_gemm_run, window_gemm_scratch},
    {"attention_pack", pack_units, pack_run, nullptr},
    {"attention", attention_units, attention_run, attention_scratch},
    {"norm", first_number, norm_run, nullptr},
    {"copy", first_number, copy_run, nullptr},
    {"patches", first_number, patches_run, nullptr},
    {"embedding", first_number, embedding_run, nullptr},
    {"tied_embedding", first_number, tied_embedding_run, nullptr},
    {"sum", first_number, sum_run, nullptr},
    {"argmax", first_number, argmax_run, nullptr},
    {"max", first_number, max_run, nullptr},
    {"matmul", first_number, matmul_run, nullptr},
    {"depthwise", first_number, depthwise_run, nullptr},
    {"softmax", first_number, softmax_run, softmax_scratch},
};

}  // namespace

const Operation& operation(const std::string& name) {
  const std::span<const Operation> families[] = {kOperations, elementwise_operations(),
                                                 sequence_operations()};
  for (const auto& family : families) {
    for (const Operation& known : family) {
      if (name == known.name) return known;
    }
  }
  throw std::invalid_argument("unknown step " + name);
}

}  // namespace intformer
