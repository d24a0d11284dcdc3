// Lists: page after page of one instant.
#include <utility>

#include "base/json.h"
#include "transport/kube/client.h"

namespace tidemark::kube {
namespace {

constexpr unsigned kRestartsMax = 5;
constexpr std::string_view kMetadataOnly =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

Error odd(const std::string& what) {
  return Error(ErrorCode::corruption, "the API server's list " + what);
}

// Items of built-in lists do not say what they are; the list does.
void complete(Json& item, const Json& list) {
  if (!item.is_object()) return;
  const std::string kind = text_at(list, "kind");
  constexpr std::string_view kList = "List";
  if (!item.contains("apiVersion") && list.contains("apiVersion"))
    item["apiVersion"] = list["apiVersion"];
  if (!item.contains("kind") && kind.ends_with(kList))
    item["kind"] = kind.substr(0, kind.size() - kList.size());
}

}  // namespace

struct Client::Page {
  unsigned limit = 0;
  std::string next;              // the continue token; empty at the beginning
  std::string resource_version;  // of the first page
  std::size_t count = 0;
  bool moved = false;    // a page of another instant came
  bool refused = false;  // by the visitor
};

// Reads one page. True where it was the last one.
Outcome<bool> Client::list_page(const ApiRequest& base, Page& page, const ListVisitor& visitor,
                                const Call& call) {
  ApiRequest request = base;
  request.query.emplace_back("limit", std::to_string(page.limit));
  if (!page.next.empty()) request.query.emplace_back("continue", page.next);
  TM_TRY(Answer answer, requester_->perform(request, call));
  answer.text = std::string();
  Json& body = answer.body;
  if (!body.is_object() || !body.contains("metadata") || !body["metadata"].is_object())
    return odd("is no list");
  const std::string version = resource_version_of(body);
  if (version.empty()) return odd("has no resourceVersion");
  if (page.next.empty()) page.resource_version = version;
  page.moved = version != page.resource_version;
  if (page.moved) return false;
  std::string next = text_at(body["metadata"], "continue");
  if (!next.empty() && next == page.next) return odd("does not go on");
  Json& items = body["items"];
  if (!items.is_array() && !items.is_null()) return odd("has no items");
  for (Json& item : items) {
    complete(item, body);
    const Status taken = visitor.item(std::exchange(item, nullptr));
    page.refused = !taken;
    if (!taken) return taken.error();
    ++page.count;
  }
  page.next = std::move(next);
  return page.next.empty();
}

Outcome<Listed> Client::list(const Resource& resource, const ListOptions& options,
                             const ListVisitor& visitor, const Call& call) {
  const std::string doing = "list " + std::string(resource.plural);
  ApiRequest base;
  base.repeatable = true;
  TM_TRY(base.path, collection_path(resource, options.ns));
  if (options.metadata_only) base.accept = kMetadataOnly;
  if (!options.label_selector.empty())
    base.query.emplace_back("labelSelector", options.label_selector);
  if (!options.field_selector.empty())
    base.query.emplace_back("fieldSelector", options.field_selector);
  Page page;
  page.limit = std::max(1U, options.page);
  for (unsigned restarts = 0;;) {
    auto last = list_page(base, page, visitor, call);
    if (last && *last) return Listed{page.resource_version, page.count};
    if (last && !page.moved) continue;
    const bool too_large = !last && last.error().code() == ErrorCode::resource_exhausted &&
                           last.error().status == 0 && !page.refused && page.limit > 1;
    const bool again = page.moved || too_large || (!last && last.error().expired());
    if (!again || restarts == kRestartsMax)
      return last ? ApiError(Error(ErrorCode::unavailable, doing + ": it changes all the time"))
                  : std::move(last).error().context(doing);
    // The token in a 410 would give the rest as it is now: half of it old, half of it new.
    ++restarts;
    const unsigned limit = too_large ? std::max(1U, page.limit / 4) : page.limit;
    page = Page();
    page.limit = limit;
    if (visitor.restarted) visitor.restarted();
  }
}

Outcome<ListedObjects> Client::list(const Resource& resource, const ListOptions& options,
                                    const Call& call) {
  ListedObjects all;
  ListVisitor visitor;
  visitor.item = [&](Json object) {
    all.items.push_back(std::move(object));
    return Status();
  };
  visitor.restarted = [&] { all.items.clear(); };
  TM_TRY(Listed listed, list(resource, options, visitor, call));
  all.resource_version = std::move(listed.resource_version);
  return all;
}

}  // namespace tidemark::kube
