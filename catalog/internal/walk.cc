#include "catalog/internal/walk.h"

#include <algorithm>

#include "base/queue.h"

namespace tidemark::catalog {
namespace {

constexpr std::size_t kReadThreads = 4;
// Nodes that are looked up, read and checked at once: bounds memory.
constexpr std::size_t kNodesPerStep = 1024;
constexpr std::size_t kFindingsPerTree = 8;

void note(std::vector<std::string>& findings, std::string finding) {
  if (!finding.empty() && findings.size() < kFindingsPerTree)
    findings.push_back(std::move(finding));
}

}  // namespace

Result<std::vector<std::string>> TreeWalker::walk(const TreeRoot& root, std::stop_token stop) {
  std::vector<std::string> findings;
  if (root.id.is_null()) return findings;
  // Level by level from the root, so that the nodes of one level are read in parallel. The lowest
  // level's references, nearly all there are, are checked at once and not kept.
  std::vector<std::vector<Node>> levels(std::size_t{root.level} + 1);
  std::vector<ChunkId> wanted = {root.id};
  for (std::size_t level = levels.size(); level-- > 0;) {
    std::vector<ChunkId> children;
    for (std::size_t begin = 0; begin < wanted.size(); begin += kNodesPerStep) {
      if (stop.stop_requested()) return Error(ErrorCode::cancelled, "rebuild of the catalog");
      const std::size_t count = std::min(kNodesPerStep, wanted.size() - begin);
      TM_TRY(auto nodes, locate(std::span(wanted).subspan(begin, count), findings));
      std::vector<std::string> problems(nodes.size());
      TM_DO(parallel_for(nodes.size(), kReadThreads, [&](std::size_t i) {
        return read(nodes[i], static_cast<std::uint8_t>(level), problems[i]);
      }));
      for (std::string& problem : problems) note(findings, std::move(problem));
      for (Node& node : nodes) {
        children.insert(children.end(), node.children.begin(), node.children.end());
        levels[level].push_back(std::move(node));
      }
    }
    std::ranges::sort(children);
    children.erase(std::ranges::unique(children).begin(), children.end());
    wanted = std::move(children);
  }
  TM_DO(close(levels));
  // Its parts may have been found absent, and said so, when an earlier point was walked.
  if (findings.empty() && incomplete_.contains(root.id))
    findings.push_back("parts of its tree are missing, as named at an earlier point");
  return findings;
}

Result<std::vector<TreeWalker::Node>> TreeWalker::locate(std::span<const ChunkId> ids,
                                                         std::vector<std::string>& absent) {
  TM_TRY(const auto rows, catalog_.find_chunks(ids));
  std::vector<Node> nodes;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (incomplete_.contains(ids[i])) continue;
    if (rows[i] && rows[i]->closed) continue;
    if (!rows[i] || rows[i]->location.entry.kind != BlobKind::node) {
      note(absent, "node " + ids[i].hex() + " is missing");
      incomplete_.insert(ids[i]);
      continue;
    }
    nodes.push_back({ids[i], rows[i]->location, {}, true});
  }
  return nodes;
}

Status TreeWalker::read(Node& node, std::uint8_t level, std::string& problem) {
  const auto fail = [&](std::string_view why) {
    node.whole = false;
    problem = "node " + node.id.hex() + " in pack " + node.location.pack.hex() + ": ";
    problem += why;
    return Status();
  };
  const PackEntry& entry = node.location.entry;
  auto stored = backend_.read(pack_blob_name(node.location.pack), entry.offset, entry.stored_size);
  if (!stored) {
    const ErrorCode code = stored.error().code();
    if (code != ErrorCode::corruption && code != ErrorCode::not_found)
      return std::move(stored).error();
    return fail(stored.error().message());
  }
  auto refs = parse_node_refs(*stored);
  if (!refs) return fail(refs.error().message());
  // Levels that fall by one at each step are what ends the walk.
  if (refs->level != level) return fail("stands at another level than its place says");
  if (level > 0) {
    node.children = std::move(refs->refs);
    return {};
  }
  return check_chunks(node, refs->refs, problem);
}

Status TreeWalker::check_chunks(Node& node, std::span<const ChunkId> refs, std::string& problem) {
  TM_TRY(const auto rows, catalog_.find_chunks(refs));
  const auto absent = [](const std::optional<ChunkRow>& row) {
    return !row || row->location.entry.kind != BlobKind::chunk;
  };
  const auto first = std::ranges::find_if(rows, absent);
  if (first == rows.end()) return {};
  node.whole = false;
  const auto count = std::ranges::count_if(rows, absent);
  problem = "chunk " + refs[static_cast<std::size_t>(first - rows.begin())].hex() + " is missing";
  if (count > 1) problem += ", and " + std::to_string(count - 1) + " more of the same node";
  return {};
}

// From the lowest level up: a node is complete where it is whole and all its children are.
Status TreeWalker::close(std::vector<std::vector<Node>>& levels) {
  std::vector<ChunkId> closed;
  for (const std::vector<Node>& nodes : levels) {
    for (const Node& node : nodes) {
      const auto bad = [&](const ChunkId& child) { return incomplete_.contains(child); };
      if (node.whole && std::ranges::none_of(node.children, bad)) {
        closed.push_back(node.id);
      } else {
        incomplete_.insert(node.id);
      }
    }
  }
  if (closed.empty()) return {};
  return catalog_.mark_closed(closed);
}

}  // namespace tidemark::catalog
