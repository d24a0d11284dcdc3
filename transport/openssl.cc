#include "transport/openssl.h"

#include <openssl/pem.h>

#include <ctime>

#include "base/text.h"
#include "transport/http_text.h"

namespace tidemark::net {
namespace {

BioPtr memory_bio(ByteView bytes) {
  if (bytes.size() > (1u << 30)) return nullptr;
  return BioPtr(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

int no_passphrase(char*, int, int, void*) { return -1; }

}  // namespace

std::string take_openssl_error() {
  const unsigned long code = ERR_peek_error();
  const char* const reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  std::string text = reason != nullptr ? reason : code == 0 ? "no reason given" : "unknown reason";
  ERR_clear_error();
  return text;
}

Error openssl_error(ErrorCode code, std::string_view doing) {
  return Error(code, std::string(doing) + ": " + take_openssl_error());
}

Result<std::vector<X509Ptr>> parse_certificates(ByteView pem) {
  const BioPtr bio = memory_bio(pem);
  if (bio == nullptr) return Error(ErrorCode::internal, "no memory for a certificate");
  std::vector<X509Ptr> all;
  ERR_clear_error();
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr))
    all.emplace_back(one);
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (!at_end) return openssl_error(ErrorCode::invalid_argument, "not a usable certificate");
  ERR_clear_error();
  if (all.empty()) return Error(ErrorCode::invalid_argument, "holds no PEM certificate");
  return all;
}

Result<KeyPtr> parse_private_key(ByteView pem) {
  const BioPtr bio = memory_bio(pem);
  if (bio == nullptr) return Error(ErrorCode::internal, "no memory for a key");
  ERR_clear_error();
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr)
    return openssl_error(ErrorCode::invalid_argument, "not an unencrypted PEM private key");
  return key;
}

Result<std::string> site_of_certificate(X509* certificate) {
  const GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> sites;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const void* const value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
    if (type != GEN_URI) continue;
    const auto* const text = static_cast<const ASN1_STRING*>(value);
    const std::string_view uri(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                               static_cast<std::size_t>(ASN1_STRING_length(text)));
    if (uri.starts_with(kSiteUriPrefix)) sites.emplace_back(uri.substr(kSiteUriPrefix.size()));
  }
  const Error error(ErrorCode::permission_denied, sites.size() > 1
                                                      ? "the certificate names more than one site"
                                                      : "the certificate names no site");
  if (sites.size() != 1)
    return Error(error).with_hint("it needs one subject alternative name URI:tidemark://site/NAME");
  auto name = percent_decode(sites.front());
  if (!name || !check_name(*name, "site"))
    return Error(ErrorCode::permission_denied,
                 "the certificate names a site that is no usable name");
  return *name;
}

Result<std::int64_t> end_of_certificate(const X509* certificate) {
  std::tm end{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1)
    return openssl_error(ErrorCode::invalid_argument, "a certificate without a valid end");
  return static_cast<std::int64_t>(::timegm(&end));
}

}  // namespace tidemark::net
