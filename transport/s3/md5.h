// MD5, which S3 uses for ETags and Content-MD5. It guards against accidents only.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "transport/base64.h"

namespace tidemark::s3 {

using Md5Digest = FixedId<struct Md5Tag, 16>;

// MD5 of data that arrives in parts. Not safe for concurrent use.
class Md5 {
 public:
  Md5();
  ~Md5();
  Md5(Md5&&) noexcept;
  Md5& operator=(Md5&&) noexcept;
  void update(ByteView data);
  // Ends the computation.
  Md5Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Md5Digest md5(ByteView data);
// As Content-MD5 carries it.
using net::to_base64;

}  // namespace tidemark::s3
