// Steps of the operators that sequence models need.
#include "../kernels/layout/layout.h"
#include "../kernels/registry.h"
#include "reader.h"

namespace intformer {
namespace {

// --- sequence_attention: numbers [block, batch, heads, kv_heads, queries, keys, size, causal, ...]

SequenceAttention read_attention(const Step& step, const Pointers* pointers) {
  Reader r(step, pointers);
  r.number();
  SequenceAttention a{};
  for (int64_t* field : {&a.batch, &a.heads, &a.kv_heads, &a.queries, &a.keys, &a.size}) {
    *field = r.number();
  }
  a.causal = r.number() != 0;
  a.power = r.as_int();
  for (int32_t* field : {&a.q_zero, &a.k_zero, &a.v_zero, &a.limit, &a.multiplier}) {
    *field = r.as_int();
  }
  a.exp_shift = r.as_int();
  a.gain = r.number();
  a.offset = r.number();
  a.shift = r.as_int();
  a.out_type = r.as<DType>();
  a.q = r.slot<const uint8_t>();
  a.k = r.slot<const uint8_t>();
  a.v = r.slot<const uint8_t>();
  a.mask = r.slot<const uint8_t>();
  a.position = r.slot<const int64_t>();
  a.bias = r.slot<const int32_t>();
  a.floor = r.slot<const int32_t>();
  a.out = r.slot<void>();
  return a;
}

int64_t attention_units(const Step& step) {
  const SequenceAttention a = read_attention(step, nullptr);
  return a.batch * a.heads * blocks(a.queries, first_number(step));
}

void attention_run(const Step& step, const Pointers& pointers, Range units, std::byte* scratch) {
  const SequenceAttention a = read_attention(step, &pointers);
  const int64_t block = first_number(step), per_head = blocks(a.queries, block);
  for (int64_t u = units.begin; u < units.end; ++u) {
    kernels().sequence->attention(a, u / per_head, block_at(u % per_head, block, a.queries),
                                  scratch);
  }
}

int64_t attention_scratch(const Step& step) {
  const SequenceAttention a = read_attention(step, nullptr);
  return sequence_attention_scratch(a.keys, a.size);
}

// --- rotary: numbers [rows, tokens, heads, size, table rows]

void rotary_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  Rotary t{};
  for (int64_t* field : {&t.tokens, &t.heads, &t.size, &t.rows}) *field = r.number();
  t.x = r.slot<const int16_t>();
  t.cosine = r.slot<const int16_t>();
  t.sine = r.slot<const int16_t>();
  t.position = r.slot<const int64_t>();
  t.out = r.slot<int32_t>();
  kernels().sequence->rotary(t, rows);
}

// --- l1_norm: numbers [rows, channels, eps, shift, reciprocal, out_type]

void l1_norm_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  L1Norm n{};
  n.channels = r.number();
  n.eps = r.number();
  n.shift = r.as_int();
  n.reciprocal = r.as_int();
  n.out_type = r.as<DType>();
  n.x = r.slot<const int16_t>();
  n.gain = r.slot<const int32_t>();
  n.offset = r.slot<const int64_t>();
  n.out = r.slot<void>();
  kernels().sequence->l1_norm(n, rows);
}

// --- append: numbers [batch, length, tokens, width]

void append_run(const Step& step, const Pointers& pointers, Range batch, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  Append a{};
  for (int64_t* field : {&a.length, &a.tokens, &a.width}) *field = r.number();
  a.cache = r.slot<const uint8_t>();
  a.fresh = r.slot<const uint8_t>();
  a.position = r.slot<const int64_t>();
  a.out = r.slot<uint8_t>();
  append(a, batch);
}

// --- position_rows: numbers [rows, tokens, width in bytes, table rows]

void position_rows_run(const Step& step, const Pointers& pointers, Range rows, std::byte*) {
  Reader r(step, &pointers);
  r.number();
  PositionRows p{};
  for (int64_t* field : {&p.tokens, &p.width, &p.rows}) *field = r.number();
  p.table = r.slot<const std::byte>();
  p.position = r.slot<const int64_t>();
  p.out = r.slot<std::byte>();
  position_rows(p, rows);
}

constexpr Operation kOperations[] = {
    {"sequence_attention", attention_units, attention_run, attention_scratch},
    {"rotary", first_number, rotary_run, nullptr},
    {"l1_norm", first_number, l1_norm_run, nullptr},
    {"append", first_number, append_run, nullptr},
    {"position_rows", first_number, position_rows_run, nullptr},
};

}  // namespace

std::span<const Operation> sequence_operations() { return kOperations; }

}  // namespace intformer
