#include "transport/kube/exec.h"

#include <charconv>
#include <optional>
#include <utility>

#include "base/json.h"
#include "transport/kube/document.h"
#include "transport/kube/websocket.h"

namespace tidemark::kube {
namespace {

constexpr std::uint8_t kStdin = 0, kStdout = 1, kStderr = 2, kStatus = 3, kClose = 255;
constexpr const char* kBoth = "v5.channel.k8s.io, v4.channel.k8s.io";
constexpr const char* kV5 = "v5.channel.k8s.io";
constexpr std::size_t kInputStep = 32 * kKiB;
constexpr std::uint16_t kNormal = 1000;

// The exit code that a Failure with the reason NonZeroExitCode names.
std::optional<int> exit_code_of(const ApiError& error) {
  if (error.reason != "NonZeroExitCode") return std::nullopt;
  for (const Cause& cause : error.causes) {
    if (cause.reason != "ExitCode") continue;
    int code = 0;
    const char* const end = cause.message.data() + cause.message.size();
    const auto parsed = std::from_chars(cause.message.data(), end, code);
    if (parsed.ec == std::errc{} && parsed.ptr == end && code != 0) return code;
  }
  return std::nullopt;
}

ApiError unclear(Error error) {
  ApiError unknown(std::move(error));
  unknown.outcome_unknown = true;
  return unknown;
}

Status send_input(WebSocket& socket, std::string_view input, const std::stop_token& stop) {
  Bytes message;
  while (!input.empty()) {
    const std::string_view part = input.substr(0, kInputStep);
    message.assign(1, kStdin);
    append(message, as_bytes(part));
    TM_DO(socket.send(message, stop));
    input.remove_prefix(part.size());
  }
  message.assign(1, kClose);
  message.push_back(kStdin);
  return socket.send(message, stop);
}

Status converse(WebSocket& socket, const ExecRequest& request, ExecOutput& output,
                const std::stop_token& stop) {
  if (request.input) {
    const auto sent = send_input(socket, *request.input, stop);
    // A command that ends without reading it all is no failure: its status says what it is.
    if (!sent && sent.error().code() != ErrorCode::unavailable) return sent;
  }
  while (!output.has_status()) {
    TM_TRY(const Message message, socket.receive(stop));
    if (message.closed)
      return Error(
          ErrorCode::unavailable,
          "the stream was closed (" + std::to_string(message.close_code) + ") without a status");
    TM_DO(output.take(message.data));
  }
  ignore_error(socket.close(kNormal), "the status is there");
  return {};
}

}  // namespace

void ExecOutput::keep(std::string& text, bool& cut, ByteView data) const {
  text += as_text(data);
  if (text.size() <= output_bytes_max_) return;
  cut = true;
  text.erase(0, text.size() - output_bytes_max_);
}

Status ExecOutput::take(ByteView message) {
  if (message.size() < 2) return {};
  const ByteView data = message.subspan(1);
  switch (message[0]) {
    case kStdout:
      keep(out_, out_cut_, data);
      return {};
    case kStderr:
      keep(err_, err_cut_, data);
      return {};
    case kStatus:
      break;
    default:
      return {};
  }
  Json status = parse_document(as_text(data));
  if (!status.is_object()) return Error(ErrorCode::corruption, "the status of the command is none");
  if (!has_status()) status_ = std::move(status);
  return {};
}

Outcome<ExecResult> ExecOutput::finish() {
  ExecResult result;
  result.out = std::move(out_);
  result.err = std::move(err_);
  result.out_cut = out_cut_;
  result.err_cut = err_cut_;
  result.status = std::move(status_);
  if (text_at(result.status, "status") == "Success") return result;
  ApiError error = error_of_status(result.status);
  if (const auto code = exit_code_of(error)) {
    result.exit_code = *code;
    return result;
  }
  // Neither says that it was not started.
  error.outcome_unknown = error.status >= 500;
  return error;
}

Outcome<ExecResult> exec(Client& client, const ExecRequest& request, std::stop_token stop) {
  const std::string doing = "exec in " + to_string(request.pod);
  if (request.command.empty())
    return Error(ErrorCode::invalid_argument, doing + ": no command is given");
  if (request.input && request.input->size() > kExecInputMax)
    return Error(ErrorCode::invalid_argument,
                 doing + ": the input is larger than " + std::to_string(kExecInputMax) + " bytes");
  ApiRequest upgrade;
  upgrade.query.reserve(request.command.size() + 4);
  TM_TRY(upgrade.path, object_path(kPods, request.pod, "exec"));
  for (const std::string& word : request.command) upgrade.query.emplace_back("command", word);
  if (!request.container.empty()) upgrade.query.emplace_back("container", request.container);
  if (request.input) upgrade.query.emplace_back("stdin", "true");
  upgrade.query.emplace_back("stdout", "true");
  upgrade.query.emplace_back("stderr", "true");
  const auto deadline = net::uptime() + request.timeout;
  auto socket = WebSocket::open(client.requester(), std::move(upgrade), request.input ? kV5 : kBoth,
                                {}, Call{stop, deadline});
  if (!socket) return std::move(socket).error().context(doing);
  (*socket)->set_deadline(deadline);
  ExecOutput output(request.output_bytes_max);
  const auto ended = converse(**socket, request, output, stop);
  if (!ended) return unclear(ended.error()).context(doing);
  auto result = output.finish();
  if (result) return result;
  return std::move(result).error().context(doing);
}

}  // namespace tidemark::kube
