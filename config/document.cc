#include "config/internal/document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

#include "base/text.h"

namespace tidemark::config {
namespace {

Mark mark_of(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {mark.line + 1, mark.column + 1};
}

// Thrown by the event handler to leave yaml-cpp; never leaves this file.
struct Refused {
  Mark mark;
  std::string text;
};

[[noreturn]] void refuse(Mark mark, std::string text) { throw Refused{mark, std::move(text)}; }

constexpr std::string_view kNoAliases =
    "anchors and aliases are not used here; put quotes around a value that begins with '*' or '&'";

class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(YamlNode& root, std::vector<Problem>& problems) : root_(root), problems_(problems) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) refuse(mark_of(mark), "a second document begins; expected only one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check(mark, "", anchor);
    YamlNode node;
    node.mark = mark_of(mark);
    add(std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark_of(mark), std::string(kNoAliases));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, tag, anchor);
    add(YamlNode::scalar(value, mark_of(mark)));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::list(mark_of(mark)));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::map(mark_of(mark)));
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
    std::string key;
    Mark key_mark;
    bool has_key = false;
  };

  static void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) refuse(mark_of(mark), std::string(kNoAliases));
    if (!tag.empty() && tag != "?" && tag != "!")
      refuse(mark_of(mark), "tags are not used here; found " + in_quotes(tag));
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode node) {
    check(mark, tag, anchor);
    if (stack_.size() >= kDepthMax)
      refuse(mark_of(mark), "nested deeper than " + std::to_string(kDepthMax) + " levels");
    if (expects_key()) refuse(mark_of(mark), "a key must be text; found a list or a map");
    stack_.push_back({std::move(node), "", {}, false});
  }

  void close() {
    YamlNode node = std::move(stack_.back().node);
    stack_.pop_back();
    add(std::move(node));
  }

  bool expects_key() const {
    return !stack_.empty() && stack_.back().node.kind == YamlNode::Kind::map &&
           !stack_.back().has_key;
  }

  void add(YamlNode node) {
    if (++values_ > kValuesMax)
      refuse(node.mark, "more than " + std::to_string(kValuesMax) + " keys and values");
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = stack_.back();
    if (frame.node.kind == YamlNode::Kind::list) {
      frame.node.items.push_back(std::move(node));
    } else if (!frame.has_key) {
      if (node.kind == YamlNode::Kind::nothing)
        refuse(node.mark, "a key must be text; found nothing");
      frame.key = std::move(node.text);
      frame.key_mark = node.mark;
      frame.has_key = true;
    } else {
      add_entry(frame, std::move(node));
    }
  }

  // The first of two equal keys counts; the second is reported, and reading goes on.
  void add_entry(Frame& frame, YamlNode value) {
    frame.has_key = false;
    // Of a value that is not there yaml-cpp gives the place of whatever comes next.
    if (value.kind == YamlNode::Kind::nothing) value.mark = frame.key_mark;
    for (const YamlEntry& entry : frame.node.entries) {
      if (entry.key != frame.key) continue;
      problems_.push_back({frame.key_mark, path_of(frame.key),
                           "given twice; first in line " + std::to_string(entry.mark.line)});
      return;
    }
    frame.node.entries.push_back({frame.key, frame.key_mark, std::move(value)});
  }

  std::string path_of(const std::string& key) const {
    std::string path;
    for (const Frame& frame : stack_)
      if (frame.has_key) path += frame.key + ".";
    return path + key;
  }

  YamlNode& root_;
  std::vector<Problem>& problems_;
  std::vector<Frame> stack_;
  int documents_ = 0;
  std::size_t values_ = 0;
};

Mark mark_at(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const auto line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  return {static_cast<int>(lines) + 1, static_cast<int>(offset - line_start) + 1};
}

bool is_forbidden_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\n' && c != '\r') || byte == 0x7f;
}

// What is refused before the tokeniser sees it.
bool check_text(std::string_view text, std::vector<Problem>& problems) {
  const auto report = [&](std::size_t offset, std::string what) {
    problems.push_back({mark_at(text, offset), "", std::move(what)});
    return false;
  };
  if (text.size() > kFileBytesMax) {
    problems.push_back({{}, "", "larger than 1 MiB"});
    return false;
  }
  if (const std::size_t valid = utf8_prefix(text); valid < text.size())
    return report(valid, "not UTF-8 text");
  const auto control = std::find_if(text.begin(), text.end(), is_forbidden_control);
  if (control != text.end())
    return report(static_cast<std::size_t>(control - text.begin()),
                  *control == '\t' ? "found a tab; YAML is indented with spaces"
                                   : "found a control character");
  std::size_t openings = 0;
  for (std::size_t i = 0; i < text.size(); ++i)
    if ((text[i] == '[' || text[i] == '{') && ++openings > kFlowOpeningsMax)
      return report(i, "more than " + std::to_string(kFlowOpeningsMax) + " of '[' and '{'");
  return true;
}

std::string explain(const std::string& message) {
  if (message.find("alias") != std::string::npos || message.find("anchor") != std::string::npos)
    return std::string(kNoAliases);
  return "not valid YAML: " + message;
}

}  // namespace

YamlNode YamlNode::scalar(std::string text, Mark mark) {
  YamlNode node;
  node.kind = Kind::scalar;
  node.mark = mark;
  node.text = std::move(text);
  return node;
}

YamlNode YamlNode::list(Mark mark) {
  YamlNode node;
  node.kind = Kind::list;
  node.mark = mark;
  return node;
}

YamlNode YamlNode::map(Mark mark) {
  YamlNode node;
  node.kind = Kind::map;
  node.mark = mark;
  return node;
}

bool read_document(std::string_view text, YamlNode& out, std::vector<Problem>& problems) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (!check_text(text, problems)) return false;
  const std::size_t before = problems.size();
  const Mark end = mark_at(text, text.size());
  const auto report = [&](Mark mark, std::string what) {
    if (mark > end)
      problems.push_back({end, "", "not valid YAML: the file ends too early"});
    else
      problems.push_back({mark, "", std::move(what)});
  };
  try {
    // yaml-cpp takes the end of the file for the end of a text in quotes. The marker of a
    // document's end cannot stand within one, so that a file cut there is refused.
    std::istringstream stream(std::string(text) + "\n...\n");
    YAML::Parser parser(stream);
    TreeBuilder builder(out, problems);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    report(refused.mark, refused.text);
  } catch (const YAML::Exception& error) {
    report(mark_of(error.mark), explain(error.msg));
  } catch (const std::exception& error) {
    problems.push_back({{}, "", std::string("not readable: ") + error.what()});
  }
  const bool duplicates_only =
      std::all_of(problems.begin() + static_cast<std::ptrdiff_t>(before), problems.end(),
                  [](const Problem& p) { return !p.path.empty(); });
  return duplicates_only;
}

std::string render(std::string_view name, std::vector<Problem> problems) {
  std::stable_sort(problems.begin(), problems.end(),
                   [](const Problem& a, const Problem& b) { return a.mark < b.mark; });
  std::string out;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    const Problem& problem = problems[i];
    if (i > 0) out += '\n';
    if (i == kProblemsMax)
      return out + "and " + std::to_string(problems.size() - i) + " more problems";
    out += name;
    if (problem.mark.line > 0)
      out += ":" + std::to_string(problem.mark.line) + ":" + std::to_string(problem.mark.column);
    out += ": ";
    if (!problem.path.empty()) out += escaped(problem.path) + ": ";
    out += problem.text;
  }
  return out;
}

}  // namespace tidemark::config
