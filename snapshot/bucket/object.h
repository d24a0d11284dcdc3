// Reads one version of one object: bytes, headers, metadata, tags, ACL, lock.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "store/bucket.h"
#include "transport/s3/client.h"

namespace tidemark {

// Where the bytes of objects go that do not fit into their entries. All from any thread.
struct ChunkSink {
  // Waits until so many bytes may be held.
  std::function<Status(std::size_t size)> reserve;
  // Takes bytes that were reserved, and their reservation.
  std::function<ChunkId(Bytes bytes)> put;
  // Gives a reservation back.
  std::function<void(std::size_t size)> release;
};

// The entry of what the server listed; nothing where that version is not there any more, or became
// another one before all of it was read. The bytes then went to the sink for nothing.
Result<std::optional<ObjectEntry>> read_object(const s3::Client& client, const std::string& bucket,
                                               const ObjectEntry& listed, const ChunkSink& sink,
                                               std::stop_token stop);

// True where an AccessControlPolicy grants full control to its owner and nothing else. `owner`
// becomes the owner's id, where it names one.
bool is_private_acl(const std::string& document, std::string& owner);

}  // namespace tidemark
