#include "transport/tls_error.h"

#include <optional>

namespace tidemark::net {
namespace {

constexpr const char* kClocks =
    "issue a new certificate, or check the clocks of both sites; files are read again when they "
    "change";
constexpr const char* kOtherCa =
    "both sites need a CA file that holds the CA which signed the other's certificate";
constexpr const char* kUsage =
    "the certificate needs the extended key usages serverAuth and clientAuth";

Error denied(std::string message, std::string_view hint) {
  return Error(ErrorCode::permission_denied, std::move(message)).with_hint(std::string(hint));
}

// Why we refuse the peer's certificate.
Error refused_by_us(SSL* ssl, const std::string& peer) {
  const long why = SSL_get_verify_result(ssl);
  const std::string text =
      "the " + peer + "'s certificate is refused: " + X509_verify_cert_error_string(why);
  switch (why) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return denied(text, kClocks);
    case X509_V_ERR_INVALID_PURPOSE:
      return denied(text + " (it is not for use by a " + peer + ")", kUsage);
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return denied(text, "issue the server's certificate for the host that the URL names");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return denied(text + " (unknown CA)", kOtherCa);
    default:
      return denied(text, "");
  }
}

// Why the peer refuses ours, as far as its alert tells. Nothing for alerts about something else.
std::optional<Error> refused_by_peer(int alert, const std::string& peer) {
  const std::string refused = "the " + peer + " refused our certificate: ";
  switch (alert) {
    case TLS13_AD_CERTIFICATE_REQUIRED:
      return denied("the " + peer + " requires a certificate and got none",
                    "set the certificate and key of this site");
    case SSL_AD_CERTIFICATE_EXPIRED:
      return denied(refused + "it has expired", kClocks);
    case SSL_AD_CERTIFICATE_REVOKED:
      return denied(refused + "it is revoked", "");
    case SSL_AD_UNKNOWN_CA:
      return denied(refused + "it does not know the CA", kOtherCa);
    case SSL_AD_DECRYPT_ERROR:
      return denied(refused + "its signature does not fit", kOtherCa);
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
      return denied(refused + "it is for another use", kUsage);
    case SSL_AD_BAD_CERTIFICATE:
      return denied(refused + "it is damaged or not valid yet", kClocks);
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_HANDSHAKE_FAILURE:
      return denied(refused + "it gave no closer reason", "its log says why");
    default:
      return std::nullopt;
  }
}

}  // namespace

Error tls_error(SSL* ssl) {
  const std::string peer = SSL_is_server(ssl) == 1 ? "client" : "server";
  const unsigned long code = ERR_peek_error();
  const int reason = ERR_GET_REASON(code);
  if (ERR_GET_LIB(code) != ERR_LIB_SSL)
    return openssl_error(ErrorCode::unavailable, "TLS with the " + peer);
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    ERR_clear_error();
    return refused_by_us(ssl, peer);
  }
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    ERR_clear_error();
    return denied("the client sent no certificate", "every connection needs a client certificate");
  }
  if (reason >= SSL_AD_REASON_OFFSET) {
    if (auto refused = refused_by_peer(reason - SSL_AD_REASON_OFFSET, peer)) {
      ERR_clear_error();
      return *refused;
    }
  }
  Error error = openssl_error(ErrorCode::unavailable, "TLS with the " + peer);
  if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)
    return std::move(error).with_hint("does the other end speak TLS on this port?");
  if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION)
    return std::move(error).with_hint("both ends must speak TLS 1.3");
  return error;
}

}  // namespace tidemark::net
