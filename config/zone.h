// Time zones by the names of the tz database, which is the machine's own (Debian's tzdata).
//
// Zones are plain values; all functions are safe from any thread. The database is read once in a
// process: a newer one counts from the next start on. After 2037 a zone keeps the offset that it
// has then: that is how far the database's tables reach.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace tidemark {

class Zone {
 public:
  // UTC; needs no database.
  Zone() = default;
  // "UTC", "Europe/Berlin". `invalid_argument` for a name that the database does not have, and for
  // every name but UTC where the machine has no database.
  static Result<Zone> find(std::string_view name);

  const std::string& name() const { return name_; }

  // A stretch of time, [begin, end), in which the wall clock is `offset` ahead of UTC. Two that
  // follow each other may have the same offset.
  struct Span {
    Timestamp begin, end;
    std::chrono::microseconds offset;
  };
  // The one that `t` lies in.
  Span at(Timestamp t) const;

  bool operator==(const Zone&) const = default;

 private:
  std::string name_ = "UTC";
  const void* rules_ = nullptr;  // of the library, which never frees them; null for UTC
};

}  // namespace tidemark
