#include "norm.h"
#include "row.h"

namespace intformer::portable {
namespace {

int32_t ratio(const Norm& n, int32_t centred, int64_t inverse) {
  const int drop = n.reciprocal - kNormBits;
  const int64_t scaled = centred * inverse + (int64_t{1} << (drop - 1));
  return clip(static_cast<int32_t>(scaled >> drop), -kNormLimit, kNormLimit);
}

void norm_row(const Norm& n, const int16_t* x, int64_t out) {
  RowState row{};
  const auto channels = static_cast<int32_t>(n.channels);
  for (int64_t c = 0; c < n.channels; ++c) {
    row.total += x[c];
    row.squares += int32_t{x[c]} * x[c];
  }
  invert_roots<1>(n, &row);
  const int32_t mean = n.centre ? static_cast<int32_t>(row.total) : 0;
  for (int64_t c = 0; c < n.channels; ++c) {
    const int64_t value = ratio(n, x[c] * channels - mean, row.inverse);
    store(n.out, n.out_type, out + c, shifted(wrap_add(value * n.gain[c], n.offset[c]), n.shift));
  }
}

}  // namespace

void norm(const Norm& n, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    norm_row(n, n.x + row * n.channels, row * n.channels);
  }
}

}  // namespace intformer::portable
