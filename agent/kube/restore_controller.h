// Carries out Restore objects, one after the other, and says in their status how far they are.
//
//   (none) --seen--> Pending --point chosen--> Running --> Succeeded
//                       |                         |
//                       +-----------> Failed <----+
//
// What can be tried again is (the store, the API server or a provisioner is away): the object stays
// Pending or Running with a condition that says why. What cannot has Failed, and is not tried
// again; a new object is. A restart goes on where it was (agent/kube/claim_restore.h): everything
// that matters is in the API server. An object that is deleted meanwhile is let go of: a claim that
// was begun stays as it is.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>

#include "agent/kube/restore_order.h"
#include "agent/site/access.h"
#include "transport/kube/watch.h"

namespace tidemark {

class RestoreController : private kube::WatchHandler {
 public:
  struct Options {
    std::function<std::shared_ptr<const Config>()> config;
    // The store that is served here; null: the only peer's.
    const StoreAccess* own_store = nullptr;
    std::string own_ns;  // whose orders may name other namespaces
    std::chrono::milliseconds again = std::chrono::seconds(20);  // after what can be tried again
    std::stop_token stop;
  };
  // All must outlive it.
  RestoreController(kube::Client& client, Clock& clock, Options options)
      : client_(client), clock_(clock), options_(std::move(options)) {}

  // Until the stop, on two threads: this one, and one that watches.
  void run();

 private:
  using Json = nlohmann::json;
  // What becomes of an object: to be tried again or not.
  enum class Done : std::uint8_t { ended, again };

  void on_changed(Json object) override;
  void on_gone(const std::string& uid, const kube::ObjectRef& ref, Json last) override;
  Done reconcile(const kube::ObjectRef& ref);
  // What came of it, as the status has it.
  struct Restored {
    std::string message;
    Json status;
  };
  // A point that was chosen, and all that is needed to restore it.
  struct Work {
    std::shared_ptr<const Config> config;
    const StoreAccess& access;
    const StoreKeys& keys;
    PointRow point;
    ClaimTarget target;
  };
  Result<Restored> carry_out(const RestoreOrder& order, Json& object);
  Result<Restored> restore_volume(const Work& work, Json& object);
  Result<Restored> restore_bucket(const Work& work, Json& object);
  // Tells how far a restore is in the status of the object, until what it returns goes. `object`
  // and what `done_bytes` looks at must outlive that.
  std::shared_ptr<void> show_progress(const Json& object, std::uint64_t total_bytes,
                                      std::function<std::uint64_t()> done_bytes);
  Result<PointRow> choose_point(const RestoreOrder& order, const StoreAccess& access);
  Status patch_status(Json& object, Json status);
  Status say(Json& object, const std::string& phase, const std::string& ready,
             const std::string& reason, const std::string& message, Json more = Json::object());
  kube::Call call() const;

  kube::Client& client_;
  Clock& clock_;
  const Options options_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, kube::ObjectRef> waiting_;               // by uid; guarded by mutex_
  std::map<std::string, std::chrono::microseconds> not_before_;  // likewise
};

}  // namespace tidemark
