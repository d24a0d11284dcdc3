// A small certificate authority, for sites without one of their own. ECDSA P-256, PEM files.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tidemark {

// Creates `directory` with ca.crt and ca.key (mode 0600). `already_exists` where a CA is there.
Status pki_init(const std::filesystem::path& directory, Timestamp now,
                std::chrono::days valid = std::chrono::days(3650));

struct PkiIssue {
  std::string site;                // goes into URI:tidemark://site/<site> and the common name
  std::vector<std::string> hosts;  // DNS names and IP addresses for the SAN
  std::chrono::days valid{397};
};
// Writes <site>.crt and <site>.key (mode 0600) into `directory`, replacing older ones in a way that
// a reader never sees half a file; serverAuth and clientAuth.
Status pki_issue(const std::filesystem::path& directory, const PkiIssue& issue, Timestamp now);

// When the (first) certificate in a PEM file ends.
Result<Timestamp> certificate_expiry(const std::filesystem::path& certificate);

}  // namespace tidemark
