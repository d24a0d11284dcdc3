#include "transport/pki.h"

#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>

#include "base/crypto.h"
#include "base/files.h"
#include "base/text.h"
#include "transport/http.h"
#include "transport/openssl.h"
#include "transport/socket.h"

namespace tidemark {
namespace {

using namespace net;

constexpr std::chrono::seconds kBackdated = std::chrono::minutes(5);  // clocks that run behind
constexpr int kSerialBits = 127;
constexpr std::size_t kCommonNameBytesMax = 64;  // RFC 5280, ub-common-name
constexpr std::uint64_t kPemBytesMax = 1 * kMiB;

Error failed(std::string_view doing) { return openssl_error(ErrorCode::internal, doing); }

std::time_t seconds_of(Timestamp t) { return static_cast<std::time_t>(t.us / 1'000'000); }

Result<KeyPtr> make_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) return failed("make a key");
  return key;
}

Status add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  const bool added = extension != nullptr && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  if (!added) return failed(std::string("add the extension ") + OBJ_nid2sn(nid));
  return {};
}

Status add_name(X509_NAME* name, const char* field, const std::string& value) {
  const auto* const text = reinterpret_cast<const unsigned char*>(value.data());
  if (X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, text, static_cast<int>(value.size()),
                                 -1, 0) != 1)
    return failed("set the subject");
  return {};
}

// A certificate without extensions and signature.
Result<X509Ptr> begin_certificate(EVP_PKEY* key, const std::string& common_name, Timestamp now,
                                  std::time_t not_after) {
  X509Ptr certificate(X509_new());
  const BignumPtr serial(BN_new());
  if (certificate == nullptr || serial == nullptr) return failed("make a certificate");
  X509* const raw = certificate.get();
  const bool ok =
      BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(raw)) != nullptr &&
      X509_set_version(raw, X509_VERSION_3) == 1 && X509_set_pubkey(raw, key) == 1 &&
      ASN1_TIME_set(X509_getm_notBefore(raw),
                    seconds_of(now) - static_cast<std::time_t>(kBackdated.count())) != nullptr &&
      ASN1_TIME_set(X509_getm_notAfter(raw), not_after) != nullptr;
  if (!ok) return failed("make a certificate");
  X509_NAME* const subject = X509_get_subject_name(raw);
  TM_DO(add_name(subject, "O", "Tidemark"));
  if (!common_name.empty()) TM_DO(add_name(subject, "CN", common_name));
  return certificate;
}

Result<std::string> pem_text(const BioPtr& bio, int written) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  if (written != 1 || size <= 0) return failed("write PEM");
  return std::string(data, static_cast<std::size_t>(size));
}

Status write_certificate(const std::filesystem::path& path, X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  TM_TRY(const std::string text, pem_text(bio, PEM_write_bio_X509(bio.get(), certificate)));
  return write_file_durably(path, as_bytes(text), 0644);
}

Status write_key(const std::filesystem::path& path, EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  TM_TRY(std::string text,
         pem_text(bio, PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr,
                                                     nullptr)));
  const auto written = write_file_durably(path, as_bytes(text), 0600);
  wipe({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  return written;
}

struct Authority {
  X509Ptr certificate;
  KeyPtr key;
};

Result<Authority> read_authority(const std::filesystem::path& directory) {
  TM_TRY(const Bytes certificate_pem, read_file(directory / "ca.crt", kPemBytesMax));
  TM_TRY(Bytes key_pem, read_file(directory / "ca.key", kPemBytesMax));
  TM_TRY(auto certificates, parse_certificates(certificate_pem));
  auto key = parse_private_key(key_pem);
  wipe(key_pem);
  if (!key) return key.error().context((directory / "ca.key").string());
  Authority authority{std::move(certificates.front()), *std::move(key)};
  if (X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1) {
    ERR_clear_error();
    return Error(ErrorCode::invalid_argument,
                 directory.string() + ": ca.crt and ca.key do not belong together");
  }
  return authority;
}

bool is_dns_name(const std::string& host) {
  return !host.empty() && host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == '*';
  });
}

// The value of the subjectAltName extension, in OpenSSL's notation. What goes in holds no comma.
Result<std::string> alternative_names(const PkiIssue& issue) {
  std::string names = "URI:" + std::string(kSiteUriPrefix) + url_encode(issue.site);
  for (const std::string& host : issue.hosts) {
    const bool address = is_ip_address(host);
    if (!address && !is_dns_name(host))
      return Error(ErrorCode::invalid_argument, "not a host name or IP address: " + host);
    names += (address ? ",IP:" : ",DNS:") + host;
  }
  return names;
}

Status sign(X509* certificate, EVP_PKEY* key) {
  if (X509_sign(certificate, key, EVP_sha256()) <= 0) return failed("sign a certificate");
  return {};
}

Result<X509Ptr> issue_leaf(const Authority& ca, const PkiIssue& issue, EVP_PKEY* key,
                           Timestamp now) {
  TM_TRY(const std::string names, alternative_names(issue));
  TM_TRY(const std::int64_t ca_end, end_of_certificate(ca.certificate.get()));
  if (ca_end <= seconds_of(now)) return Error(ErrorCode::refused, "the CA has expired");
  const std::int64_t end = std::min(ca_end, seconds_of(now + issue.valid));
  const std::string name = issue.site.size() <= kCommonNameBytesMax ? issue.site : "";
  TM_TRY(X509Ptr leaf, begin_certificate(key, name, now, end));
  X509* const raw = leaf.get();
  X509* const issuer = ca.certificate.get();
  if (X509_set_issuer_name(raw, X509_get_subject_name(issuer)) != 1)
    return failed("set the issuer");
  TM_DO(add_extension(raw, issuer, NID_basic_constraints, "critical,CA:FALSE"));
  TM_DO(add_extension(raw, issuer, NID_key_usage, "critical,digitalSignature"));
  TM_DO(add_extension(raw, issuer, NID_ext_key_usage, "serverAuth,clientAuth"));
  TM_DO(add_extension(raw, issuer, NID_subject_key_identifier, "hash"));
  TM_DO(add_extension(raw, issuer, NID_authority_key_identifier, "keyid:always"));
  TM_DO(add_extension(raw, issuer, NID_subject_alt_name, names.c_str()));
  TM_DO(sign(raw, ca.key.get()));
  return leaf;
}

}  // namespace

Status pki_init(const std::filesystem::path& directory, Timestamp now, std::chrono::days valid) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return errno_error(error.value(), "create " + directory.string());
  for (const char* name : {"ca.crt", "ca.key"})
    if (std::filesystem::exists(directory / name, error))
      return Error(ErrorCode::already_exists, (directory / name).string() + " exists");
  TM_TRY(const KeyPtr key, make_key());
  // A name of its own: of two roots with one name, the wrong one would be tried, and the error
  // would speak of a bad signature instead of an unknown CA.
  std::array<std::uint8_t, 4> mark{};
  random_bytes(mark);
  TM_TRY(const X509Ptr ca,
         begin_certificate(key.get(), "Tidemark CA " + to_hex(mark), now, seconds_of(now + valid)));
  X509* const raw = ca.get();
  if (X509_set_issuer_name(raw, X509_get_subject_name(raw)) != 1) return failed("set the issuer");
  TM_DO(add_extension(raw, raw, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  TM_DO(add_extension(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign"));
  TM_DO(add_extension(raw, raw, NID_subject_key_identifier, "hash"));
  TM_DO(sign(raw, key.get()));
  TM_DO(write_key(directory / "ca.key", key.get()));
  return write_certificate(directory / "ca.crt", raw);
}

Status pki_issue(const std::filesystem::path& directory, const PkiIssue& issue, Timestamp now) {
  TM_DO(check_name(issue.site, "site"));
  if (issue.site == "ca")
    return Error(ErrorCode::invalid_argument, "a site named 'ca' would overwrite the CA's files");
  TM_TRY(const Authority ca, read_authority(directory));
  TM_TRY(const KeyPtr key, make_key());
  TM_TRY(const X509Ptr leaf, issue_leaf(ca, issue, key.get(), now));
  // A reader that comes between the two finds a pair that does not fit, and keeps what it has.
  TM_DO(write_key(directory / (issue.site + ".key"), key.get()));
  return write_certificate(directory / (issue.site + ".crt"), leaf.get());
}

Result<Timestamp> certificate_expiry(const std::filesystem::path& certificate) {
  TM_TRY(const Bytes pem, read_file(certificate, kPemBytesMax));
  auto all = parse_certificates(pem);
  if (!all) return all.error().context(certificate.string());
  TM_TRY(const std::int64_t end, end_of_certificate(all->front().get()));
  return Timestamp{end * 1'000'000};
}

}  // namespace tidemark
