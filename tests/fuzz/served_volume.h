// A small volume, and a connection of which one end is a fuzzer's input.
#pragma once

#include <algorithm>

#include "base/assert.h"
#include "transport/block_view.h"
#include "transport/byte_stream.h"

namespace tidemark::test {

// Every second block of 4 KiB is data.
class StripedView final : public BlockView {
 public:
  static constexpr std::uint64_t kSize = 256 * kKiB, kBlock = 4 * kKiB;
  std::uint64_t size() const override { return kSize; }
  Status read(std::uint64_t offset, ByteSpan into) override {
    TM_CHECK(offset <= kSize && into.size() <= kSize - offset);
    for (std::size_t i = 0; i < into.size(); ++i)
      into[i] = static_cast<std::uint8_t>((offset + i) / kBlock % 2);
    return {};
  }
  Result<std::vector<BlockRun>> runs(std::uint64_t offset, std::uint64_t length,
                                     std::size_t runs_max) override {
    TM_CHECK(length > 0 && runs_max > 0 && offset <= kSize && length <= kSize - offset);
    std::vector<BlockRun> out;
    for (const std::uint64_t end = offset + length; offset < end && out.size() < runs_max;) {
      const std::uint64_t size = std::min(end - offset, kBlock - offset % kBlock);
      out.push_back({size, offset / kBlock % 2 == 1});
      offset += size;
    }
    return out;
  }
  void expect(std::uint64_t offset, std::uint64_t length) override {
    TM_CHECK(offset <= kSize && length <= kSize - offset);
  }
};

// Everything has arrived already, and what is written goes nowhere.
class InputStream final : public net::ByteStream {
 public:
  InputStream(ByteView input, const net::Event& cancel)
      : ByteStream(cancel, std::chrono::seconds(5)), input_(input) {}
  int fd() const override { return -1; }
  Result<std::size_t> read_some(ByteSpan into) override {
    const std::size_t part = std::min(into.size(), input_.size());
    std::copy_n(input_.begin(), part, into.begin());
    input_ = input_.subspan(part);
    return part;
  }
  Status write(ByteView, bool) override { return {}; }
  Result<bool> write_unless_answered(ByteView) override { return true; }
  void close(net::microseconds) override {}

 private:
  Result<int> peek() override {
    if (!input_.empty()) return 1;
    return Error(ErrorCode::unavailable, "the end of the input");
  }
  ByteView input_;
};

}  // namespace tidemark::test
