// Where the API server is and who we are: pods, kubeconfigs, tokens, certificates.
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "tests/transport/kube_fixture.h"
#include "transport/base64.h"
#include "transport/kube/access.h"
#include "transport/socket.h"

namespace tidemark::testing {
namespace {

using namespace std::chrono_literals;

void write_text(const std::filesystem::path& path, const std::string& text) {
  ASSERT_TRUE(write_file_durably(path, as_bytes(text)));
}

std::string text_of(const std::filesystem::path& path) {
  const auto bytes = read_file(path, 1 * kMiB);
  return bytes ? std::string(as_text(*bytes)) : std::string();
}

std::string base64_of(const std::filesystem::path& path) {
  return net::to_base64(as_bytes(text_of(path)));
}

TEST(KubeAccess, APodFindsItsServerAndItsNamespace) {
  const TemporaryDirectory directory;
  write_text(directory.path() / "namespace", "tidemark\n");
  const auto access = kube::access_in_cluster("10.0.0.1", "443", directory.path());
  ASSERT_TRUE(access) << access.error().describe();
  EXPECT_EQ(access->server, "https://10.0.0.1:443");
  EXPECT_EQ(access->default_namespace, "tidemark");
  EXPECT_EQ(access->token_file, directory.path() / "token");
  EXPECT_EQ(access->files.ca, directory.path() / "ca.crt");
  const auto six = kube::access_in_cluster("fd00::1", "6443", directory.path());
  ASSERT_TRUE(six);
  EXPECT_EQ(six->server, "https://[fd00::1]:6443");
}

TEST(KubeAccess, OutsideOfAClusterThereIsNone) {
  const TemporaryDirectory directory;
  const auto none = kube::access_in_cluster("", "", directory.path());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ErrorCode::not_found);
  write_text(directory.path() / "namespace", "tidemark");
  for (const auto& [host, port] : {std::pair{"10.0.0.1", "none"}, {"10.0.0.1/x", "1"}}) {
    const auto odd = kube::access_in_cluster(host, port, directory.path());
    ASSERT_FALSE(odd);
    EXPECT_EQ(odd.error().code(), ErrorCode::invalid_argument);
  }
}

constexpr const char* kConfig = R"(apiVersion: v1
kind: Config
current-context: home
clusters:
- name: one
  cluster:
    server: https://one.example:6443
    certificate-authority: pki/ca.crt
    tls-server-name: kubernetes
- name: two
  cluster: {server: "https://two.example/prefix", certificate-authority-data: Y2E=}
users:
- name: cert
  user: {client-certificate: a.crt, client-key: /etc/a.key}
- name: data
  user: {client-certificate-data: Y2VydA==, client-key-data: a2V5, client-certificate: ignored}
- name: token
  user: {token: abc, tokenFile: t/token}
contexts:
- name: home
  context: {cluster: one, user: cert, namespace: shop}
- name: away
  context: {cluster: two, user: data}
- name: bearer
  context: {cluster: two, user: token}
- name: nobody
  context: {cluster: two, user: missing}
- name: nowhere
  context: {cluster: missing, user: cert}
)";

TEST(KubeAccess, AKubeconfigIsReadForItsContext) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "config";
  write_text(file, kConfig);
  const auto home = kube::access_from_kubeconfig(file);
  ASSERT_TRUE(home) << home.error().describe();
  EXPECT_EQ(home->server, "https://one.example:6443");
  EXPECT_EQ(home->tls_server_name, "kubernetes");
  EXPECT_EQ(home->files.ca, directory.path() / "pki/ca.crt");
  EXPECT_EQ(home->files.certificate, directory.path() / "a.crt");
  EXPECT_EQ(home->files.key, "/etc/a.key");
  EXPECT_EQ(home->default_namespace, "shop");
  const auto away = kube::access_from_kubeconfig(file, "away");
  ASSERT_TRUE(away) << away.error().describe();
  EXPECT_EQ(away->server, "https://two.example/prefix");
  EXPECT_EQ(away->texts.ca, "ca");
  EXPECT_EQ(away->texts.certificate, "cert");
  EXPECT_EQ(away->texts.key, "key");
  EXPECT_TRUE(away->files.certificate.empty());
  EXPECT_EQ(away->default_namespace, "default");
  const auto bearer = kube::access_from_kubeconfig(file, "bearer");
  ASSERT_TRUE(bearer);
  EXPECT_EQ(bearer->token_file, directory.path() / "t/token");
  for (const char* const context : {"nobody", "nowhere", "unheard-of"}) {
    const auto none = kube::access_from_kubeconfig(file, context);
    ASSERT_FALSE(none) << context;
    EXPECT_EQ(none.error().code(), ErrorCode::not_found);
  }
}

TEST(KubeAccess, WhatIsNotSupportedSaysSo) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "config";
  const auto config = [](const std::string& cluster, const std::string& user) {
    return "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
           "clusters: [{name: c, cluster: {server: 'https://a', " +
           cluster + "}}]\nusers: [{name: u, user: {" + user + "}}]\n";
  };
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"", "exec: {command: aws}"},          {"", "auth-provider: {name: gcp}"},
      {"", "username: a, password: s3cret"}, {"", "as: admin, token: s3cret"},
      {"proxy-url: 'http://p'", ""},         {"insecure-skip-tls-verify: true", ""}};
  for (const auto& [cluster, user] : refused) {
    write_text(file, config(cluster, user));
    const auto access = kube::access_from_kubeconfig(file);
    ASSERT_FALSE(access) << cluster << user;
    EXPECT_EQ(access.error().code(), ErrorCode::unsupported) << access.error().describe();
    EXPECT_EQ(access.error().describe().find("s3cret"), std::string::npos);
  }
  write_text(file, config("insecure-skip-tls-verify: false, proxy-url: ''", "exec: null"));
  EXPECT_TRUE(kube::access_from_kubeconfig(file));
}

TEST(KubeAccess, AMalformedKubeconfigIsRefusedWithoutQuotingIt) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "config";
  for (const char* const text :
       {"", "- s3cret", "a: [s3cret", "current-context: [s3cret]", "contexts: s3cret",
        "current-context: c\ncontexts: [s3cret]", "current-context: c\ncontexts: [{name: c}]",
        "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: a, certificate-authority-data: s3cret!}}]"}) {
    write_text(file, text);
    const auto access = kube::access_from_kubeconfig(file);
    ASSERT_FALSE(access) << text;
    EXPECT_EQ(access.error().code(), ErrorCode::invalid_argument) << access.error().describe();
    EXPECT_EQ(access.error().describe().find("s3cret"), std::string::npos);
  }
  EXPECT_FALSE(kube::access_from_kubeconfig(directory.path() / "none"));
}

TEST(KubeAccess, ATokenFileIsLookedAtOnceAMinuteAndAfterARefusal) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "token";
  HandClock clock;
  kube::TokenSource token("", file, clock);
  const auto none = token.current();
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ErrorCode::permission_denied);
  write_text(file, " one\n");
  EXPECT_EQ(token.current().value(), "one");
  write_text(file, "two\n");
  clock.advance(59s);
  EXPECT_EQ(token.current().value(), "one");
  clock.advance(2s);
  EXPECT_EQ(token.current().value(), "two");
  write_text(file, "three\n");
  EXPECT_TRUE(token.refused("one"));  // an old one: what there is is newer
  EXPECT_EQ(token.current().value(), "two");
  EXPECT_TRUE(token.refused("two"));
  EXPECT_EQ(token.current().value(), "three");
  // While the file is away, the last token serves.
  std::filesystem::remove(file);
  clock.advance(61s);
  EXPECT_EQ(token.current().value(), "three");
}

TEST(KubeAccess, Base64HasOneFormForEveryValue) {
  std::mt19937_64 random(test_seed());
  for (std::size_t size = 0; size < 100; ++size) {
    const Bytes bytes = random_body(random, size);
    EXPECT_EQ(net::from_base64(net::to_base64(bytes)), bytes);
  }
  EXPECT_EQ(as_text(net::from_base64("Y2\nE=\n").value()), "ca");
  for (const char* const text : {"Y", "Y2", "Y2E", "Y2F=", "Y2E==", "Y2E=Y", "=", "Y2*=", "YR=="})
    EXPECT_FALSE(net::from_base64(text)) << text;
}

// A site's server stands in: it asks for a certificate of the client, and tells whose it got.
class KubeTls : public ::testing::Test {
 protected:
  KubeTls() {
    server_ = start_server(server_options(pki_.issue("osaka")), [](HttpRequest& request) {
      HttpResponse response;
      append(response.body, as_bytes(R"({"site":")" + request.peer_site + "\"}"));
      return response;
    });
    client_files_ = pki_.issue("tokyo");
  }
  kube::Outcome<kube::Json> get(const std::function<void(kube::Access&)>& change) const {
    kube::ClientOptions options;
    options.access.server = "https://127.0.0.1:" + std::to_string(server_->port());
    options.retry.attempts_max = 1;
    change(options.access);
    auto client = kube::Client::create(std::move(options));
    if (!client) return client.error();
    return (*client)->get(kube::kNamespaces, {"", "shop"});
  }
  Pki pki_;
  std::unique_ptr<HttpServer> server_;
  TlsFiles client_files_;
};

TEST_F(KubeTls, AClientCertificateComesFromFilesOrFromText) {
  const auto by_files = get([&](kube::Access& access) { access.files = client_files_; });
  ASSERT_TRUE(by_files) << by_files.error().describe();
  EXPECT_EQ(by_files->value("site", ""), "tokyo");
  const TemporaryDirectory directory;
  const auto file = directory.path() / "config";
  write_text(file,
             "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
             "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
                 std::to_string(server_->port()) +
                 "', certificate-authority-data: " + base64_of(client_files_.ca) +
                 "}}]\nusers: [{name: u, user: {client-certificate-data: " +
                 base64_of(client_files_.certificate) +
                 ", client-key-data: " + base64_of(client_files_.key) + "}}]\n");
  const auto access = kube::access_from_kubeconfig(file);
  ASSERT_TRUE(access) << access.error().describe();
  const auto by_text = get([&](kube::Access& into) { into = *access; });
  ASSERT_TRUE(by_text) << by_text.error().describe();
  EXPECT_EQ(by_text->value("site", ""), "tokyo");
}

TEST_F(KubeTls, AServerOfAnotherAuthorityOrNameIsRefused) {
  const Pki other;
  other.issue("tokyo");
  const auto wrong_ca = get([&](kube::Access& access) {
    access.files = client_files_;
    access.files.ca = other.path() / "ca.crt";
  });
  ASSERT_FALSE(wrong_ca);
  EXPECT_EQ(wrong_ca.error().code(), ErrorCode::permission_denied) << wrong_ca.error().describe();
  const auto named = [&](const std::string& name) {
    return get([&](kube::Access& access) {
      access.files = client_files_;
      access.tls_server_name = name;
    });
  };
  EXPECT_TRUE(named("localhost"));
  const auto wrong_name = named("kubernetes.default.svc");
  ASSERT_FALSE(wrong_name);
  EXPECT_EQ(wrong_name.error().code(), ErrorCode::permission_denied);
}

TEST_F(KubeTls, AKeyThatDoesNotFitIsRefusedAtOnce) {
  const auto created = get([&](kube::Access& access) {
    access.files = client_files_;
    access.files.key = pki_.files("osaka").key;
  });
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code(), ErrorCode::invalid_argument);
}

TEST_F(KubeTls, AnAuthorityThatIsReplacedIsFollowed) {
  const TemporaryDirectory directory;
  const auto ca = directory.path() / "ca.crt";
  const Pki other;
  write_text(ca, text_of(other.path() / "ca.crt"));
  kube::ClientOptions options;
  options.access.server = "https://127.0.0.1:" + std::to_string(server_->port());
  options.access.files = client_files_;
  options.access.files.ca = ca;
  options.retry.attempts_max = 1;
  auto client = kube::Client::create(std::move(options));
  ASSERT_TRUE(client) << client.error().describe();
  EXPECT_FALSE((*client)->get(kube::kNamespaces, {"", "shop"}));
  write_text(ca, text_of(client_files_.ca));
  const auto got = (*client)->get(kube::kNamespaces, {"", "shop"});
  EXPECT_TRUE(got) << got.error().describe();
}

// Speaks nothing newer than TLS 1.2, once.
TEST_F(KubeTls, AServerWithTls12Serves) {
  const TlsFiles files = pki_.files("osaka");
  auto listener = net::listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(listener);
  const auto port = *net::local_port(listener->get());
  std::jthread server([&] {
    SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str());
    SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM);
    static_cast<void>(net::wait_for(listener->get(), 1 /* POLLIN */, 10s, {}));
    const Fd socket(::accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
    SSL* const ssl = SSL_new(context);
    SSL_set_fd(ssl, socket.get());
    const std::string answer = json_answer(200, {{"version", "1.2"}});
    std::string request(4096, '\0');
    if (SSL_accept(ssl) == 1 && SSL_read(ssl, request.data(), 4096) > 0)
      SSL_write(ssl, answer.data(), static_cast<int>(answer.size()));
    SSL_free(ssl);
    SSL_CTX_free(context);
  });
  const auto got = get([&](kube::Access& access) {
    access.server = "https://127.0.0.1:" + std::to_string(port);
    access.files.ca = files.ca;
  });
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_EQ(got->value("version", ""), "1.2");
}

}  // namespace
}  // namespace tidemark::testing
