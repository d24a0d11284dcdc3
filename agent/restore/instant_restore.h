// An image that is usable at once while its data follows (snapshot/rbd/migration.h): the point is
// served over HTTP by this process, and librbd reads from there what was not copied yet.
//
//   absent --note--> noted --prepare--> usable --execute--> copied --commit--> done --note gone-->
//   noted, usable --abort--> absent
//
// The note, an object beside the image, says which point is served and where: whoever goes on after
// a kill at any arrow serves the same point at the same address. Until the commit the image cannot
// be opened while nobody serves.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/read/volume_view.h"
#include "agent/service/point_store.h"
#include "snapshot/rbd/migration.h"
#include "transport/range_server.h"

namespace tidemark {

struct InstantNote {
  PointId point;
  std::string address;  // "127.0.0.1:40123"
  bool operator==(const InstantNote&) const = default;
};
// JSON, version 1.
std::string encode(const InstantNote& note);
Result<InstantNote> decode_instant_note(std::string_view text);

struct InstantReport {
  bool resumed = false;
  std::chrono::microseconds usable_after{};  // since run() began
  std::uint64_t fetched_bytes = 0;           // from the store
};

// Used by one thread; `store` and `keys` must outlive it.
class InstantRestore {
 public:
  struct Options {
    std::shared_ptr<CephCluster> cluster;
    RbdImageName name;
    // Where clients of the image reach this process; only loopback is safe, and port 0 takes any.
    net::ServeAddress address{{}, "127.0.0.1", 0};
    std::uint64_t cache_bytes = 512 * kMiB;
    std::stop_token stop;
    // Told once the image can be used.
    std::function<void()> on_usable;
    std::function<void(std::uint64_t done, std::uint64_t of)> progress;  // may be empty
  };
  InstantRestore(PointStore& store, const StoreKeys& keys, Options options)
      : store_(store), keys_(keys), options_(std::move(options)) {}

  // The point that an earlier run was about; nothing where there was none.
  Result<std::optional<InstantNote>> unfinished();
  // Goes on with an earlier run of the same point; `refused` where one of another point is
  // unfinished, or an image of the name is there. `cancelled` by the stop: the image stays, and
  // can be used again once a later run serves it.
  Result<InstantReport> run(const PointRow& point);
  // Removes the image and all that an earlier run left. `not_found` where there is none.
  Status abort(const PointRow& point);

 private:
  struct Served {
    std::unique_ptr<VolumeView> view;
    std::unique_ptr<RangeServer> server;
    std::string url;
  };
  Result<Served> serve(const PointRow& point, const net::ServeAddress& address);
  // `refused` where an image of the name is there.
  Status check_free(ImageImport& import);
  Status prepare(ImageImport& import, const PointRow& point, const std::string& url);
  Status execute(ImageImport& import, RangeServer& server);
  // What an import does not bring: the image's metadata.
  Status finish(ImageImport& import, const PointRow& point);

  PointStore& store_;
  const StoreKeys& keys_;
  Options options_;
};

}  // namespace tidemark
