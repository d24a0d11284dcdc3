// Where the bytes of a request come from.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark::s3 {

// A body of known length that is read once, or again after rewind(). Used by one thread at a time.
class BodySource {
 public:
  virtual ~BodySource() = default;
  virtual std::uint64_t length() const = 0;
  // Some bytes, at least one before length() of them have come. An error is that of the request; so
  // is 0 before the end: what was announced is not there, and the server never gets a whole body.
  virtual Result<std::size_t> read(ByteSpan into) = 0;
  // Back to the first byte. `unsupported` where that cannot be: then the request is sent only once.
  virtual Status rewind() = 0;
};

// Bytes in memory, which must outlive it.
class BytesSource final : public BodySource {
 public:
  explicit BytesSource(ByteView bytes) : bytes_(bytes) {}
  std::uint64_t length() const override { return bytes_.size(); }
  Result<std::size_t> read(ByteSpan into) override;
  Status rewind() override {
    position_ = 0;
    return {};
  }

 private:
  ByteView bytes_;
  std::size_t position_ = 0;
};

}  // namespace tidemark::s3
