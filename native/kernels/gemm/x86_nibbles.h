// Products with weights of 4 bits, two to a byte, and a signed multiplier per 32 of a column.
//
// B is packed in panels of `lanes` columns: first, per block of 32 rows, four vectors of bytes
// [lanes][4], whose low halves are four rows and whose high halves the next four, each raised by 8;
// then, per block, a multiplier [lanes]. A sum over a block fits int16 lanes: 16 products of at
// most 255 * 8 are below 2^15. So few instructions are left per product, and half the memory is
// read.
#pragma once

#include "block.h"
#if !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
#include "x86_registers.h"
#endif

namespace intformer {
namespace {

constexpr int64_t kDepth = 32;   // rows of a block
constexpr int64_t kFewRows = 8;  // up to which weights are unpacked in registers, once per tile

constexpr int64_t nibble_panel(int64_t blocks) {
  return round_up(blocks * 17 * kLanes, 4 * kLanes);
}

#if defined(__AVX512F__)
inline V low_halves(V x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
inline V high_halves(V x) { return low_halves(_mm512_srli_epi16(x, 4)); }
inline V lowered(V x) { return _mm512_sub_epi8(x, _mm512_set1_epi8(8)); }
inline V twice(V x) {
  return _mm512_shuffle_epi8(x, _mm512_set4_epi32(0x0D0C0D0C, 0x09080908, 0x05040504, 0x01000100));
}
inline V bytes_times(V x, V m) {
  const V even = _mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8), m);
  const V odd = _mm512_mullo_epi16(_mm512_srai_epi16(x, 8), m);
  return _mm512_or_si512(_mm512_and_si512(even, _mm512_set1_epi16(255)), _mm512_slli_epi16(odd, 8));
}
#else
inline V low_halves(V x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
inline V high_halves(V x) { return low_halves(_mm256_srli_epi16(x, 4)); }
inline V lowered(V x) { return _mm256_sub_epi8(x, _mm256_set1_epi8(8)); }
// The low 16 bits of each lane in both of its halves.
inline V twice(V x) {
  return _mm256_shuffle_epi8(x, _mm256_setr_epi32(0x01000100, 0x05040504, 0x09080908, 0x0D0C0D0C,
                                                  0x01000100, 0x05040504, 0x09080908, 0x0D0C0D0C));
}
// Signed bytes times the 16-bit lane they lie in; the products fit bytes.
inline V bytes_times(V x, V m) {
  const V even = _mm256_mullo_epi16(_mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), m);
  const V odd = _mm256_mullo_epi16(_mm256_srai_epi16(x, 8), m);
  return _mm256_or_si256(_mm256_and_si256(even, _mm256_set1_epi16(255)), _mm256_slli_epi16(odd, 8));
}
#endif

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
// Sums over a block in int32.
struct BlockSum {
  static V add(V sum, V a, V weights) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(sum, a, weights);
#else
    return _mm256_dpbusd_avx_epi32(sum, a, weights);
#endif
  }
  static V scaled(V sum, V multiplier) { return Isa::mul(sum, multiplier); }
  // -8 times the sum of a row over a block: weights are 8 too large.
  static int32_t start(const uint8_t* a) {
    int32_t sum = 0;
    for (int64_t i = 0; i < kDepth; ++i) sum += a[i];
    return -8 * sum;
  }
};
#else
// Sums over a block in two int16 per column, which may wrap until all of it is added.
struct BlockSum {
  static V add(V sum, V a, V weights) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, weights));
  }
  static V scaled(V sum, V multiplier) { return _mm256_madd_epi16(sum, twice(multiplier)); }
  static int32_t start(const uint8_t* a) {
    int32_t first = 0, second = 0;
    for (int64_t i = 0; i < kDepth; i += 4) {
      first += a[i] + a[i + 1];
      second += a[i + 2] + a[i + 3];
    }
    const auto low = static_cast<uint16_t>(-8 * first), high = static_cast<uint16_t>(-8 * second);
    return static_cast<int32_t>(low | static_cast<uint32_t>(high) << 16);
  }
};
#endif

struct NibbleSource {
  const std::byte* a;
  int64_t a_stride;
  const int32_t* starts;  // per row and block
  const std::byte* b;
  int64_t panel, blocks;
};

// A few rows times a few vectors of columns, weights straight from memory.
template <int Rows, int Vectors>
void nibble_tile(const NibbleSource& s, int32_t* out, int64_t out_stride) {
  constexpr int64_t kStep = 4 * kLanes;
  V sums[Rows][Vectors];
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) sums[r][v] = Isa::zero();
  }
  for (int64_t block = 0; block < s.blocks; ++block) {
    const std::byte* a = s.a + block * kDepth;
    const std::byte* b = s.b + block * 4 * kStep;
    V parts[Rows][Vectors];
    INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
      const V start = Isa::set(s.starts[r * s.blocks + block]);
      INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) parts[r][v] = start;
    }
    INTFORMER_UNROLL for (int i = 0; i < 4; ++i) {
      INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
        const V packed = Isa::load(b + i * kStep + v * s.panel);
        _mm_prefetch(b + i * kStep + (v + Vectors) * s.panel, _MM_HINT_T0);
        const V low = low_halves(packed), high = high_halves(packed);
        INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
          const std::byte* row = a + 8 * i + r * s.a_stride;
          parts[r][v] = BlockSum::add(parts[r][v], Isa::broadcast(row), low);
          parts[r][v] = BlockSum::add(parts[r][v], Isa::broadcast(row + 4), high);
        }
      }
    }
    const std::byte* multipliers = s.b + s.blocks * 4 * kStep + block * kLanes;
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
      const V multiplier = Isa::load_i8(multipliers + v * s.panel);
      INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
        sums[r][v] = Isa::add(sums[r][v], BlockSum::scaled(parts[r][v], multiplier));
      }
    }
  }
  INTFORMER_UNROLL for (int r = 0; r < Rows; ++r) {
    INTFORMER_UNROLL for (int v = 0; v < Vectors; ++v) {
      Isa::store(out + r * out_stride + v * kLanes, sums[r][v]);
    }
  }
}

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr int kWideVectors = kLanes == 16 ? 4 : 3, kWideRows = kLanes == 16 ? 6 : 4;

constexpr int64_t unpacked_panel(int64_t blocks) { return blocks * kDepth * kLanes; }

// One panel as int8 weights, for Form::vnni.
void unpack_panel(const std::byte* from, int64_t blocks, std::byte* to) {
  const std::byte* multipliers = from + blocks * 16 * kLanes;
  for (int64_t block = 0; block < blocks; ++block, multipliers += kLanes) {
    const V multiplier = twice(Isa::load_i8(multipliers));
    for (int i = 0; i < 4; ++i, from += 4 * kLanes, to += 8 * kLanes) {
      const V packed = Isa::load(from);
      Isa::store(to, bytes_times(lowered(low_halves(packed)), multiplier));
      Isa::store(to + 4 * kLanes, bytes_times(lowered(high_halves(packed)), multiplier));
    }
  }
}

void unpacked_tile(const Rows& a, int64_t row, int rows, const std::byte* b, int64_t blocks,
                   int vectors, int32_t* sums, int64_t stride) {
  const TileSource source{a.data + row * a.stride, a.stride,   b,
                          unpacked_panel(blocks),  blocks * 8, b};
  Tiles<DotVnni, kWideRows, kWideVectors>::run(source, 0, rows, vectors, sums, stride);
}
#else
constexpr int kWideVectors = 2, kWideRows = 6;

// Bytes of the weights, then multipliers in both halves of a lane.
constexpr int64_t unpacked_panel(int64_t blocks) { return blocks * (kDepth + 4) * kLanes; }

void unpack_panel(const std::byte* from, int64_t blocks, std::byte* to) {
  const std::byte* multipliers = from + blocks * 16 * kLanes;
  for (int64_t i = 0; i < 4 * blocks; ++i, from += 4 * kLanes, to += 8 * kLanes) {
    const V packed = Isa::load(from);
    Isa::store(to, lowered(low_halves(packed)));
    Isa::store(to + 4 * kLanes, lowered(high_halves(packed)));
  }
  for (int64_t block = 0; block < blocks; ++block, to += 4 * kLanes) {
    Isa::store(to, twice(Isa::load_i8(multipliers + block * kLanes)));
  }
}

// The eight steps of a block fit int16 together: its multipliers widen them.
using BlockDot = DotPairs<8>;

class Factors {
 public:
  Factors(const TileSource& s, int64_t blocks)
      : at_(s.b + blocks * kDepth * kLanes), panel_(s.b_panel) {}

  inline __attribute__((always_inline)) V operator()(V x, int v) const {
    return _mm256_madd_epi16(x, Isa::load(at_ + v * panel_));
  }
  void advance() { at_ += 4 * kLanes; }

 private:
  const std::byte* at_;
  const int64_t panel_;
};

template <int kRows, int kVectors>
void block_tile(const TileSource& s, int64_t blocks, int32_t* out, int64_t out_stride) {
  SumsOf<BlockDot, kRows, kVectors> sums(out, out_stride);
  Factors factors(s, blocks);
  const std::byte *a = s.a, *b = s.b;
  for (int64_t block = 0; block < blocks; ++block, factors.advance()) {
    pairs_by_step<BlockDot, kRows, kVectors>(sums, s.a_stride, s.b_panel, a, b, factors);
    a += kDepth;
    b += kDepth * kLanes;
  }
  sums.store();
}

// The sums of whole tiles.
struct UnpackedSums {
  static constexpr int kRows = kWideRows;
  int64_t blocks;

  inline __attribute__((always_inline)) void compute(const TileSource& s, int32_t* stored,
                                                     RowSums<kRows>& sums) const {
    StoredGroups<BlockDot, Factors>(s, Factors(s, blocks), stored).compute(blocks, sums);
  }
};

using BlockTileFn = void (*)(const TileSource&, int64_t, int32_t*, int64_t);

template <int... I>
BlockTileFn block_tile_of(int rows, int vectors, std::integer_sequence<int, I...>) {
  static constexpr BlockTileFn all[] = {block_tile<I / kWideVectors + 1, I % kWideVectors + 1>...};
  return all[(rows - 1) * kWideVectors + vectors - 1];
}

void unpacked_tile(const Rows& a, int64_t row, int rows, const std::byte* b, int64_t blocks,
                   int vectors, int32_t* sums, int64_t stride) {
  const TileSource source{a.data + row * a.stride, a.stride, b, unpacked_panel(blocks), 0, b};
  const auto tile =
      block_tile_of(rows, vectors, std::make_integer_sequence<int, kWideRows * kWideVectors>());
  tile(source, blocks, sums, stride);
}
#endif

using NibbleTileFn = void (*)(const NibbleSource&, int32_t* out, int64_t out_stride);

template <int kVectors, int... I>
NibbleTileFn nibble_tile_of(int rows, int vectors, std::integer_sequence<int, I...>) {
  static constexpr NibbleTileFn all[] = {nibble_tile<I / kVectors + 1, I % kVectors + 1>...};
  return all[(rows - 1) * kVectors + vectors - 1];
}

int64_t nibble_scratch_bytes(int64_t rows, int64_t depth) {
  const int64_t blocks = round_up(depth, kDepth) / kDepth;
  return kTileBytes + scratch_bytes(rows, depth) + kWideVectors * unpacked_panel(blocks) + 64;
}

// Few rows: every tile unpacks the weights in registers.
template <int kRows, int kVectors>
void nibble_rows(const Gemm& g, const Rows& a, Range rows, Range columns, int64_t blocks,
                 int32_t* starts, std::byte* scratch) {
  constexpr int64_t kColumns = kVectors * kLanes;
  auto* sums = reinterpret_cast<int32_t*>(scratch);
  auto* levels = reinterpret_cast<uint8_t*>(scratch + kTileBytes);
  const int64_t panel = nibble_panel(blocks), count = rows.end - rows.begin;
  for (int64_t i = 0; i < count * blocks; ++i) {
    const std::byte* row = a.data + i / blocks * a.stride + i % blocks * kDepth;
    starts[i] = BlockSum::start(reinterpret_cast<const uint8_t*>(row));
  }
  for (int64_t c = columns.begin; c < columns.end; c += kColumns) {
    const int64_t width = columns.end - c < kColumns ? columns.end - c : kColumns;
    const int vectors = static_cast<int>((width + kLanes - 1) / kLanes);
    const std::byte* b = static_cast<const std::byte*>(g.b) + c / kLanes * panel;
    for (int64_t row = 0; row < count; row += kRows) {
      const int high = static_cast<int>(count - row < kRows ? count - row : kRows);
      const auto tile = nibble_tile_of<kVectors>(
          high, vectors, std::make_integer_sequence<int, kRows * kVectors>());
      tile({a.data + row * a.stride, a.stride, starts + row * blocks, b, panel, blocks}, sums,
           kColumns);
      finish(g.epilogue, {sums, kColumns, rows.begin + row, c, high, width}, levels);
    }
  }
}

// Many rows: a few columns of weights at a time are unpacked for all of them.
void nibble_block(const Gemm& g, const Rows& a, Range rows, Range columns, int64_t blocks,
                  std::byte* unpacked, std::byte* scratch) {
  constexpr int64_t kColumns = kWideVectors * kLanes;
  auto* sums = reinterpret_cast<int32_t*>(scratch);
  auto* levels = reinterpret_cast<uint8_t*>(scratch + kTileBytes);
  const int64_t panel = nibble_panel(blocks), count = rows.end - rows.begin;
  for (int64_t c = columns.begin; c < columns.end; c += kColumns) {
    const int64_t width = columns.end - c < kColumns ? columns.end - c : kColumns;
    const int vectors = static_cast<int>((width + kLanes - 1) / kLanes);
    const std::byte* b = static_cast<const std::byte*>(g.b) + c / kLanes * panel;
    for (int v = 0; v < vectors; ++v) {
      unpack_panel(b + v * panel, blocks, unpacked + v * unpacked_panel(blocks));
    }
    int64_t row = 0;
#if !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
    if (width == kColumns) {
      const Columns all{{a.data, a.stride, unpacked, unpacked_panel(blocks), 0, unpacked},
                        {sums, kColumns, rows.begin, c, kWideRows, width},
                        rows.end,
                        false,
                        b + vectors * panel,
                        vectors * panel};
      with_finisher(g.epilogue, levels, [&](const auto& finisher) {
        row = whole_tiles(g.epilogue, all, UnpackedSums{blocks}, finisher) - rows.begin;
      });
    }
#endif
    for (; row < count; row += kWideRows) {
      const int high = static_cast<int>(count - row < kWideRows ? count - row : kWideRows);
      unpacked_tile(a, row, high, unpacked, blocks, vectors, sums, kColumns);
      finish(g.epilogue, {sums, kColumns, rows.begin + row, c, high, width}, levels);
    }
  }
}

void nibble_product(const Gemm& g, Range rows, Range columns, std::byte* scratch) {
  const int64_t padded = round_up(g.k, kDepth), blocks = padded / kDepth;
  const int64_t count = rows.end - rows.begin;
  std::byte* own = scratch + kTileBytes + kByteRows;
  const Rows a = prepare_rows(g, rows, padded, own);
  if (count <= kFewRows) {
    auto* starts = reinterpret_cast<int32_t*>(own + count * padded);
    const auto run = count == 1 ? nibble_rows<1, 4> : nibble_rows<4, 2>;
    return run(g, a, rows, columns, blocks, starts, scratch);
  }
  const int64_t used = round_up(kTileBytes + kByteRows + count * padded, 64);
  nibble_block(g, a, rows, columns, blocks, scratch + used, scratch);
}

}  // namespace
}  // namespace intformer
