#include "base/text.h"
#include "tests/fuzz/target.h"
#include "transport/s3/xml.h"

using namespace tidemark;

namespace {

// Checks what a handler may rely on, and remembers everything.
class Recorder final : public s3::XmlHandler {
 public:
  Status begin(std::string_view path) override {
    TM_CHECK(!path.empty() && ++elements_ <= s3::XmlLimits().elements_max);
    TM_CHECK(++depth_ <= s3::XmlLimits().depth_max);
    seen_ += "<" + std::string(path);
    return {};
  }
  Status end(std::string_view path, const std::string& text) override {
    TM_CHECK(depth_-- > 0 && text.size() <= s3::XmlLimits().text_bytes_max);
    TM_CHECK(utf8_prefix(text) == text.size() && text.find('\0') == std::string::npos);
    seen_ += ">" + std::string(path) + text;
    return {};
  }
  const std::string& seen() const { return seen_; }
  bool closed() const { return depth_ == 0; }

 private:
  std::uint64_t elements_ = 0;
  std::size_t depth_ = 0;
  std::string seen_;
};

}  // namespace

// A document as an S3 server sends it. The first byte says where it is cut into two pieces, which
// must make no difference.
TM_FUZZ_TARGET(s3_xml) {
  if (input.empty()) return;
  const ByteView document = input.subspan(1);
  Recorder whole, pieces;
  const auto parsed = s3::parse_xml(document, whole);
  TM_CHECK(!parsed || whole.closed());
  s3::XmlReader reader(pieces, {});
  const std::size_t cut = document.size() * input.front() / 256;
  const bool first = reader.feed(document.first(cut)).has_value();
  const bool second = first && reader.feed(document.subspan(cut)).has_value();
  const bool ended = second && reader.finish().has_value();
  TM_CHECK(ended == parsed.has_value());
  TM_CHECK(!ended || pieces.seen() == whole.seen());
}
