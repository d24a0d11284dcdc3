// A resource followed over time: listed, then watched, and listed anew where the watch lost its
// place, for as long as it is wanted.
//
// What is delivered is the state of each object, not the history: of several quick changes the last
// one alone may be seen, and after a gap an object can come again as it was. Memory holds uid,
// namespace and name of each object, and one page or one event besides.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "transport/kube/client.h"
#include "transport/kube/event_parser.h"

namespace tidemark::kube {

struct WatchOptions {
  std::string ns = {};  // empty: all namespaces, or a resource without
  std::string label_selector = {};
  std::string field_selector = {};
  // Each watch lasts a time between these, drawn at random, so that many of them do not return at
  // once.
  std::chrono::seconds timeout_min{300};
  std::chrono::seconds timeout_max{600};
  // How long the end of a watch may be late before the connection counts as dead.
  std::chrono::microseconds grace = std::chrono::seconds(30);
  // The pauses while nothing gets on; where a right is missing they begin with the longest.
  std::chrono::microseconds backoff_first = std::chrono::milliseconds(500);
  std::chrono::microseconds backoff_max = std::chrono::seconds(60);
  unsigned page = 250;
  std::size_t event_bytes_max = 16 * kMiB;
};

// Called on the thread of Watch::run(), one call at a time. A handler that takes long holds the
// stream up, and the server cuts a watch whose events are not taken.
class WatchHandler {
 public:
  virtual ~WatchHandler() = default;
  // An object is there, as of now: listed, new or changed. Comes again for what has not changed
  // after each new listing.
  virtual void on_changed(Json object) = 0;
  // An object is there no longer; under a selector, it no longer matches. `last_state` is as it was
  // at the end, or null where that went by unseen.
  virtual void on_gone(const std::string& uid, const ObjectRef& ref, Json last_state) = 0;
  // Every object of one instant was delivered by now, and what had vanished before it as well.
  virtual void on_listed(std::size_t count) { static_cast<void>(count); }
  // The watch meets trouble and goes on by itself: for logs and conditions.
  virtual void on_trouble(const ApiError& error) { static_cast<void>(error); }
};

// Used by one thread.
class Watch {
 public:
  // `client` and `handler` must outlive it.
  Watch(Client& client, const Resource& resource, WatchOptions options, WatchHandler& handler)
      : client_(client),
        resource_(resource),
        options_(std::move(options)),
        handler_(handler),
        pause_(options_.backoff_first) {}

  // Runs until `stop` is requested, which is its only success. Errors that no repeat mends end it:
  // `invalid_argument` (a selector that the server does not take). Missing rights, a missing API
  // and a server that is away are waited for.
  Status run(std::stop_token stop);

 private:
  struct Ended;
  bool list_anew(const std::stop_token& stop);
  Ended watch_once(const std::stop_token& stop);
  Outcome<bool> read_events(net::OpenAnswer& answer, Ended& ended, const std::stop_token& stop);
  Status take(WatchEvent event, Ended& ended);
  void settle(const Ended& ended, const std::stop_token& stop);
  // Waits, longer each time until something got on.
  void back_off(const ApiError* trouble, const std::stop_token& stop);
  void trouble(const ApiError& error);

  Client& client_;
  const Resource resource_;
  const WatchOptions options_;
  WatchHandler& handler_;
  std::map<std::string, ObjectRef> known_;  // by uid
  std::string resource_version_;            // empty: to be listed anew
  std::chrono::microseconds pause_;
  unsigned stuck_ = 0;          // watches in a row without progress
  std::optional<Error> final_;  // why it cannot go on
};

}  // namespace tidemark::kube
