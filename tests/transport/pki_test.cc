#include "transport/pki.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <set>

#include "base/clock.h"
#include "tests/transport/fixture.h"

namespace tidemark::testing {
namespace {

constexpr Timestamp kNow{1'800'000'000'000'000};

std::string text_of(const std::filesystem::path& path) {
  BIO* const file = BIO_new_file(path.c_str(), "r");
  X509* const certificate = PEM_read_bio_X509(file, nullptr, nullptr, nullptr);
  BIO* const out = BIO_new(BIO_s_mem());
  X509_print(out, certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  std::string text(data, static_cast<std::size_t>(size));
  X509_free(certificate);
  BIO_free(file);
  BIO_free(out);
  return text;
}

unsigned mode_of(const std::filesystem::path& path) {
  struct stat st {};
  EXPECT_EQ(::stat(path.c_str(), &st), 0);
  return st.st_mode & 0777u;
}

TEST(PkiFiles, ACertificateNamesItsSiteAndHosts) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(pki_init(directory.path() / "new", kNow));
  const auto path = directory.path() / "new";
  ASSERT_TRUE(pki_issue(path, {"tokyo", {"tokyo.example", "192.0.2.7", "2001:db8::1"}}, kNow));
  const std::string text = text_of(path / "tokyo.crt");
  for (const char* part : {"URI:tidemark://site/tokyo, DNS:tokyo.example, IP Address:192.0.2.7, IP "
                           "Address:2001:DB8:0:0:0:0:0:1",
                           "TLS Web Server Authentication, TLS Web Client Authentication",
                           "CA:FALSE", "prime256v1", "CN=tokyo", "ecdsa-with-SHA256"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_NE(text_of(path / "ca.crt").find("CA:TRUE, pathlen:0"), std::string::npos);
  EXPECT_EQ(mode_of(path / "ca.key"), 0600u);
  EXPECT_EQ(mode_of(path / "tokyo.key"), 0600u);
  const auto end = certificate_expiry(path / "tokyo.crt");
  ASSERT_TRUE(end);
  EXPECT_EQ(*end, kNow + std::chrono::days(397));
}

TEST(PkiFiles, ACaIsNeverOverwritten) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(pki_init(directory.path(), kNow));
  const std::string before = text_of(directory.path() / "ca.crt");
  const auto again = pki_init(directory.path(), kNow);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::already_exists);
  std::filesystem::remove(directory.path() / "ca.crt");
  EXPECT_FALSE(pki_init(directory.path(), kNow));
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "ca.crt"));
}

TEST(PkiFiles, WhatCannotBeIssuedIsRefused) {
  const TemporaryDirectory directory;
  EXPECT_FALSE(pki_issue(directory.path(), {"tokyo", {}}, kNow));
  ASSERT_TRUE(pki_init(directory.path(), kNow, std::chrono::days(30)));
  for (const char* site : {"", ".", "..", "a/b", "a\nb", "ca"})
    EXPECT_FALSE(pki_issue(directory.path(), {site, {}}, kNow)) << site;
  for (const char* host : {"", "a,URI:tidemark://site/b", "a b", "a/b", "1.2.3.4.5,IP:1.1.1.1"})
    EXPECT_FALSE(pki_issue(directory.path(), {"tokyo", {host}}, kNow)) << host;
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "tokyo.crt"));
  // Not beyond the CA's own end, and not by a CA that has expired.
  ASSERT_TRUE(pki_issue(directory.path(), {"tokyo", {}, std::chrono::days(90)}, kNow));
  EXPECT_EQ(*certificate_expiry(directory.path() / "tokyo.crt"), kNow + std::chrono::days(30));
  EXPECT_FALSE(pki_issue(directory.path(), {"osaka", {}}, kNow + std::chrono::days(31)));
}

TEST(PkiFiles, NamesThatAreNotPlainSurviveTheUri) {
  const Pki pki;
  for (const std::string& site : {std::string("São Paulo, 2%"), std::string(200, 'x')}) {
    const TlsFiles files = pki.issue(site);
    const auto server = start_server(server_options(files), echo);
    HttpClientOptions options = client_options(files, server->port());
    options.expect_site = site;
    const auto answer = make_client(options)->request("GET", "/", {}, {});
    EXPECT_TRUE(answer) << answer.error().describe();
  }
}

TEST(PkiFiles, SerialsDiffer) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(pki_init(directory.path(), kNow));
  std::set<std::string> serials;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(pki_issue(directory.path(), {"tokyo", {}}, kNow));
    const std::string text = text_of(directory.path() / "tokyo.crt");
    serials.insert(text.substr(text.find("Serial Number:"), 80));
  }
  EXPECT_EQ(serials.size(), 20u);
}

}  // namespace
}  // namespace tidemark::testing
