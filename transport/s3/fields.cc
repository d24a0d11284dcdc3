#include "transport/s3/fields.h"

namespace tidemark::s3 {
namespace {

using Field = std::function<Status(std::string_view path, const std::string& text)>;

class Fields final : public XmlHandler {
 public:
  Fields(std::string_view root, const Field& field) : root_(root), field_(field) {}
  Status begin(std::string_view path) override {
    if (path.find('/') != std::string_view::npos || path == root_) return {};
    return Error(ErrorCode::corruption,
                 "the answer is a " + std::string(path) + " and no " + root_);
  }
  Status end(std::string_view path, const std::string& text) override {
    return field_(path.substr(std::min(path.size(), root_.size() + 1)), text);
  }

 private:
  const std::string root_;
  const Field& field_;
};

}  // namespace

Status read_fields(ByteView document, std::string_view root, const Field& field) {
  Fields handler(root, field);
  return parse_xml(document, handler);
}

Result<std::string> read_field(ByteView document, std::string_view root, std::string_view wanted) {
  std::string found;
  TM_DO(read_fields(document, root, [&](std::string_view path, const std::string& text) -> Status {
    if (path == wanted) found = text;
    return {};
  }));
  return found;
}

}  // namespace tidemark::s3
