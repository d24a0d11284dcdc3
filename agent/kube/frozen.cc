#include "agent/kube/frozen.h"

#include <algorithm>

#include "base/crypto.h"
#include "base/log.h"
#include "transport/kube/exec.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kNoteBytesMax = 64 << 10;
constexpr std::size_t kShownMax = 200;  // of what a command said
constexpr std::string_view kLockSuffix = ".lock";

fs::path lock_of(const fs::path& file) { return file.string() + std::string(kLockSuffix); }

// What a command said last, on one line.
std::string last_words(const kube::ExecResult& result) {
  std::string text = result.err.empty() ? result.out : result.err;
  if (text.size() > kShownMax) text = text.substr(text.size() - kShownMax);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::ranges::replace(text, '\n', ' ');
  return text;
}

}  // namespace

std::string encode_frozen(const PodHook& hook) {
  return json{{"version", 1},         {"namespace", hook.pod.ns},
              {"pod", hook.pod.name}, {"container", hook.container},
              {"after", hook.after},  {"timeout_us", hook.timeout.count()}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<PodHook> decode_frozen(std::string_view text) {
  const json note = json::parse(text, nullptr, false);
  const Error malformed(ErrorCode::corruption, "a note of a frozen pod cannot be understood");
  if (!note.is_object() || !note.contains("version") || !note["version"].is_number_integer())
    return malformed;
  if (note["version"] != 1)
    return Error(ErrorCode::unsupported, "the note of a frozen pod is of a later version");
  PodHook hook;
  hook.pod = {json_text(note, {"namespace"}), json_text(note, {"pod"})};
  hook.container = json_text(note, {"container"});
  if (hook.pod.ns.empty() || hook.pod.name.empty() || !note.contains("after") ||
      !note["after"].is_array() || !note.contains("timeout_us") ||
      !note["timeout_us"].is_number_integer())
    return malformed;
  for (const json& word : note["after"]) {
    if (!word.is_string()) return malformed;
    hook.after.push_back(word);
  }
  hook.timeout = Duration(note["timeout_us"].get<std::int64_t>());
  return hook;
}

Result<FrozenNote> FrozenNote::write(const fs::path& directory, const PodHook& hook) {
  std::error_code failed;
  fs::create_directories(directory, failed);
  if (failed) return errno_error(failed.value(), "create " + directory.string());
  Bytes chance(8);
  random_bytes(chance);
  const fs::path file = directory / to_hex(chance);
  TM_TRY(Fd lock, lock_file(lock_of(file)));
  TM_DO(write_file_durably(file, as_bytes(encode_frozen(hook))));
  return FrozenNote(file, std::move(lock));
}

Status FrozenNote::done() {
  std::error_code failed;
  fs::remove(file_, failed);
  if (failed) return errno_error(failed.value(), "remove " + file_.string());
  fs::remove(lock_of(file_), failed);  // an empty file that stays does no harm
  return {};
}

Result<std::size_t> thaw_what_is_left(const fs::path& directory,
                                      const std::function<Status(const PodHook&)>& thaw) {
  std::size_t left = 0;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(directory, failed)) {
    const fs::path file = entry.path();
    if (file.string().ends_with(kLockSuffix)) continue;
    const auto lock = lock_file(lock_of(file));
    if (!lock) continue;  // whoever froze it is at work
    const auto text = read_file(file, kNoteBytesMax);
    if (!text) continue;  // it was thawed meanwhile
    const auto hook = decode_frozen(as_text(*text));
    const Status thawed = hook ? thaw(*hook) : Status(hook.error());
    if (!thawed && thawed.error().code() != ErrorCode::not_found) {
      log::error("{}: {}", file.string(), thawed.error().describe());
      ++left;
      continue;
    }
    log::warn("pod {} was left frozen by a process that died; it is thawed",
              hook ? kube::to_string(hook->pod) : file.string());
    fs::remove(file, failed);
    fs::remove(lock_of(file), failed);
  }
  return left;
}

Status run_in_pod(kube::Client& client, const PodHook& hook,
                  const std::vector<std::string>& command, std::stop_token stop) {
  if (command.empty()) return {};
  kube::ExecRequest request;
  request.pod = hook.pod;
  request.container = hook.container;
  request.command = command;
  request.timeout = hook.timeout;
  const std::string what = command.front() + " in pod " + kube::to_string(hook.pod);
  const auto ran = kube::exec(client, request, std::move(stop));
  if (!ran) return Error(ran.error()).context(what);
  if (ran->exit_code == 0) return {};
  return Error(ErrorCode::refused, what + " failed with exit code " +
                                       std::to_string(ran->exit_code) + ": " + last_words(*ran));
}

}  // namespace tidemark
