#include "agent/read/bucket_diff.h"

#include <array>

#include "base/text.h"

namespace tidemark {
namespace {

// The current object of a key, if there is one.
Result<std::optional<ObjectEntry>> current_of(BucketPoint& point, const std::string& key) {
  BucketSelection selection;
  selection.key = key;
  KeyCursor cursor = point.keys(std::move(selection));
  TM_TRY(const auto found, cursor.next());
  const ObjectEntry* const entry = found ? found->current() : nullptr;
  return entry != nullptr ? std::optional(*entry) : std::nullopt;
}

// Control characters of both sets, and those that turn the direction of writing.
bool hidden(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7f || first == '\\';
  const auto second = static_cast<unsigned char>(character[1]);
  if (character.size() == 2) return first == 0xc2 && second < 0xa0;
  const auto third = static_cast<unsigned char>(character[2]);
  return character.size() == 3 && first == 0xe2 &&
         ((second == 0x80 && third >= 0x8b && third <= 0xaf) ||
          (second == 0x81 && third >= 0xa0 && third <= 0xaf));
}

}  // namespace

std::string_view to_string(KeyChange::Kind kind) {
  constexpr std::array<std::string_view, 3> kNames = {"added", "changed", "removed"};
  return kNames[static_cast<std::size_t>(kind)];
}

Status diff_buckets(BucketPoint& from, BucketPoint& to,
                    const std::function<Status(const KeyChange&)>& each) {
  KeyChange change;
  const auto flush = [&]() -> Status {
    if (change.entries == 0) return {};
    TM_TRY(const auto before, current_of(from, change.key));
    TM_TRY(const auto after, current_of(to, change.key));
    change.from_bytes = before ? before->size_bytes : 0;
    change.to_bytes = after ? after->size_bytes : 0;
    change.kind = before && !after   ? KeyChange::Kind::removed
                  : !before && after ? KeyChange::Kind::added
                                     : KeyChange::Kind::changed;
    return each(change);
  };
  const auto visit = [&](const TreeEntry* a, const TreeEntry* b) -> Status {
    TM_TRY(ObjectPlace place, object_of_tree_key(a != nullptr ? a->key : b->key));
    if (change.entries > 0 && place.key != change.key) {
      TM_DO(flush());
      change.entries = 0;
    }
    change.key = std::move(place.key);
    ++change.entries;
    return {};
  };
  TM_DO(diff_trees(to.nodes(), from.row().point.record.root, to.row().point.record.root, visit));
  return flush();
}

std::string printable_key(std::string_view key) {
  std::string out;
  while (!key.empty()) {
    std::size_t size = 1;
    while (size < 4 && size < key.size() && utf8_prefix(key.substr(0, size)) == 0) ++size;
    const bool character = utf8_prefix(key.substr(0, size)) == size;
    if (!character) size = 1;
    const std::string_view one = key.substr(0, size);
    if (character && !hidden(one)) {
      out += one;
    } else {
      for (const char c : one) out += "\\x" + to_hex(as_bytes(std::string_view(&c, 1)));
    }
    key.remove_prefix(size);
  }
  return out;
}

}  // namespace tidemark
