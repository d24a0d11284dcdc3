// Signature Version 4 against the examples that AWS publishes for S3.
#include <gtest/gtest.h>

#include "transport/s3/signature.h"

namespace tidemark::s3 {
namespace {

const Credentials kKeys = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", {}};
const Timestamp kTime = {1'369'353'600LL * 1'000'000};  // 2013-05-24T00:00:00Z
const std::string kEmpty = sha256({}).hex();

std::string sign(std::string_view method, std::string_view path, const Query& query,
                 HttpHeaders headers, const std::string& payload = kEmpty) {
  headers.try_emplace("host", "examplebucket.s3.amazonaws.com");
  headers["x-amz-date"] = amz_date(kTime);
  headers["x-amz-content-sha256"] = payload;
  const std::string encoded_path = encode_path(path), encoded_query = encode_query(query);
  return Signer(kKeys, kTime, "us-east-1")
      .sign({method, encoded_path, encoded_query, headers, payload})
      .hex;
}

TEST(S3Signature, GetObjectExample) {
  EXPECT_EQ(sign("GET", "/test.txt", {}, {{"range", "bytes=0-9"}}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(S3Signature, PutObjectExample) {
  EXPECT_EQ(sign("PUT", "/test$file.text", {},
                 {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                  {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                 sha256(as_bytes("Welcome to Amazon S3.")).hex()),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(S3Signature, GetBucketLifecycleExample) {
  EXPECT_EQ(sign("GET", "/", {{"lifecycle", ""}}, {}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST(S3Signature, ListObjectsExample) {
  EXPECT_EQ(sign("GET", "/", {{"max-keys", "2"}, {"prefix", "J"}}, {}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(S3Signature, ChunkedUploadExample) {
  const HttpHeaders headers = {{"host", "s3.amazonaws.com"},
                               {"content-encoding", "aws-chunked"},
                               {"content-length", "66824"},
                               {"x-amz-decoded-content-length", "66560"},
                               {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
  const std::string seed =
      sign("PUT", "/examplebucket/chunkObject.txt", {}, headers, std::string(kStreamingPayload));
  EXPECT_EQ(seed, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
  const Signer signer(kKeys, kTime, "us-east-1");
  const std::string body(65'536, 'a');
  const std::string first = signer.sign_chunk(seed, as_bytes(body));
  EXPECT_EQ(first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
  const std::string second = signer.sign_chunk(first, as_bytes(body).first(1024));
  EXPECT_EQ(second, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
  EXPECT_EQ(signer.sign_chunk(second, {}),
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
  EXPECT_EQ(chunk_header(65'536, first),
            "10000;chunk-signature="
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n");
  EXPECT_EQ(chunked_length(66'560, 65'536), 66'824u);
}

TEST(S3Signature, PathsAreEncodedOnceAndNeverNormalised) {
  EXPECT_EQ(encode_path("/b//a/./../%2F+ ~\xc3\xbc\n"), "/b//a/./../%252F%2B%20~%C3%BC%0A");
  EXPECT_EQ(encode_path(""), "");
}

TEST(S3Signature, QueriesAreSortedByEncodedKey) {
  EXPECT_EQ(encode_query({{"b", "x y"}, {"a-", "1"}, {"a", ""}, {"\xc3\xa4", "/"}}),
            "%C3%A4=%2F&a=&a-=1&b=x%20y");
}

TEST(S3Signature, BlanksInHeaderValuesAreFolded) {
  EXPECT_EQ(sign("GET", "/", {}, {{"x-amz-meta-a", "  b   c "}}),
            sign("GET", "/", {}, {{"x-amz-meta-a", "b c"}}));
}

}  // namespace
}  // namespace tidemark::s3
