// OpenSSL's objects as owned values, and its error queue as text.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark::net {

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using BioPtr = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using SslPtr = std::unique_ptr<SSL, Freer<SSL_free>>;
using X509Ptr = std::unique_ptr<X509, Freer<X509_free>>;
using BignumPtr = std::unique_ptr<BIGNUM, Freer<BN_free>>;
using GeneralNamesPtr = std::unique_ptr<GENERAL_NAMES, Freer<GENERAL_NAMES_free>>;

// The first queued reason of the calling thread, as text; empties the queue.
std::string take_openssl_error();
// An Error with that text behind `doing`.
Error openssl_error(ErrorCode code, std::string_view doing);

// All certificates of a PEM text, in order. `invalid_argument` where there is none.
Result<std::vector<X509Ptr>> parse_certificates(ByteView pem);
// `invalid_argument` for anything but an unencrypted private key; never asks for a passphrase.
Result<KeyPtr> parse_private_key(ByteView pem);

// The one name in the certificate's URI SANs "tidemark://site/<name>"; `permission_denied` where
// there is none, more than one, or one that check_name() refuses.
Result<std::string> site_of_certificate(X509* certificate);
inline constexpr std::string_view kSiteUriPrefix = "tidemark://site/";

// notAfter, in seconds since the epoch.
Result<std::int64_t> end_of_certificate(const X509* certificate);

}  // namespace tidemark::net
