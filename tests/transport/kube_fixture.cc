#include "tests/transport/kube_fixture.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "tests/base/source_path.h"
#include "transport/http_text.h"
#include "transport/socket.h"

namespace tidemark::testing {

std::string SeenRequest::path() const { return target.substr(0, target.find('?')); }

std::multimap<std::string, std::string> SeenRequest::query() const {
  std::multimap<std::string, std::string> all;
  const auto mark = target.find('?');
  if (mark == std::string::npos) return all;
  std::string rest = target.substr(mark + 1);
  while (!rest.empty()) {
    const auto end = rest.find('&');
    const std::string one = rest.substr(0, end);
    rest = end == std::string::npos ? "" : rest.substr(end + 1);
    const auto equals = one.find('=');
    const auto decoded = [](const std::string& text) {
      return net::percent_decode(text).value_or("not decodable");
    };
    all.emplace(decoded(one.substr(0, equals)),
                equals == std::string::npos ? "" : decoded(one.substr(equals + 1)));
  }
  return all;
}

SeenRequest parse_request(const std::string& text) {
  SeenRequest request;
  const auto head_end = text.find("\r\n\r\n");
  std::string head = text.substr(0, head_end);
  const auto line_end = head.find("\r\n");
  const std::string line = head.substr(0, line_end);
  const auto first = line.find(' '), last = line.rfind(' ');
  request.method = line.substr(0, first);
  request.target = line.substr(first + 1, last - first - 1);
  while (line_end != std::string::npos && !head.empty()) {
    const auto next = head.find("\r\n");
    if (next == std::string::npos) break;
    head = head.substr(next + 2);
    const std::string header = head.substr(0, head.find("\r\n"));
    const auto colon = header.find(": ");
    if (colon != std::string::npos)
      request.headers[net::lower_case(header.substr(0, colon))] = header.substr(colon + 2);
  }
  if (head_end != std::string::npos) request.body = text.substr(head_end + 4);
  return request;
}

bool receive_some(int fd, std::string& into, const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    pollfd what{fd, POLLIN, 0};
    if (::poll(&what, 1, 20) != 1) continue;
    std::string buffer(64 * kKiB, '\0');
    const auto n = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (n <= 0) return false;
    into.append(buffer, 0, static_cast<std::size_t>(n));
    return true;
  }
  return false;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) {
      pollfd what{fd, POLLOUT, 0};
      ::poll(&what, 1, 1000);
      continue;
    }
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

RawServer::RawServer(Handler handler) : handler_(std::move(handler)) {
  auto listener = net::listen_tcp("127.0.0.1", 0);
  if (!listener) std::abort();
  listener_ = *std::move(listener);
  port_ = *net::local_port(listener_.get());
  acceptor_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd what{listener_.get(), POLLIN, 0};
      if (::poll(&what, 1, 20) != 1) continue;
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      net::set_no_delay(fd);
      const std::lock_guard lock(mutex_);
      ++connections_;
      threads_.emplace_back([this, fd](const std::stop_token& ends) {
        serve(fd, ends);
        ::close(fd);
      });
    }
  });
}

RawServer::~RawServer() {
  acceptor_ = std::jthread();
  const std::lock_guard lock(mutex_);
  for (auto& thread : threads_) thread.request_stop();
}

std::vector<SeenRequest> RawServer::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

std::size_t RawServer::connections() const {
  const std::lock_guard lock(mutex_);
  return connections_;
}

void RawServer::serve(int fd, const std::stop_token& stop) {
  std::string text;
  while (!stop.stop_requested()) {
    auto head_end = text.find("\r\n\r\n");
    while (head_end == std::string::npos) {
      if (!receive_some(fd, text, stop)) return;
      head_end = text.find("\r\n\r\n");
    }
    SeenRequest request = parse_request(text.substr(0, head_end + 4));
    const auto length = request.headers.find("content-length");
    const std::size_t size =
        head_end + 4 + (length == request.headers.end() ? 0 : std::stoul(length->second));
    while (text.size() < size)
      if (!receive_some(fd, text, stop)) return;
    request.body = text.substr(head_end + 4, size - head_end - 4);
    text.erase(0, size);
    std::size_t number = 0;
    {
      const std::lock_guard lock(mutex_);
      number = seen_.size();
      seen_.push_back(request);
    }
    const RawReply reply = handler_(request, number);
    std::string_view rest = reply.bytes;
    for (std::size_t i = 0; !rest.empty(); ++i) {
      const std::size_t n =
          reply.pieces.empty() ? rest.size() : reply.pieces[std::min(i, reply.pieces.size() - 1)];
      if (!send_all(fd, rest.substr(0, n))) return;
      rest.remove_prefix(std::min(n, rest.size()));
      if (!reply.pieces.empty() && i % 64 == 0) std::this_thread::yield();
    }
    if (reply.then) reply.then(fd, stop);
    while (reply.hang && !stop.stop_requested()) {
      std::string ignored;
      if (!receive_some(fd, ignored, stop)) return;
    }
    if (reply.close || reply.then) return;
  }
}

std::string text_answer(unsigned status, const std::string& body, const std::string& more) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nAudit-Id: audit-1\r\n" + more +
         "Content-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

std::string json_answer(unsigned status, const kube::Json& body, const std::string& more) {
  return text_answer(status, body.dump(), more);
}

std::string stream_head() {
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: "
         "chunked\r\n\r\n";
}

std::string chunk(const std::string& data) {
  std::array<char, 32> size{};
  std::snprintf(size.data(), size.size(), "%zx\r\n", data.size());
  return size.data() + data + "\r\n";
}

kube::Json failure_status(unsigned code, const std::string& reason) {
  return {{"kind", "Status"},    {"apiVersion", "v1"},           {"metadata", kube::Json::object()},
          {"status", "Failure"}, {"message", "it is " + reason}, {"reason", reason},
          {"code", code}};
}

const std::vector<Exchange>& exchanges() {
  static const std::vector<Exchange> all = [] {
    std::vector<Exchange> found;
    const std::filesystem::path folder = test::source_path("tests/golden/kube");
    constexpr std::string_view kEnding = ".request.txt";
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string file = entry.path().filename().string();
      if (!file.ends_with(kEnding)) continue;
      Exchange one;
      one.name = file.substr(0, file.size() - kEnding.size());
      const auto request = read_file(entry.path(), 8 * kMiB);
      const auto response = read_file(folder / (one.name + ".response.txt"), 8 * kMiB);
      if (!request || !response) std::abort();
      one.request = parse_request(std::string(as_text(*request)));
      one.response = std::string(as_text(*response));
      found.push_back(std::move(one));
    }
    std::sort(found.begin(), found.end(),
              [](const Exchange& a, const Exchange& b) { return a.name < b.name; });
    return found;
  }();
  return all;
}

const Exchange& exchange(const std::string& number) {
  for (const Exchange& one : exchanges())
    if (one.name.starts_with(number + "-")) return one;
  std::abort();
}

std::string body_of(const std::string& response) {
  const auto head_end = response.find("\r\n\r\n");
  std::string rest = response.substr(head_end + 4);
  if (net::lower_case(response.substr(0, head_end)).find("chunked") == std::string::npos)
    return rest;
  std::string body;
  while (!rest.empty()) {
    const auto end = rest.find("\r\n");
    const std::size_t size = std::stoul(rest.substr(0, end), nullptr, 16);
    if (size == 0) break;
    body += rest.substr(end + 2, size);
    rest.erase(0, std::min(rest.size(), end + size + 4));
  }
  return body;
}

std::unique_ptr<kube::Client> kube_client(const std::string& url,
                                          const std::function<void(kube::ClientOptions&)>& change) {
  kube::ClientOptions options;
  options.access.server = url;
  options.retry.attempts_max = 1;
  options.forbidden_patience = std::chrono::microseconds(0);
  options.stall_timeout = std::chrono::seconds(10);
  if (change) change(options);
  auto client = kube::Client::create(std::move(options));
  if (!client) {
    ADD_FAILURE() << client.error().describe();
    std::abort();
  }
  return *std::move(client);
}

void patient(kube::ClientOptions& options) {
  options.retry.attempts_max = 5;
  options.retry.backoff_first = std::chrono::milliseconds(2);
  options.retry.backoff_max = std::chrono::milliseconds(20);
}

}  // namespace tidemark::testing
