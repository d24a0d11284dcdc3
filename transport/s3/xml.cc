#include "transport/s3/xml.h"

#include <expat.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/assert.h"
#include "base/text.h"

namespace tidemark::s3 {
namespace {

bool is_space(std::uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

bool is_xml_character(std::uint32_t c) {
  return c == 0x9 || c == 0xa || c == 0xd || (c >= 0x20 && c <= 0xd7ff) ||
         (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
}

// The value of "#x1F" or "#31"; nothing for anything else.
std::optional<std::uint32_t> numeric_reference(std::string_view name) {
  if (name.size() < 2 || name[0] != '#') return std::nullopt;
  const bool hex = (name[1] == 'x' || name[1] == 'X');
  const std::string_view digits = name.substr(hex ? 2 : 1);
  if (digits.empty()) return std::nullopt;
  std::uint32_t value = 0;
  for (const char c : digits) {
    const bool decimal = c >= '0' && c <= '9';
    const char lower = static_cast<char>(c | 0x20);
    if (!decimal && !(hex && lower >= 'a' && lower <= 'f')) return std::nullopt;
    const int digit = decimal ? c - '0' : lower - 'a' + 10;
    value = value * (hex ? 16 : 10) + static_cast<std::uint32_t>(digit);
    if (value > 0x10ffff) return std::nullopt;
  }
  return value;
}

std::string_view local_name(std::string_view name) {
  const auto colon = name.rfind(':');
  return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

}  // namespace

struct XmlReader::State {
  State(XmlHandler& handler_in, XmlLimits limits_in) : handler(handler_in), limits(limits_in) {}
  ~State() { XML_ParserFree(parser); }

  static void XMLCALL on_begin(void* user, const XML_Char* name, const XML_Char**) {
    static_cast<State*>(user)->begin(name);
  }
  static void XMLCALL on_end(void* user, const XML_Char*) { static_cast<State*>(user)->end(); }
  static void XMLCALL on_text(void* user, const XML_Char* text, int size) {
    static_cast<State*>(user)->text({text, static_cast<std::size_t>(size)});
  }
  static void XMLCALL on_doctype(void* user, const XML_Char*, const XML_Char*, const XML_Char*,
                                 int) {
    static_cast<State*>(user)->fail("a DOCTYPE");
  }

  void fail(std::string_view what) {
    stop(Error(ErrorCode::corruption, "XML: " + std::string(what)));
  }
  void stop(Error error) {
    if (!failure) failure = std::move(error);
    XML_StopParser(parser, XML_FALSE);
  }
  void begin(std::string_view name);
  void end();
  void text(std::string_view piece);
  Status parse(ByteView piece, bool last);
  // Copies a piece and replaces references that XML forbids.
  void filter(ByteView piece);
  void end_reference(std::uint8_t c);

  XmlHandler& handler;
  const XmlLimits limits;
  XML_Parser parser = nullptr;
  std::optional<Error> failure;
  std::uint64_t bytes = 0, elements = 0;
  std::string path;
  std::vector<std::string> texts;  // of the open elements
  std::string held;                // a reference whose end has not come yet, from its '&'
  Bytes filtered;
  bool started = false;
};

void XmlReader::State::begin(std::string_view name) {
  if (failure) return;
  name = local_name(name);
  if (++elements > limits.elements_max) return fail("too many elements");
  if (texts.size() >= limits.depth_max) return fail("nested too deeply");
  if (name.empty()) return fail("an element without a name of its own");
  if (name.size() > limits.name_bytes_max) return fail("a name that is too long");
  if (!path.empty()) path += '/';
  path += name;
  texts.emplace_back();
  if (auto done = handler.begin(path); !done) stop(done.error());
}

void XmlReader::State::end() {
  if (failure) return;
  if (auto done = handler.end(path, texts.back()); !done) return stop(done.error());
  texts.pop_back();
  const auto slash = path.rfind('/');
  path.resize(slash == std::string::npos ? 0 : slash);
}

void XmlReader::State::text(std::string_view piece) {
  if (failure || texts.empty()) return;
  if (texts.back().size() + piece.size() > limits.text_bytes_max)
    return fail("an element's text is too long");
  texts.back() += piece;
}

void XmlReader::State::end_reference(std::uint8_t c) {
  static constexpr std::size_t kReferenceBytesMax = 12;
  const auto value = c == ';' ? numeric_reference(std::string_view(held).substr(1)) : std::nullopt;
  if (value && !is_xml_character(*value)) {
    append(filtered, as_bytes(kXmlReplacement));
    held.clear();
    return;
  }
  held += static_cast<char>(c);
  const bool name =
      (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '#';
  if (name && held.size() < kReferenceBytesMax) return;
  append(filtered, as_bytes(held));
  held.clear();
}

void XmlReader::State::filter(ByteView piece) {
  filtered.clear();
  for (const std::uint8_t c : piece) {
    if (c == '&') {
      append(filtered, as_bytes(held));
      held = "&";
    } else if (!held.empty()) {
      end_reference(c);
    } else {
      filtered.push_back(c);
    }
  }
}

Status XmlReader::State::parse(ByteView piece, bool last) {
  if (failure) return *failure;
  if (parser == nullptr) return Error(ErrorCode::resource_exhausted, "make an XML parser");
  const auto outcome = XML_Parse(parser, reinterpret_cast<const char*>(piece.data()),
                                 static_cast<int>(piece.size()), last ? 1 : 0);
  if (failure) return *failure;
  if (outcome != XML_STATUS_OK) {
    const XML_Error error = XML_GetErrorCode(parser);
    const ErrorCode code =
        error == XML_ERROR_NO_MEMORY ? ErrorCode::resource_exhausted : ErrorCode::corruption;
    failure = Error(code, std::string("XML: ") + XML_ErrorString(error) + " at byte " +
                              std::to_string(XML_GetCurrentByteIndex(parser)));
    return *failure;
  }
  return {};
}

XmlReader::XmlReader(XmlHandler& handler, XmlLimits limits)
    : state_(std::make_unique<State>(handler, limits)) {
  // Whatever the document declares, it is read as UTF-8, which the parser then checks.
  state_->parser = XML_ParserCreate("UTF-8");
  if (state_->parser == nullptr) return;
  XML_SetUserData(state_->parser, state_.get());
  XML_SetElementHandler(state_->parser, State::on_begin, State::on_end);
  XML_SetCharacterDataHandler(state_->parser, State::on_text);
  XML_SetStartDoctypeDeclHandler(state_->parser, State::on_doctype);
}

XmlReader::~XmlReader() = default;

Status XmlReader::feed(ByteView piece) {
  // Small enough for the lengths of the C interface, and for one token to be seen early.
  static constexpr std::size_t kStep = 64 * kKiB;
  State& s = *state_;
  if (s.failure) return *s.failure;
  s.bytes += piece.size();
  if (s.bytes > s.limits.bytes_max) {
    s.failure = Error(ErrorCode::corruption, "XML: the document is too large");
    return *s.failure;
  }
  // The parser would guess UTF-16 from them.
  if (std::find(piece.begin(), piece.end(), std::uint8_t{0}) != piece.end()) {
    s.failure = Error(ErrorCode::corruption, "XML: a zero byte");
    return *s.failure;
  }
  while (!s.started && !piece.empty() && is_space(piece.front())) piece = piece.subspan(1);
  s.started = s.started || !piece.empty();
  while (!piece.empty()) {
    const ByteView step = piece.first(std::min(kStep, piece.size()));
    piece = piece.subspan(step.size());
    s.filter(step);
    TM_DO(s.parse(s.filtered, false));
  }
  return {};
}

Status XmlReader::finish() {
  State& s = *state_;
  s.filtered.clear();
  append(s.filtered, as_bytes(s.held));
  s.held.clear();
  return s.parse(s.filtered, true);
}

Status parse_xml(ByteView document, XmlHandler& handler, XmlLimits limits) {
  XmlReader reader(handler, limits);
  TM_DO(reader.feed(document));
  return reader.finish();
}

Result<std::string> xml_root(ByteView document) {
  class Root : public XmlHandler {
   public:
    Status begin(std::string_view path) override {
      if (name.empty()) name = std::string(path);
      return {};
    }
    Status end(std::string_view, const std::string&) override { return {}; }
    std::string name;
  } root;
  TM_DO(parse_xml(document, root));
  return std::move(root.name);
}

bool xml_can_carry(std::string_view text) {
  if (utf8_prefix(text) != text.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 && c != '\t' && c != '\n' && c != '\r') return false;
    const std::string_view three = text.substr(i, 3);
    if (three == "\xef\xbf\xbe" || three == "\xef\xbf\xbf") return false;
  }
  return true;
}

XmlWriter::XmlWriter(std::string_view root) {
  out_ = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><" + std::string(root) +
         " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  open_names_ = std::string(root) + "/";
}

XmlWriter& XmlWriter::open(std::string_view name) {
  out_ += "<" + std::string(name) + ">";
  open_names_ += std::string(name) + "/";
  return *this;
}

XmlWriter& XmlWriter::close() {
  TM_CHECK(!open_names_.empty());
  open_names_.pop_back();
  const auto slash = open_names_.rfind('/');
  const std::size_t start = slash == std::string::npos ? 0 : slash + 1;
  out_ += "</" + open_names_.substr(start) + ">";
  open_names_.resize(start);
  return *this;
}

XmlWriter& XmlWriter::leaf(std::string_view name, std::string_view text) {
  TM_CHECK(xml_can_carry(text));
  out_ += "<" + std::string(name) + ">";
  for (const char c : text) {
    switch (c) {
      case '&':
        out_ += "&amp;";
        break;
      case '<':
        out_ += "&lt;";
        break;
      case '>':
        out_ += "&gt;";
        break;
      case '\r':  // readers turn a bare one into a line feed
        out_ += "&#13;";
        break;
      default:
        out_ += c;
    }
  }
  out_ += "</" + std::string(name) + ">";
  return *this;
}

std::string XmlWriter::finish() {
  while (!open_names_.empty()) close();
  return std::move(out_);
}

}  // namespace tidemark::s3
