// What is agreed between an NBD client and the server before the first read.
#pragma once

#include <memory>
#include <optional>

#include "transport/byte_stream.h"
#include "transport/nbd/server.h"

namespace tidemark::nbd {

struct Agreed {
  bool structured = false;       // replies
  bool base_allocation = false;  // the metadata context; as kAllocationContext
};
inline constexpr std::uint32_t kAllocationContext = 1;

// Negotiates within options.handshake_timeout, and replaces `stream` where TLS is begun. Nothing
// where the client ended it in order; an error where it broke off, broke the rules or was not let
// in.
Result<std::optional<Agreed>> negotiate(std::unique_ptr<net::ByteStream>& stream,
                                        std::uint64_t size_bytes, const Options& options,
                                        const net::Event& stop);

}  // namespace tidemark::nbd
