#include "transport/kube/watch.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/crypto.h"
#include "base/log.h"
#include "base/queue.h"

namespace tidemark::kube {
namespace {

using std::chrono::microseconds;

// After so many watches in a row without progress the position itself is doubted: it may be from
// before the cluster's store was restored.
constexpr unsigned kStuckMax = 5;
constexpr std::size_t kReadBytes = 64 * kKiB;

std::uint64_t random_number() {
  std::uint64_t number = 0;
  random_bytes({reinterpret_cast<std::uint8_t*>(&number), sizeof number});
  return number;
}

// Between half of it and all of it.
microseconds jittered(microseconds longest) {
  const auto half = static_cast<std::uint64_t>(std::max<std::int64_t>(longest.count() / 2, 1));
  return microseconds(static_cast<std::int64_t>(half + random_number() % half));
}

// What no repeat mends: the request itself is wrong.
bool is_final(const ApiError& error) {
  return error.code() == ErrorCode::invalid_argument && error.status >= 400;
}

}  // namespace

// How a watch ended.
struct Watch::Ended {
  bool heard = false;     // an event came
  bool progress = false;  // one that moved the position, or it lasted to its end
  bool lost = false;      // the position is no longer there: list anew
  // It lasted to its end and not even a bookmark came: what it waits for may never come.
  bool silent = false;
  std::optional<ApiError> error;
};

void Watch::trouble(const ApiError& error) {
  log::debug("watch of {}: {}", resource_.plural, error.describe());
  handler_.on_trouble(error);
}

void Watch::back_off(const ApiError* error, const std::stop_token& stop) {
  const bool denied = error != nullptr && error->code() == ErrorCode::permission_denied;
  microseconds pause = jittered(denied ? options_.backoff_max : pause_);
  if (error != nullptr && error->retry_after) pause = std::max(pause, *error->retry_after);
  pause_ = std::min(pause_ * 2, options_.backoff_max);
  sleep_for(stop, pause);
}

// Delivers all that is there, and what is not there any more. False after trouble.
bool Watch::list_anew(const std::stop_token& stop) {
  std::set<std::string> seen;
  ListOptions list;
  list.ns = options_.ns;
  list.label_selector = options_.label_selector;
  list.field_selector = options_.field_selector;
  list.page = options_.page;
  ListVisitor visitor;
  visitor.restarted = [&] { seen.clear(); };
  visitor.item = [&](Json object) -> Status {
    if (stop.stop_requested()) return Error(ErrorCode::cancelled, "cancelled");
    const std::string uid = uid_of(object);
    if (uid.empty()) return Error(ErrorCode::corruption, "a listed object has no uid");
    seen.insert(uid);
    known_[uid] = ref_of(object);
    handler_.on_changed(std::move(object));
    return {};
  };
  auto listed = client_.list(resource_, list, visitor, Call{stop, std::nullopt});
  if (stop.stop_requested()) return false;
  if (!listed) {
    trouble(listed.error());
    if (is_final(listed.error()))
      final_ = listed.error();
    else
      back_off(&listed.error(), stop);
    return false;
  }
  for (auto at = known_.begin(); at != known_.end();) {
    if (seen.contains(at->first)) {
      ++at;
      continue;
    }
    const auto gone = known_.extract(at++);
    handler_.on_gone(gone.key(), gone.mapped(), nullptr);
  }
  resource_version_ = listed->resource_version;
  handler_.on_listed(listed->count);
  return true;
}

Status Watch::take(WatchEvent event, Ended& ended) {
  if (event.type == EventType::error) {
    ApiError error = error_of_status(event.object);
    ended.lost = error.expired() || error.reason == "Expired" || error.reason == "Gone";
    ended.error = std::move(error);
    return Error(ErrorCode::unavailable, "the watch was ended by the server");
  }
  const std::string version = resource_version_of(event.object);
  ended.heard = true;
  if (!version.empty() && version != resource_version_) {
    ended.progress = true;
    resource_version_ = version;
  }
  const std::string uid = uid_of(event.object);
  if (event.type == EventType::deleted && !uid.empty()) {
    known_.erase(uid);
    const ObjectRef ref = ref_of(event.object);
    handler_.on_gone(uid, ref, std::move(event.object));
  } else if ((event.type == EventType::added || event.type == EventType::modified) &&
             !uid.empty()) {
    known_[uid] = ref_of(event.object);
    handler_.on_changed(std::move(event.object));
  }
  return {};
}

// True at a clean end.
Outcome<bool> Watch::read_events(net::OpenAnswer& answer, Ended& ended,
                                 const std::stop_token& stop) {
  EventParser parser(options_.event_bytes_max);
  Bytes buffer(kReadBytes);
  while (!stop.stop_requested()) {
    TM_TRY(const std::size_t n, answer.read(buffer, stop));
    if (n == 0) return !parser.is_within_event();
    TM_DO(parser.feed(ByteView(buffer).first(n), [&](WatchEvent event) -> Status {
      if (stop.stop_requested()) return Error(ErrorCode::cancelled, "cancelled");
      return take(std::move(event), ended);
    }));
  }
  return Error(ErrorCode::cancelled, "cancelled");
}

Watch::Ended Watch::watch_once(const std::stop_token& stop) {
  Ended ended;
  const auto spread =
      static_cast<std::uint64_t>((options_.timeout_max - options_.timeout_min).count()) + 1;
  const std::chrono::seconds timeout =
      options_.timeout_min + std::chrono::seconds(random_number() % spread);
  ApiRequest request;
  request.repeatable = true;
  auto path = collection_path(resource_, options_.ns);
  if (!path) {
    final_ = path.error();
    return ended;
  }
  request.path = *std::move(path);
  request.query = {{"watch", "true"},
                   {"allowWatchBookmarks", "true"},
                   {"resourceVersion", resource_version_},
                   {"timeoutSeconds", std::to_string(timeout.count())}};
  if (!options_.label_selector.empty())
    request.query.emplace_back("labelSelector", options_.label_selector);
  if (!options_.field_selector.empty())
    request.query.emplace_back("fieldSelector", options_.field_selector);
  auto answer =
      client_.requester().open(request, Call{stop, std::nullopt}, timeout + options_.grace);
  if (!answer) {
    ended.lost = answer.error().expired();
    ended.error = std::move(answer).error();
    return ended;
  }
  const microseconds begin = net::uptime();
  auto clean = read_events(*answer, ended, stop);
  // What the server said itself is better than what it led to here.
  if (!clean && !ended.error) ended.error = std::move(clean).error();
  // The server began to count a little earlier.
  const bool lasted = (net::uptime() - begin) * 10 >= microseconds(timeout) * 9;
  ended.silent = lasted && !ended.heard;
  ended.progress = ended.progress || (lasted && ended.heard);
  return ended;
}

// Decides how to go on after a watch has ended.
void Watch::settle(const Ended& ended, const std::stop_token& stop) {
  if (stop.stop_requested()) return;
  if (ended.progress) {
    stuck_ = 0;
    pause_ = options_.backoff_first;
  }
  const bool said = ended.error && ended.error->status != 0;
  if (ended.error && !(ended.lost && ended.progress)) trouble(*ended.error);
  if (ended.error && is_final(*ended.error)) {
    final_ = *ended.error;
    return;
  }
  if (ended.lost || ended.silent) resource_version_.clear();
  if (ended.progress && !(said && !ended.lost)) return;
  // The first loss is mended at once; a position that is lost as soon as it is listed waits.
  // A server that is away says nothing about the position.
  const bool away = ended.error && ended.error->status == 0 && ended.error->retryable();
  if (!away) ++stuck_;
  if (stuck_ == 1 && (ended.lost || ended.silent)) return;
  if (stuck_ >= kStuckMax) {
    stuck_ = 0;
    resource_version_.clear();
  }
  back_off(ended.error ? &*ended.error : nullptr, stop);
}

Status Watch::run(std::stop_token stop) {
  while (!stop.stop_requested() && !final_) {
    if (resource_version_.empty() && !list_anew(stop)) continue;
    if (stop.stop_requested()) break;
    settle(watch_once(stop), stop);
  }
  if (stop.stop_requested() || !final_) return {};
  return std::exchange(final_, std::nullopt)->context("watch " + std::string(resource_.plural));
}

}  // namespace tidemark::kube
