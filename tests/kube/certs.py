"""Certificates for one run: an authority, the server's, and an administrator's, made by openssl."""

import os
import ssl
import subprocess


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _key(path):
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    os.chmod(path, 0o600)


def issue(folder, name, subject, extensions):
    """A pair `name`.crt and `name`.key signed by the authority in the folder."""
    base = os.path.join(folder, name)
    _key(base + ".key")
    with open(base + ".ext", "w", encoding="utf-8") as file:
        file.write(extensions)
    _openssl("req", "-new", "-key", base + ".key", "-subj", subject, "-out", base + ".csr")
    _openssl("x509", "-req", "-in", base + ".csr", "-CA", os.path.join(folder, "ca.crt"),
             "-CAkey", os.path.join(folder, "ca.key"), "-CAcreateserial", "-days", "30",
             "-extfile", base + ".ext", "-out", base + ".crt")
    os.remove(base + ".csr")
    os.remove(base + ".ext")


def make(folder):
    """Makes ca, server and admin in the folder, unless they are there."""
    os.makedirs(folder, exist_ok=True)
    authority = os.path.join(folder, "ca")
    if not os.path.exists(authority + ".crt"):
        _key(authority + ".key")
        _openssl("req", "-x509", "-new", "-key", authority + ".key", "-days", "30", "-subj",
                 "/CN=kubernetes", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                 "-out", authority + ".crt")
    if not os.path.exists(os.path.join(folder, "server.crt")):
        issue(folder, "server", "/CN=kube-apiserver",
              "extendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1,DNS:localhost,"
              "DNS:kubernetes.default.svc\n")
    if not os.path.exists(os.path.join(folder, "admin.crt")):
        issue(folder, "admin", "/O=system:masters/CN=kubernetes-admin",
              "extendedKeyUsage=clientAuth\n")


def server_context(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(os.path.join(folder, "server.crt"), os.path.join(folder, "server.key"))
    context.load_verify_locations(os.path.join(folder, "ca.crt"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def client_context(folder, admin=True):
    context = ssl.create_default_context(cafile=os.path.join(folder, "ca.crt"))
    if admin:
        context.load_cert_chain(os.path.join(folder, "admin.crt"),
                                os.path.join(folder, "admin.key"))
    return context
