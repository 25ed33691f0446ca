#include "norm.h"
#include "row.h"

namespace intformer::portable {
namespace {

int32_t ratio(const Centre& c, int32_t x, int64_t inverse) {
  const int64_t scaled = int64_t{x * c.scale - c.mean} * inverse + c.half;
  return clip(static_cast<int32_t>(scaled >> c.drop), -c.limit, c.limit);
}

void norm_row(const Norm& n, int64_t start) {
  RowState row = moments_of(n, start);
  invert_roots<1>(n, &row);
  const Centre centre = centre_of(n, row);
  for (int64_t c = 0; c < n.channels; ++c) {
    const auto x = static_cast<int32_t>(load(n.x, n.x_type, start + c));
    const int64_t value = ratio(centre, x, row.inverse);
    store(n.out, n.out_type, start + c, shifted(wrap_add(value * n.gain[c], n.offset[c]), n.shift));
  }
}

}  // namespace

void norm(const Norm& n, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) norm_row(n, row * n.channels);
}

}  // namespace intformer::portable
