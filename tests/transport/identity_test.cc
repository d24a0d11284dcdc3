// Who may talk to whom: certificates of every kind, from both sides, and their rotation.
#include <openssl/err.h>

#include <atomic>
#include <thread>

#include "base/clock.h"
#include "tests/transport/fixture.h"

namespace tidemark::testing {
namespace {

constexpr const char* kTokyo = "URI:tidemark://site/tokyo";
constexpr const char* kOsaka = "URI:tidemark://site/osaka,IP:127.0.0.1";
constexpr std::chrono::seconds kDay{86400};

class Identity : public ::testing::Test {
 protected:
  Identity() : server_(start_server(server_options(pki_.issue("osaka")), counting_echo())) {}

  HttpServer::Handler counting_echo() {
    return [this](HttpRequest& request) {
      ++handled_;
      return echo(request);
    };
  }
  // What a client with this certificate is told, twice: for a small request and for a large one,
  // whose refusal can arrive while it is being written.
  void expect_refused(const TlsFiles& files, const std::string& why) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{16} << 20}) {
      const auto client = make_client(client_options(files, server_->port()));
      const auto answer = client->request(size == 0 ? "GET" : "PUT", "/", {}, Bytes(size));
      ASSERT_FALSE(answer) << why;
      EXPECT_EQ(answer.error().code(), ErrorCode::permission_denied) << answer.error().describe();
      EXPECT_NE(answer.error().message().find("the server refused our certificate: " + why),
                std::string::npos)
          << answer.error().describe();
    }
    EXPECT_EQ(handled_, 0);
    const auto good = make_client(client_options(pki_.issue("tokyo"), server_->port()));
    EXPECT_TRUE(good->request("GET", "/", {}, {}));
    handled_ = 0;
  }
  // What a good client says of a server with this certificate.
  void expect_server_refused(const TlsFiles& files, const std::string& why,
                             const std::string& host = "127.0.0.1") {
    const auto server = start_server(server_options(files), counting_echo());
    HttpClientOptions options = client_options(pki_.issue("tokyo"), server->port());
    options.url = "https://" + host + ":" + std::to_string(server->port());
    const auto answer = make_client(options)->request("GET", "/", {}, {});
    ASSERT_FALSE(answer) << why;
    EXPECT_EQ(answer.error().code(), ErrorCode::permission_denied) << answer.error().describe();
    EXPECT_NE(answer.error().message().find("the server's certificate is refused: " + why),
              std::string::npos)
        << answer.error().describe();
    EXPECT_EQ(handled_, 0);
  }

  Pki pki_;
  std::atomic<int> handled_ = 0;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(Identity, AClientOfAnotherCaIsRefused) {
  const Pki other;
  TlsFiles files = other.issue("tokyo");
  files.ca = pki_.path() / "ca.crt";
  expect_refused(files, "it does not know the CA");
}

TEST_F(Identity, AClientWhoseCertificateHasExpiredIsRefused) {
  expect_refused(pki_.issue_odd({"t", kTokyo, "clientAuth", -2 * kDay, -kDay}), "it has expired");
}

TEST_F(Identity, AClientWhoseCertificateIsNotYetValidIsRefused) {
  expect_refused(pki_.issue_odd({"t", kTokyo, "clientAuth", kDay, 2 * kDay}),
                 "it is damaged or not valid yet");
}

TEST_F(Identity, AClientWithACertificateForAnotherUseIsRefused) {
  expect_refused(pki_.issue_odd({"t", kTokyo, "serverAuth"}), "it is for another use");
  expect_refused(pki_.issue_odd({"t", kTokyo, "codeSigning"}), "it is for another use");
  expect_refused(pki_.issue_odd({"t", kTokyo, ""}), "it is for another use");
}

TEST_F(Identity, AClientThatNamesNoSingleSiteGets403AndNoHandler) {
  for (const char* names :
       {"", "DNS:tokyo", "URI:tidemark://site/", "URI:tidemark://site/a%2Fb",
        "URI:tidemark://site/%", "URI:tidemark://site/..", "URI:spiffe://site/tokyo",
        "URI:tidemark://sites/tokyo", "URI:tidemark://site/a%00b",
        "URI:tidemark://site/a,URI:tidemark://site/b"}) {
    const TlsFiles files = pki_.issue_odd({"t", names});
    for (const std::size_t size : {std::size_t{0}, std::size_t{16} << 20}) {
      const auto client = make_client(client_options(files, server_->port()));
      const auto answer = client->request("PUT", "/", {}, Bytes(size));
      ASSERT_TRUE(answer) << names << ": " << answer.error().describe();
      EXPECT_EQ(answer->status, 403u) << names;
      EXPECT_NE(as_text(answer->body).find("the certificate names"), std::string::npos);
    }
  }
  EXPECT_EQ(handled_, 0);
}

TEST_F(Identity, AnotherUriBesideTheSiteIsNoHarm) {
  const TlsFiles files = pki_.issue_odd({"t", "URI:spiffe://x/y,URI:tidemark://site/kyoto"});
  const auto answer =
      make_client(client_options(files, server_->port()))->request("GET", "/", {}, {});
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_EQ(answer->headers.at("x-site"), "kyoto");
}

TEST_F(Identity, NoClientCertificateNoConnection) {
  RawTls raw(server_->port(), nullptr);
  raw.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  EXPECT_EQ(raw.receive_all(), "");
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
  EXPECT_EQ(handled_, 0);
}

TEST_F(Identity, OlderTlsIsRefused) {
  const TlsFiles files = pki_.issue("tokyo");
  EXPECT_FALSE(RawTls(server_->port(), &files, nullptr, TLS1_2_VERSION).connected());
  EXPECT_TRUE(RawTls(server_->port(), &files).connected());
}

TEST_F(Identity, ASessionIsNeverResumed) {
  const TlsFiles files = pki_.issue("tokyo");
  RawTls first(server_->port(), &files);
  ASSERT_TRUE(first.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
  ASSERT_NE(first.receive_until("\r\n\r\n").find("200 OK"), std::string::npos);
  SSL_SESSION* const session = SSL_get1_session(first.ssl());
  EXPECT_EQ(SSL_SESSION_is_resumable(session), 0);
  RawTls second(server_->port(), &files, session);
  ASSERT_TRUE(second.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
  ASSERT_NE(second.receive_until("\r\n\r\n").find("200 OK"), std::string::npos);
  EXPECT_EQ(SSL_session_reused(second.ssl()), 0);
  SSL_SESSION_free(session);
}

// A pre-shared key of the client's own making, which is what a resumption looks like on the wire,
// must not get it around the certificate.
TEST_F(Identity, AForgedSessionDoesNotReplaceTheCertificate) {
  const TlsFiles files = pki_.issue("tokyo");
  RawTls first(server_->port(), &files);
  ASSERT_TRUE(first.connected());
  SSL_SESSION* const session = SSL_get1_session(first.ssl());
  const std::vector<unsigned char> secret(32, 7), id(32, 9);
  SSL_SESSION_set1_master_key(session, secret.data(), secret.size());
  SSL_SESSION_set1_id(session, id.data(), static_cast<unsigned>(id.size()));
  RawTls second(server_->port(), nullptr, session);
  second.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  EXPECT_EQ(second.receive_all(), "");
  EXPECT_EQ(handled_, 0);
  SSL_SESSION_free(session);
}

TEST_F(Identity, AServerOfAnotherCaIsRefused) {
  const Pki other;
  TlsFiles files = other.issue("osaka");
  files.ca = pki_.path() / "ca.crt";
  expect_server_refused(files, "unable to get local issuer certificate (unknown CA)");
}

TEST_F(Identity, AServerWhoseCertificateIsNotValidNowIsRefused) {
  expect_server_refused(pki_.issue_odd({"o", kOsaka, "serverAuth", -2 * kDay, -kDay}),
                        "certificate has expired");
  expect_server_refused(pki_.issue_odd({"o", kOsaka, "serverAuth", kDay, 2 * kDay}),
                        "certificate is not yet valid");
}

TEST_F(Identity, AServerWithACertificateForAnotherUseIsRefused) {
  for (const char* usages : {"clientAuth", "codeSigning", ""})
    expect_server_refused(pki_.issue_odd({"o", kOsaka, usages}),
                          "unsuitable certificate purpose (it is not for use by a server)");
}

TEST_F(Identity, AServerOfAnotherSiteIsRefused) {
  expect_server_refused(pki_.issue("kyoto"), "it is that of site 'kyoto', not of 'osaka'");
  expect_server_refused(pki_.issue_odd({"o", "IP:127.0.0.1"}), "the certificate names no site");
}

TEST_F(Identity, AServerOfAnotherHostIsRefusedUnlessHostsDoNotMatter) {
  const TlsFiles files = pki_.issue_odd({"o", "URI:tidemark://site/osaka,DNS:osaka.example"});
  expect_server_refused(files, "IP address mismatch");
  expect_server_refused(files, "hostname mismatch", "localhost");
  const auto server = start_server(server_options(files), echo);
  HttpClientOptions options = client_options(pki_.issue("tokyo"), server->port());
  options.check_host = false;
  const auto answer = make_client(options)->request("GET", "/", {}, {});
  EXPECT_TRUE(answer) << answer.error().describe();
}

TEST_F(Identity, AServerThatDoesNotSpeakTlsIsUnavailable) {
  const TlsFiles files = pki_.issue("tokyo");
  const auto client = make_client(client_options(files, 1));
  const auto answer = client->request("GET", "/", {}, {});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::unavailable) << answer.error().describe();
}

TEST_F(Identity, UnusableFilesAreRefusedAtTheStart) {
  const TlsFiles osaka = pki_.issue("osaka"), tokyo = pki_.issue("tokyo");
  const auto code_for = [](const TlsFiles& files) {
    const auto server = HttpServer::start(server_options(files), echo);
    return server ? std::string("started") : server.error().describe();
  };
  EXPECT_NE(code_for({osaka.certificate, tokyo.key, osaka.ca}).find("do not belong together"),
            std::string::npos);
  EXPECT_NE(code_for({osaka.certificate, osaka.key, "/nowhere"}).find("/nowhere"),
            std::string::npos);
  EXPECT_NE(code_for({osaka.key, osaka.key, osaka.ca}).find("no PEM certificate"),
            std::string::npos);
  EXPECT_NE(code_for({osaka.certificate, osaka.ca, osaka.ca}).find("private key"),
            std::string::npos);
  EXPECT_EQ(code_for(osaka), "started");
}

// Both ends change certificates and CAs, with an overlap, while requests run: none of them fails,
// and after the overlap the old certificates are refused although nothing was restarted.
TEST(Rotation, CertificatesAndCasChangeWithoutOneFailedRequest) {
  const Pki old_pki, new_pki;
  const TemporaryDirectory live;
  const auto in_use = [&](const std::string& name) {
    return TlsFiles{live.path() / (name + ".crt"), live.path() / (name + ".key"),
                    live.path() / "ca.crt"};
  };
  const auto install = [&](const std::string& name, const TlsFiles& from) {
    ASSERT_TRUE(replace_file(from.key, in_use(name).key));
    ASSERT_TRUE(replace_file(from.certificate, in_use(name).certificate));
  };
  install("osaka", old_pki.issue("osaka"));
  install("tokyo", old_pki.issue("tokyo"));
  ASSERT_TRUE(replace_file(old_pki.path() / "ca.crt", live.path() / "ca.crt"));

  const auto server = start_server(server_options(in_use("osaka")), echo);
  const auto kept = make_client(client_options(in_use("tokyo"), server->port()));
  std::atomic<bool> stop = false;
  std::atomic<int> good = 0, bad = 0;
  std::thread traffic([&] {
    while (!stop) {
      // Without an older pair to keep, one that is half exchanged cannot be used yet.
      const auto created = HttpClient::create(client_options(in_use("tokyo"), server->port()));
      if (!created) continue;
      const auto& fresh = *created;
      for (HttpClient* client : {kept.get(), fresh.get()}) {
        const auto answer = client->request("PUT", "/", {}, as_bytes("x"));
        if (!answer) std::printf("%s\n", answer.error().describe().c_str());
        ++(answer ? good : bad);
      }
    }
  });
  const auto wait_for_requests = [&] {
    for (const int until = good + bad + 10; good + bad < until;)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  wait_for_requests();
  for (int round = 0; round < 5; ++round) {
    install("osaka", old_pki.issue("osaka"));
    wait_for_requests();
    install("tokyo", old_pki.issue("tokyo"));
    wait_for_requests();
  }
  Bytes both = *read_file(old_pki.path() / "ca.crt", 1 << 20);
  append(both, *read_file(new_pki.path() / "ca.crt", 1 << 20));
  ASSERT_TRUE(write_file_durably(live.path() / "ca.crt", both));
  wait_for_requests();
  install("osaka", new_pki.issue("osaka"));
  wait_for_requests();
  install("tokyo", new_pki.issue("tokyo"));
  wait_for_requests();
  ASSERT_TRUE(replace_file(new_pki.path() / "ca.crt", live.path() / "ca.crt"));
  wait_for_requests();
  stop = true;
  traffic.join();
  EXPECT_EQ(bad, 0);
  EXPECT_GT(good, 100);

  TlsFiles outdated = old_pki.files("tokyo");
  outdated.ca = live.path() / "ca.crt";
  const auto answer =
      make_client(client_options(outdated, server->port()))->request("GET", "/", {}, {});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::permission_denied) << answer.error().describe();
}

TEST(Rotation, AKeptConnectionEndsWhenItsCaIsDropped) {
  const Pki old_pki, new_pki;
  const TlsFiles client_files = old_pki.issue("tokyo");
  TlsFiles server_files = old_pki.issue("osaka");
  const TemporaryDirectory live;
  const auto ca = live.path() / "ca.crt";
  ASSERT_TRUE(replace_file(server_files.ca, ca));
  server_files.ca = ca;
  const auto server = start_server(server_options(server_files), echo);
  const auto client = make_client(client_options(client_files, server->port()));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(client->request("GET", "/", {}, {}));
  ASSERT_TRUE(replace_file(new_pki.path() / "ca.crt", ca));
  const auto answer = client->request("GET", "/", {}, {});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::permission_denied) << answer.error().describe();
}

TEST(Rotation, AKeptConnectionEndsWithItsCertificate) {
  const Pki pki;
  const TlsFiles files = pki.issue_odd({"t", kTokyo, "clientAuth", -kDay, std::chrono::seconds(2)});
  const auto server = start_server(server_options(pki.issue("osaka")), echo);
  const auto client = make_client(client_options(files, server->port()));
  ASSERT_TRUE(client->request("GET", "/", {}, {}));
  std::this_thread::sleep_for(std::chrono::milliseconds(3100));
  const auto answer = client->request("GET", "/", {}, {});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::permission_denied) << answer.error().describe();
}

TEST(Rotation, HalfWrittenFilesKeepTheOldPairInUse) {
  const Pki pki;
  const TlsFiles files = pki.issue("osaka");
  const auto server = start_server(server_options(files), echo);
  const auto works = [&] {
    const auto client = make_client(client_options(pki.files("tokyo"), server->port()));
    return client->request("GET", "/", {}, {}).has_value();
  };
  const TlsFiles tokyo = pki.issue("tokyo");
  ASSERT_TRUE(works());
  const Bytes certificate = *read_file(files.certificate, 1 << 20);
  ASSERT_TRUE(write_file_durably(files.certificate, ByteView(certificate).first(100)));
  EXPECT_TRUE(works());
  ASSERT_TRUE(write_file_durably(files.certificate, {}));
  EXPECT_TRUE(works());
  std::filesystem::remove(files.key);
  EXPECT_TRUE(works());
  ASSERT_TRUE(replace_file(tokyo.key, files.key));
  ASSERT_TRUE(write_file_durably(files.certificate, certificate));
  EXPECT_TRUE(works());
  // A pair that fits is taken at once: now the server is another site.
  ASSERT_TRUE(replace_file(tokyo.certificate, files.certificate));
  const auto client = make_client(client_options(tokyo, server->port()));
  const auto answer = client->request("GET", "/", {}, {});
  ASSERT_FALSE(answer);
  EXPECT_NE(answer.error().message().find("it is that of site 'tokyo'"), std::string::npos);
}

}  // namespace
}  // namespace tidemark::testing
