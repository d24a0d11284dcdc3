#include "transport/s3/body.h"

#include <algorithm>
#include <cstring>

namespace tidemark::s3 {

Result<std::size_t> BytesSource::read(ByteSpan into) {
  const std::size_t n = std::min(into.size(), bytes_.size() - position_);
  if (n > 0) std::memcpy(into.data(), bytes_.data() + position_, n);
  position_ += n;
  return n;
}

}  // namespace tidemark::s3
