// Bringing one asset back for a drill, beside production and under a name of its own.
//
// Everything it makes is a DrillThing with "tidemark-drill" in its name, known before it is made:
// whoever notes the things first can remove them whatever happens.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/drill/book.h"
#include "agent/drill/content.h"
#include "config/config.h"
#include "snapshot/rbd/image.h"
#include "transport/s3/client.h"

namespace tidemark {

// What a drill works with. All outlive what is made with it.
struct DrillTools {
  const Config* config = nullptr;
  const DrillConfig* plan = nullptr;
  PointStore* store = nullptr;
  const StoreKeys* keys = nullptr;
  std::shared_ptr<CephCluster> cluster;  // null where no image is made
  s3::Client* s3 = nullptr;              // null where no bucket is made
  const Clock* clock = nullptr;
};

// Used by one thread, in the order of its functions.
class Recovery {
 public:
  virtual ~Recovery() = default;
  // "rbd/dr/tidemark-drill.…", a path, a bucket.
  virtual std::string target() const = 0;
  // What bring_back() makes.
  virtual std::vector<DrillThing> things() const = 0;
  // How much that will write; and whether there is room, with `limits.keep_free` left over:
  // `resource_exhausted` where there is not.
  virtual Result<std::uint64_t> estimate() = 0;
  virtual Status check_room(std::uint64_t bytes) = 0;

  struct Usable {
    std::chrono::microseconds after{};  // since bring_back() began, until its data could be used
    std::uint64_t written_bytes = 0, fetched_bytes = 0;
  };
  virtual Result<Usable> bring_back(std::stop_token stop) = 0;
  // Every byte against the point. REQUIRES: bring_back() succeeded; likewise the next two.
  virtual Result<ContentReport> compare(std::stop_token stop) = 0;
  // So many objects of a bucket with their metadata, drawn with `seed`; nothing for volumes.
  virtual Result<std::optional<ContentReport>> sample(std::size_t count, std::uint64_t seed,
                                                      std::stop_token stop) = 0;
  // A volume's disk; null for buckets. Lives as long as this.
  virtual Result<BlockView*> disk(std::stop_token stop) = 0;
};

// `label` is the drill's id and a number, and makes the names. `unsupported` for a method that the
// asset cannot be brought back by.
Result<std::unique_ptr<Recovery>> plan_volume_recovery(const DrillTools& tools,
                                                       const PointRow& point,
                                                       const std::string& label);
Result<std::unique_ptr<Recovery>> plan_bucket_recovery(const DrillTools& tools,
                                                       const PointRow& point,
                                                       const std::string& label);

// Success where it is gone. `refused` for a name that no drill gives, and where somebody uses the
// image for longer than a dead client's watch lives.
Status remove_drill_thing(const DrillTools& tools, const DrillThing& thing, std::stop_token stop);

// `resource_exhausted` where writing `bytes` would not leave `keep_free` of all there is.
Status check_room(std::uint64_t bytes, std::uint64_t free, std::uint64_t all, double keep_free);

// The same of the plan's scratch directory, which is made where it is missing.
Status check_scratch_room(const DrillConfig& plan, std::uint64_t bytes);

// "tidemark-drill.<label>".
std::string drill_name(const std::string& label);

}  // namespace tidemark
