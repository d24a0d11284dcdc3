// XML from a server that may be broken or hostile, read piece by piece within limits, and XML that
// we write.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark::s3 {

// What a document may hold at most. Anything beyond is `corruption`.
struct XmlLimits {
  std::uint64_t bytes_max = 16 * kMiB;
  std::uint64_t elements_max = 100'000;
  std::size_t depth_max = 16;
  std::size_t text_bytes_max = 64 * kKiB;  // of one element, references resolved
  std::size_t name_bytes_max = 128;
};

// Receives elements in document order. A path is the names from the root, without prefixes, joined
// by '/': "ListBucketResult/Contents/Key". An error ends the parse and becomes its result.
class XmlHandler {
 public:
  virtual ~XmlHandler() = default;
  virtual Status begin(std::string_view path) = 0;
  // `text` is all character data directly inside the element, valid UTF-8.
  virtual Status end(std::string_view path, const std::string& text) = 0;
};

// A document that arrives in pieces. Not safe for concurrent use. After an error every call returns
// it again.
//
// Nothing is ever expanded or fetched: a DOCTYPE is refused as such, so there are no entities but
// the five of XML itself. White space before the document is skipped: servers send it to keep a
// connection alive while they work. A numeric reference to a character that XML cannot carry
// (radosgw writes "&#x01;" into the markers of listings) reads as U+FFFD.
class XmlReader {
 public:
  // `handler` must outlive the reader.
  XmlReader(XmlHandler& handler, XmlLimits limits);
  ~XmlReader();
  XmlReader(const XmlReader&) = delete;
  XmlReader& operator=(const XmlReader&) = delete;

  // `corruption` for what is no well-formed UTF-8 document within the limits.
  Status feed(ByteView piece);
  // Nothing follows. `corruption` where the document is not complete.
  Status finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A whole document at once.
Status parse_xml(ByteView document, XmlHandler& handler, XmlLimits limits = {});

// The name of the document's root element, without its prefix; `corruption` for no XML.
Result<std::string> xml_root(ByteView document);

// What stands for a character that the document could not carry.
inline constexpr std::string_view kXmlReplacement = "\xef\xbf\xbd";

// Whether XML 1.0 can carry the text at all: UTF-8 without control characters other than tab, line
// feed and carriage return, and without U+FFFE and U+FFFF.
bool xml_can_carry(std::string_view text);

// Builds a small document. Used by one thread.
class XmlWriter {
 public:
  // `root` gets the S3 namespace.
  explicit XmlWriter(std::string_view root);
  XmlWriter& open(std::string_view name);
  XmlWriter& close();
  // <name>text</name>, escaped. REQUIRES: xml_can_carry(text).
  XmlWriter& leaf(std::string_view name, std::string_view text);
  // The document, all elements closed.
  std::string finish();

 private:
  std::string out_;
  std::string open_names_;  // each followed by '/'
};

}  // namespace tidemark::s3
