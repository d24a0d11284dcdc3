// What needs a person: found in the site's status, told once, and remembered until it is over.
//
//            seen for as long as it has to be            gone for five minutes
//   (nothing) --------------------------------> open ---------------------------> over
//                                                 | `tidemark events ack`
//                                                 v
//                                           acknowledged --- gone, likewise ----> over
//
// Each change to open and to over is told to the webhook (agent/site/webhook.h), again and again
// until it was taken; the id tells the receiver what it knows already. One that was acknowledged is
// no alarm any more, and comes back only once it was over. What just happened instead of lasting
// (raise()) is over when it is acknowledged, or after a week.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/config.h"

namespace tidemark {

struct SiteStatus;

enum class Severity { warning, critical };
std::string_view name_of(Severity severity);

// Something that is so now. Kinds are a contract (docs/operations.md).
struct Condition {
  std::string kind;     // "objective_missed"
  std::string subject;  // "rbd/rbd/vol to osaka"; empty: the site
  Severity severity = Severity::warning;
  std::string message;
  Duration patience{};   // how long it has to last before it is an event
  bool unclear = false;  // nobody knows at the moment: no event begins by it, and none ends
};

// Pure. In the order of kind and subject, which name each once.
std::vector<Condition> conditions_of(const SiteStatus& status, const EventsConfig& config);

struct Event {
  std::string id;  // eight hexadecimal digits
  std::string kind, subject;
  Severity severity = Severity::warning;
  std::string message;  // as it was seen last
  Timestamp since;
  bool lasting = true;  // false: it was raised
  std::optional<Timestamp> over, acknowledged;
  std::string note;                           // of whoever acknowledged it
  bool told_open = false, told_over = false;  // the webhook has taken it
  bool alarms() const { return !over && !acknowledged; }
  bool operator==(const Event&) const = default;
};
// {"version":1,"id","site","state":"open"|"resolved","severity","kind","subject","message",
//  "since","resolved_at","acknowledged_at","note"}: what the webhook gets, `events` and `status`
// print.
nlohmann::json event_json(const Event& event, const std::string& site);

// Outlives the process in `<directory>/events.json` (version 1); of what is over the newest 200
// stay. Acknowledgements come as files in `<directory>/acks`, so that the command needs no running
// agent. Safe from any thread.
class EventLog {
 public:
  explicit EventLog(std::filesystem::path directory);

  // Reads what was kept; a file that cannot be understood is set aside, and the log begins anew.
  void open();
  // Takes up acknowledgements, opens and ends events. Errors are those of the file: what was
  // decided holds in this process all the same.
  Status update(const std::vector<Condition>& conditions, Timestamp now);
  // Something happened. One of the same kind and subject that is open already stays the only one.
  void raise(const Condition& what, Timestamp now);
  std::vector<Event> events() const;  // oldest first
  // What the webhook is to be told, oldest first. Its state is that of the event now.
  std::vector<Event> untold() const;
  Status told(const Event& event);

 private:
  using Key = std::pair<std::string, std::string>;
  // The files that were taken up: to be removed once what they say is kept.
  std::vector<std::filesystem::path> take_acknowledgements(Timestamp now);
  Event& add(const Condition& condition, Timestamp now, bool lasting);
  void forget_old();
  Status save();

  const std::filesystem::path directory_;
  mutable std::mutex mutex_;
  std::vector<Event> events_;  // guarded by mutex_, as is the rest
  std::vector<Event> saved_;
  std::map<Key, Timestamp> first_seen_;    // conditions that are no event yet
  std::map<std::string, Timestamp> gone_;  // by id: since when the condition was not seen
};

// What `tidemark events` works on. `not_found` where no event begins with `id`, `invalid_argument`
// where several do.
Result<std::vector<Event>> read_events(const std::filesystem::path& directory);
Status acknowledge_event(const std::filesystem::path& directory, const std::string& id,
                         const std::string& note);

}  // namespace tidemark
