// A client of S3, written for Ceph's radosgw and good for others.
//
// Every call blocks, ends by itself and can be called off. Errors, for every operation unless it
// says otherwise (the table from S3's own codes is in error.h):
//   invalid_argument    the request cannot be sent, or the server calls it wrong
//   not_found           bucket, key, version or upload does not exist
//   permission_denied   keys, policy or certificates
//   refused             a precondition does not hold (If-Match), or the bucket is not empty
//   resource_exhausted  a quota
//   corruption          what came is not what it says it is: XML, a listing, a digest
//   unavailable         no answer, or one that says "later"; retries are used up
//   deadline_exceeded   nothing moved for stall_timeout, or Call::deadline has passed
//   cancelled           Call::stop
//
// Retries. An operation is repeated on `unavailable` and on a stall, with exponential backoff and
// full jitter, within one budget (ClientOptions::retry), and all operations of a client share one
// bucket of repeats. What was sent may have been executed although no answer came: an operation
// that is repeated may be executed twice. Where that matters (a PUT or DELETE in a versioned bucket
// makes a version each time) set Call::repeat to false: then only what the server cannot have begun
// is sent again. Redirects are not followed. A clock that the server calls skewed is corrected by
// the Date of its answer; keys that it refuses are asked for anew. Each of both once.
//
// Keys are any bytes up to 1024; none is normalised. Keys that XML cannot carry (control
// characters) work everywhere but where it is said that they do not.
#pragma once

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "transport/retry.h"
#include "transport/s3/body.h"
#include "transport/s3/signature.h"
#include "transport/s3/types.h"

namespace tidemark::s3 {

using net::RetryOptions;

// How bodies from a BodySource are covered by the signature.
enum class PayloadSigning {
  automatic,  // streaming over plain TCP, unsigned over TLS, which protects them itself
  unsigned_,  // the bytes are not covered
  streaming,  // each run of 256 KiB is signed
};

// Asked before every attempt, from any thread; must be quick. New keys are used from then on.
using CredentialsProvider = std::function<Result<Credentials>()>;

struct ClientOptions {
  std::string endpoint;              // "https://host[:port]" or "http://host[:port]"
  std::string region = "us-east-1";  // radosgw takes any
  CredentialsProvider credentials;
  // PEM roots that the server's certificate is held against, together with the endpoint's host
  // name; empty: the system's. Read again when it changes.
  std::filesystem::path ca_file;
  // The bucket as a part of the Host header, "bucket.host". Connections go to the endpoint's own
  // name all the same, and so does the check of its certificate.
  bool virtual_host = false;
  PayloadSigning payload = PayloadSigning::automatic;
  // More calls than this wait for a connection.
  std::size_t connections_max = 64;
  std::chrono::seconds connect_timeout{10};
  std::chrono::seconds stall_timeout{30};  // without one byte moving
  RetryOptions retry;
  const Clock* clock = &Clock::system();
};

// Of one call.
struct Call {
  std::stop_token stop = {};
  // A point of monotonic time (Clock::uptime()) at which it ends, whatever still moves.
  std::optional<std::chrono::microseconds> deadline = std::nullopt;
  bool repeat = true;  // see above
};

struct GetOptions {
  std::string version_id = {};  // empty: the current one
  // The ETag the object must still have: `refused` where it was overwritten.
  std::string if_match = {};
  // From `offset`, `length` bytes; without length, to the end. A range that begins behind the end
  // is `invalid_argument`; one that ends there is cut off, and short.
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length = {};
  // Where the connection breaks within the body, go on behind what was read, of the same ETag.
  bool resume = true;
  // Compare the MD5 of a whole object with its ETag where that is one: `corruption` at the end.
  bool check_md5 = true;
};

// The bytes of an object as they arrive. Used by one thread at a time; the client outlives it.
class ObjectReader {
 public:
  virtual ~ObjectReader() = default;
  virtual const ObjectInfo& info() const = 0;
  // How many bytes there will be.
  virtual std::uint64_t length() const = 0;
  // Some bytes; 0 only after all of length() have come, exactly. What ends before is an error, and
  // nothing that was read until then may be taken for the object. `refused` where the object was
  // overwritten meanwhile and a broken read cannot go on.
  virtual Result<std::size_t> read(ByteSpan into) = 0;
};

struct PutOptions {
  ObjectSettings settings = {};
  // "*": only where no such key exists; `already_exists` where one does.
  std::string if_none_match = {};
  // Compare the ETag of the answer with the MD5 of what was sent, where it is one: `corruption`,
  // and what is stored under the key is then not what was meant.
  bool check_md5 = true;
  // The MD5 where it is known before: the server refuses other bytes (`corruption`).
  std::optional<std::array<std::uint8_t, 16>> md5 = {};
};

struct ListOptions {
  std::string prefix = {};
  std::string start_after = {};  // only keys behind it
  unsigned page_size = 1000;
};

struct VersionPosition {
  std::string key, version_id;
  bool operator==(const VersionPosition&) const = default;
};

// Pages of a listing, in ascending order of keys (as bytes), each key once. Used by one thread; the
// client outlives it.
//
// Each page asks for what lies behind the last key read, not for the server's token: radosgw 16
// writes tokens that cannot be read back for some keys. A page with keys that do not ascend, that
// are not behind the one before, or not below the prefix, and a page without keys that says that
// more follow, are `corruption`: a listing never ends early without an error, and never turns
// round.
class ObjectListing {
 public:
  virtual ~ObjectListing() = default;
  // Empty at the end. After an error it can be called again and goes on where it was.
  virtual Result<std::vector<ListedObject>> next_page() = 0;
};

// The same for versions and delete markers: keys ascend, those of one key are newest first.
class VersionListing {
 public:
  virtual ~VersionListing() = default;
  virtual Result<std::vector<ListedVersion>> next_page() = 0;
  // Behind which entry the next page begins; can be given to list_versions() later.
  virtual VersionPosition position() const = 0;
};

// What a prefix holds down to the next `delimiter`, in one page. Keys that XML cannot carry make it
// `unsupported`, as radosgw 16 does not encode prefixes although asked to.
struct FolderPage {
  std::vector<ListedObject> objects;
  std::vector<std::string> prefixes;  // each ends with the delimiter
  std::string next;                   // a token for the next page; empty at the end
};

enum class Versioning { never, enabled, suspended };

// Documents that configure a bucket, as the server writes them.
enum class BucketDocument {
  policy,  // JSON; all others are XML
  lifecycle,
  cors,
  acl,  // always there, cannot be removed
  tagging,
  object_lock,   // cannot be removed
  notification,  // always there; removed by an empty one
  encryption,    // radosgw 16 has none: reads as nothing, `unsupported` to write
};

// The parts an object was written in. Nothing where the server does not tell (radosgw 16).
using PartSizes = std::optional<std::vector<std::uint64_t>>;

class Requester;

// Safe from any thread, hundreds at once. Destroy it after all calls, readers and listings.
class Client {
 public:
  // `invalid_argument` for options that cannot work. Connects to nothing yet.
  static Result<std::unique_ptr<Client>> create(ClientOptions options);
  ~Client();

  // --- listings
  std::unique_ptr<ObjectListing> list_objects(std::string bucket, ListOptions options,
                                              Call call = {}) const;
  // From behind the version `after`, or, where it names none, behind all versions of its key.
  std::unique_ptr<VersionListing> list_versions(std::string bucket, std::string prefix,
                                                VersionPosition after = {}, Call call = {},
                                                unsigned page_size = 1000) const;
  Result<FolderPage> list_folder(const std::string& bucket, const std::string& prefix,
                                 const std::string& delimiter, const std::string& token = {},
                                 const Call& call = {}) const;

  // --- objects
  // Returns once the head of the answer is there. The body is held to its Content-Length and to
  // the range that was asked for. A delete marker is `not_found`.
  Result<std::unique_ptr<ObjectReader>> get(const std::string& bucket, const std::string& key,
                                            GetOptions options = {}, Call call = {}) const;
  Result<ObjectInfo> head(const std::string& bucket, const std::string& key,
                          const std::string& version_id = {}, const Call& call = {}) const;
  // Streams the source. The object exists as a whole or not at all; see Call::repeat. An error can
  // mean either, except where it says that nothing was begun.
  Result<PutResult> put(const std::string& bucket, const std::string& key, BodySource& source,
                        const PutOptions& options = {}, const Call& call = {}) const;
  Result<PutResult> put_bytes(const std::string& bucket, const std::string& key, ByteView bytes,
                              const PutOptions& options = {}, const Call& call = {}) const;
  // Success where there is no such object. Without a version, a versioned bucket gets a delete
  // marker, whose version is returned.
  Result<std::string> remove(const std::string& bucket, const ObjectName& name,
                             bool bypass_governance = false, const Call& call = {}) const;
  struct RemoveFailure {
    ObjectName name;
    Error error;
  };
  // Up to 1000 of them; those that failed. Names that XML cannot carry go one by one.
  Result<std::vector<RemoveFailure>> remove_all(const std::string& bucket,
                                                const std::vector<ObjectName>& names,
                                                bool bypass_governance = false,
                                                const Call& call = {}) const;

  Result<Tags> tags(const std::string& bucket, const ObjectName& name, const Call& call = {}) const;
  Status set_tags(const std::string& bucket, const ObjectName& name, const Tags& tags,
                  const Call& call = {}) const;
  // ACLs as the server writes them (AccessControlPolicy).
  Result<std::string> acl(const std::string& bucket, const ObjectName& name,
                          const Call& call = {}) const;
  Status set_acl(const std::string& bucket, const ObjectName& name, const std::string& document,
                 const Call& call = {}) const;
  // Nothing where none is set, and in a bucket without object lock.
  Result<std::optional<Retention>> retention(const std::string& bucket, const ObjectName& name,
                                             const Call& call = {}) const;
  Status set_retention(const std::string& bucket, const ObjectName& name,
                       const Retention& retention, bool bypass_governance = false,
                       const Call& call = {}) const;
  Result<std::optional<bool>> legal_hold(const std::string& bucket, const ObjectName& name,
                                         const Call& call = {}) const;
  Status set_legal_hold(const std::string& bucket, const ObjectName& name, bool on,
                        const Call& call = {}) const;
  Result<PartSizes> part_sizes(const std::string& bucket, const ObjectName& name,
                               const Call& call = {}) const;

  // --- uploads in parts
  // A repeat after a lost answer leaves an upload without parts behind.
  Result<std::string> create_upload(const std::string& bucket, const std::string& key,
                                    const ObjectSettings& settings = {},
                                    const Call& call = {}) const;
  // Sending a part again replaces it. Never while another try of the same part may still run.
  Result<Part> upload_part(const std::string& bucket, const std::string& key,
                           const std::string& upload_id, unsigned number, BodySource& source,
                           const Call& call = {}) const;
  // Makes the object of the parts, in order of their numbers. It is never sent twice where the
  // first may have been begun, as a second one can destroy the object of the first
  // (tracker.ceph.com 20861): after an unclear answer the object is looked at, and its ETag tells.
  // `not_found` where the upload is gone and the object is not made of these parts, `unavailable`
  // where that stays unclear: start over with a new upload, and abort this one only
  // after a while.
  Result<PutResult> complete_upload(const std::string& bucket, const std::string& key,
                                    const std::string& upload_id, const std::vector<Part>& parts,
                                    const Call& call = {}) const;
  // Success where there is no such upload. REQUIRES: complete_upload() was not called for it, or
  // has failed long ago.
  Status abort_upload(const std::string& bucket, const std::string& key,
                      const std::string& upload_id, const Call& call = {}) const;
  // All of them.
  Result<std::vector<Part>> list_parts(const std::string& bucket, const std::string& key,
                                       const std::string& upload_id, const Call& call = {}) const;
  // All that are not finished, below `prefix`. `unsupported` where one has a key that XML cannot
  // carry and the server does not encode it (radosgw 16).
  Result<std::vector<Upload>> list_uploads(const std::string& bucket, const std::string& prefix,
                                           const Call& call = {}) const;

  // --- buckets
  // `already_exists` where it belongs to somebody else; success where it is ours, with whatever
  // settings it has.
  Status create_bucket(const std::string& bucket, bool object_lock = false,
                       const std::string& location = {}, const Call& call = {}) const;
  // `refused` where it is not empty.
  Status remove_bucket(const std::string& bucket, const Call& call = {}) const;
  // Success where it exists and we may use it.
  Status head_bucket(const std::string& bucket, const Call& call = {}) const;
  Result<std::vector<Bucket>> list_buckets(const Call& call = {}) const;
  Result<std::string> location(const std::string& bucket, const Call& call = {}) const;
  Result<Versioning> versioning(const std::string& bucket, const Call& call = {}) const;
  Status set_versioning(const std::string& bucket, bool enabled, const Call& call = {}) const;
  // Nothing where the bucket has none; `not_found` only where there is no bucket.
  Result<std::optional<std::string>> document(const std::string& bucket, BucketDocument which,
                                              const Call& call = {}) const;
  // Of its tagging document; empty where it has none.
  Result<Tags> bucket_tags(const std::string& bucket, const Call& call = {}) const;
  Status set_document(const std::string& bucket, BucketDocument which, const std::string& document,
                      const Call& call = {}) const;
  // Success where there is none. A server that does not know the document may take the request for
  // one to delete the bucket (radosgw 16 does, for "encryption", "acl" and "object-lock"): so
  // nothing is sent for documents that cannot be removed, nor for one that was not read before.
  Status remove_document(const std::string& bucket, BucketDocument which,
                         const Call& call = {}) const;

  // --- radosgw's administration: any signed request, such as GET "/admin/bucket" with
  // {"bucket": name, "stats": "true"}. The body of the answer, usually JSON. The user needs caps.
  Result<Bytes> admin(const std::string& method, const std::string& path, const Query& query,
                      const std::string& body = {}, const Call& call = {}) const;

 private:
  explicit Client(std::unique_ptr<Requester> requester);
  const std::unique_ptr<Requester> requester_;
};

}  // namespace tidemark::s3
