// Debian's curl, as an operator uses it, speaks to the server.
#include <sys/wait.h>

#include <array>
#include <cstdio>

#include "tests/transport/fixture.h"

namespace tidemark::testing {
namespace {

class Curl : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("curl --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no curl here";
    options_ = server_options(pki_.issue("osaka"));
    options_.body_bytes_max = 4 << 20;
    tokyo_ = pki_.issue("tokyo");
    server_ = start_server(options_, [](HttpRequest& request) {
      if (request.path == "/refuse") return HttpResponse{.status = 409, .headers = {}, .body = {}};
      return echo(request);
    });
  }
  // Standard output and error of curl, and its exit code in `code_`.
  std::string curl(const std::string& arguments, const std::string& path,
                   bool with_certificate = true) {
    std::string command = "curl -sS --max-time 20 --cacert '" + tokyo_.ca.string() + "' ";
    if (with_certificate)
      command +=
          "--cert '" + tokyo_.certificate.string() + "' --key '" + tokyo_.key.string() + "' ";
    command +=
        arguments + " 'https://localhost:" + std::to_string(server_->port()) + path + "' 2>&1";
    FILE* const pipe = ::popen(command.c_str(), "r");
    std::string out;
    std::array<char, 4096> buffer{};
    while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe))
      out.append(buffer.data(), n);
    code_ = WEXITSTATUS(::pclose(pipe));
    return out;
  }
  std::filesystem::path file(std::size_t size) {
    std::mt19937_64 random(test_seed());
    const auto path = pki_.path() / "upload";
    EXPECT_TRUE(write_file_durably(path, random_body(random, size)));
    return path;
  }

  Pki pki_;
  HttpServerOptions options_;
  TlsFiles tokyo_;
  std::unique_ptr<HttpServer> server_;
  int code_ = -1;
};

TEST_F(Curl, GetsHeadsAndErrors) {
  EXPECT_NE(curl("-i", "/a%20b").find("x-path: %2Fa%20b"), std::string::npos);
  EXPECT_EQ(code_, 0);
  EXPECT_TRUE(curl("-I", "/").starts_with("HTTP/1.1 200 OK"));
  EXPECT_EQ(code_, 0);
  EXPECT_EQ(curl("--path-as-is", "/../x"),
            "{\"error\":{\"code\":\"invalid_argument\",\"message\":\"the path has a '.' or '..' "
            "part\"}}\n");
}

TEST_F(Curl, UploadsWithExpectContinueAndChunked) {
  const auto upload = file(3 << 20);
  const Bytes sent = *read_file(upload, 4 << 20);
  for (const std::string how : {"-T ", "-H 'Transfer-Encoding: chunked' -T ", "-H 'Expect:' -T "}) {
    const std::string got =
        curl("-v -o " + (pki_.path() / "got").string() + " " + how + upload.string(), "/x");
    EXPECT_EQ(code_, 0) << got;
    EXPECT_EQ(*read_file(pki_.path() / "got", 4 << 20), sent) << how;
    if (how != "-T ") continue;
    EXPECT_NE(got.find("< HTTP/1.1 100 Continue"), std::string::npos) << got;
  }
}

TEST_F(Curl, RefusedUploadsAreNotSent) {
  const auto upload = file(3 << 20);
  const std::string refused = curl("-v -T " + upload.string(), "/refuse");
  EXPECT_EQ(refused.find("100 Continue"), std::string::npos);
  EXPECT_NE(refused.find("< HTTP/1.1 409 Conflict"), std::string::npos) << refused;
  const std::string large = curl("-T " + file(5 << 20).string(), "/x");
  EXPECT_NE(large.find("invalid_argument"), std::string::npos) << large;
}

TEST_F(Curl, OldHttpAndSeveralRequestsOnOneConnection) {
  EXPECT_EQ(curl("-0 -d hello", "/x"), "hello");
  const std::string url = "https://localhost:" + std::to_string(server_->port());
  const std::string got = curl("-v -d one " + url + "/1 -d two " + url + "/2", "/3");
  EXPECT_NE(got.find("Re-using existing connection"), std::string::npos) << got;
  EXPECT_EQ(code_, 0);
}

TEST_F(Curl, WithoutACertificateIsRefused) {
  const std::string got = curl("", "/", false);
  EXPECT_NE(code_, 0);
  EXPECT_NE(got.find("certificate required"), std::string::npos) << got;
}

}  // namespace
}  // namespace tidemark::testing
