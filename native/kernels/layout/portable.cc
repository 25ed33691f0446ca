#include <cstring>

#include "../scalar.h"
#include "layout.h"

namespace intformer {
namespace {

template <class T>
void copy_items(const std::byte* in, std::byte* out, int64_t n, int64_t in_step, int64_t out_step) {
  for (int64_t i = 0; i < n; ++i) {
    std::memcpy(out + i * out_step * sizeof(T), in + i * in_step * sizeof(T), sizeof(T));
  }
}

void copy_line(const Copy& c, int axis, const std::byte* in, std::byte* out) {
  const int64_t n = c.dims[axis], from = c.in_strides[axis], to = c.out_strides[axis];
  if (from == 1 && to == 1) {
    std::memcpy(out, in, static_cast<size_t>(n * c.item));
    return;
  }
  switch (c.item) {
    case 1:
      return copy_items<uint8_t>(in, out, n, from, to);
    case 2:
      return copy_items<uint16_t>(in, out, n, from, to);
    case 4:
      return copy_items<uint32_t>(in, out, n, from, to);
    default:
      return copy_items<uint64_t>(in, out, n, from, to);
  }
}

void copy_axis(const Copy& c, int axis, const std::byte* in, std::byte* out) {
  if (axis == c.rank - 1) return copy_line(c, axis, in, out);
  for (int64_t i = 0; i < c.dims[axis]; ++i) {
    copy_axis(c, axis + 1, in + i * c.in_strides[axis] * c.item,
              out + i * c.out_strides[axis] * c.item);
  }
}

void window(const Patches& p, int64_t image, int64_t top, int64_t left, uint8_t* out) {
  const int64_t line = p.kernel_w * p.channels;
  for (int64_t i = 0; i < p.kernel_h; ++i) {
    const int64_t y = top + i;
    const bool inside = y >= 0 && y < p.height;
    const uint8_t* row = p.x + (image * p.height + (inside ? y : 0)) * p.width * p.channels;
    if (inside && left >= 0 && left + p.kernel_w <= p.width) {
      std::memcpy(out + i * line, row + left * p.channels, static_cast<size_t>(line));
      continue;
    }
    for (int64_t j = 0; j < p.kernel_w; ++j) {
      const int64_t x = left + j;
      const bool seen = inside && x >= 0 && x < p.width;
      std::memcpy(out + i * line + j * p.channels, seen ? row + x * p.channels : p.pad,
                  static_cast<size_t>(p.channels));
    }
  }
}

template <class T>
void sum_line(const Reduce& r, int64_t outer) {
  const T* in = static_cast<const T*>(r.in) + outer * r.axis * r.inner;
  int32_t* out = static_cast<int32_t*>(r.out) + outer * r.inner;
  if (r.inner == 1) {  // in a register, so that the compiler adds whole vectors
    int32_t total = 0;
    for (int64_t i = 0; i < r.axis; ++i) total = wrap_add32(total, in[i]);
    *out = total;
    return;
  }
  for (int64_t j = 0; j < r.inner; ++j) out[j] = 0;
  for (int64_t i = 0; i < r.axis; ++i) {
    for (int64_t j = 0; j < r.inner; ++j) out[j] = wrap_add32(out[j], in[i * r.inner + j]);
  }
}

void max_line(const Reduce& r, int64_t outer, int64_t j) {
  const int64_t base = outer * r.axis * r.inner + j;
  int64_t most = load(r.in, r.in_type, base);
  for (int64_t i = 1; i < r.axis; ++i) {
    const int64_t value = load(r.in, r.in_type, base + i * r.inner);
    most = value > most ? value : most;
  }
  store(r.out, r.in_type, outer * r.inner + j, static_cast<int32_t>(most));
}

void argmax_line(const Reduce& r, int64_t outer, int64_t j) {
  const int64_t base = outer * r.axis * r.inner + j;
  int64_t best = 0, most = load(r.in, r.in_type, base);
  for (int64_t i = 1; i < r.axis; ++i) {
    const int64_t value = load(r.in, r.in_type, base + i * r.inner);
    best = value > most ? i : best;
    most = value > most ? value : most;
  }
  static_cast<int64_t*>(r.out)[outer * r.inner + j] = best;
}

// Where a packed or plain weight has its channel `c` of `column`.
int64_t tied_place(const TiedEmbedding& t, int64_t column, int64_t c) {
  if (t.lanes == 0) return c * t.e.vocabulary + column;
  const int64_t panel = column / t.lanes * t.depth, lane = column % t.lanes;
  return (panel + c / 4 * 4) * t.lanes + lane * 4 + c % 4;
}

}  // namespace

void copy(const Copy& c, Range outer) {
  for (int64_t i = outer.begin; i < outer.end; ++i) {
    const std::byte* in = c.in + i * c.in_strides[0] * c.item;
    std::byte* out = c.out + i * c.out_strides[0] * c.item;
    if (c.rank == 1) {
      std::memcpy(out, in, static_cast<size_t>(c.item));
    } else {
      copy_axis(c, 1, in, out);
    }
  }
}

void windows(const Patches& p, Range range, uint8_t* to) {
  const int64_t size = p.kernel_h * p.kernel_w * p.channels;
  for (int64_t i = range.begin; i < range.end; ++i, to += size) {
    const int64_t row = i / p.out_w, image = row / p.out_h;
    const int64_t top = row % p.out_h * p.stride_h - p.pad_h;
    window(p, image, top, i % p.out_w * p.stride_w - p.pad_w, to);
  }
}

void patches(const Patches& p, Range rows) {
  const int64_t size = p.kernel_h * p.kernel_w * p.channels * p.out_w;
  windows(p, {rows.begin * p.out_w, rows.end * p.out_w}, p.out + rows.begin * size);
}

void embedding(const Embedding& e, Range tokens) {
  const int64_t half = int64_t{1} << (e.shift - 1);
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    const int64_t id = load(e.ids, e.ids_type, t);
    // The verifier proves ids in range; a program that was never verified must not read elsewhere.
    const int64_t row = id >= 0 && id < e.vocabulary ? id : 0;
    const int8_t* from = e.rows + row * e.channels;
    const int64_t multiplier = e.multiplier[row];
    for (int64_t c = 0; c < e.channels; ++c) {
      store(e.out, e.out_type, t * e.channels + c, shifted(from[c] * multiplier + half, e.shift));
    }
  }
}

void tied_embedding(const TiedEmbedding& t, Range tokens) {
  const Embedding& e = t.e;
  const int64_t half = int64_t{1} << (e.shift - 1);
  for (int64_t i = tokens.begin; i < tokens.end; ++i) {
    const int64_t id = load(e.ids, e.ids_type, i);
    const int64_t column = id >= 0 && id < e.vocabulary ? id : 0;
    const int64_t multiplier = e.multiplier[column];
    for (int64_t c = 0; c < e.channels; ++c) {
      const int64_t value = e.rows[tied_place(t, column, c)] * multiplier + half;
      store(e.out, e.out_type, i * e.channels + c, shifted(value, e.shift));
    }
  }
}

void append(const Append& a, Range batch) {
  const int64_t size = a.length * a.width;
  for (int64_t n = batch.begin; n < batch.end; ++n) {
    uint8_t* out = a.out + n * size;
    if (a.out != a.cache) std::memcpy(out, a.cache + n * size, static_cast<size_t>(size));
    const int64_t place = a.position[n];
    const int64_t room = place < 0 || place > a.length ? 0 : a.length - place;
    const int64_t count = a.tokens < room ? a.tokens : room;
    if (count <= 0) continue;
    std::memcpy(out + place * a.width, a.fresh + n * a.tokens * a.width,
                static_cast<size_t>(count * a.width));
  }
}

void position_rows(const PositionRows& p, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t place = p.position[row / p.tokens] + row % p.tokens;
    const int64_t at = place < 0 ? 0 : place < p.rows ? place : p.rows - 1;
    std::memcpy(p.out + row * p.width, p.table + at * p.width, static_cast<size_t>(p.width));
  }
}

void sum(const Reduce& r, Range outer) {
  for (int64_t o = outer.begin; o < outer.end; ++o) {
    switch (r.in_type) {
      case DType::u8:
        sum_line<uint8_t>(r, o);
        break;
      case DType::i8:
        sum_line<int8_t>(r, o);
        break;
      case DType::i16:
        sum_line<int16_t>(r, o);
        break;
      default:
        sum_line<int32_t>(r, o);
    }
  }
}

void maximum(const Reduce& r, Range outer) {
  for (int64_t o = outer.begin; o < outer.end; ++o) {
    for (int64_t j = 0; j < r.inner; ++j) max_line(r, o, j);
  }
}

void argmax(const Reduce& r, Range outer) {
  for (int64_t o = outer.begin; o < outer.end; ++o) {
    for (int64_t j = 0; j < r.inner; ++j) argmax_line(r, o, j);
  }
}

uint8_t largest(const uint8_t* x, int64_t count) {
  uint8_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

}  // namespace intformer
