#include "agent/site/hook_run.h"

#include <nlohmann/json.hpp>

#include "agent/site/http_target.h"
#include "base/log.h"
#include "base/program.h"

namespace tidemark {
namespace {

Status run_command(const HookConfig& hook, const HookContext& context, std::stop_token stop) {
  TM_TRY(const ProgramEnd end, run_program(hook.command,
                                           {{"TIDEMARK_SITE", context.site},
                                            {"TIDEMARK_POLICY", context.policy},
                                            {"TIDEMARK_ASSET", context.asset},
                                            {"TIDEMARK_PHASE", context.phase}},
                                           hook.timeout, std::move(stop)));
  if (end.exit_code == 0 && !end.timed_out) return {};
  std::string why = "exit code " + std::to_string(end.exit_code);
  if (end.timed_out) why = "it took longer than " + format_duration(hook.timeout);
  if (!end.output.empty()) why += ": " + end.output;
  return Error(ErrorCode::refused, why);
}

Status send(const HookConfig& hook, const HookContext& context, std::stop_token stop) {
  const nlohmann::json body = {{"site", context.site},
                               {"policy", context.policy},
                               {"asset", context.asset},
                               {"phase", context.phase}};
  auto sent = post_to(*hook.http, body.dump(), hook.timeout, std::move(stop));
  if (!sent && sent.error().code() == ErrorCode::deadline_exceeded)
    return Error(ErrorCode::refused, "it took longer than " + format_duration(hook.timeout));
  return sent;
}

}  // namespace

Status run_hook(const HookConfig& hook, const HookContext& context, std::stop_token stop) {
  const auto done = hook.http ? send(hook, context, stop) : run_command(hook, context, stop);
  if (done) return {};
  const std::string what =
      "hook '" + context.phase + "' of policy " + context.policy + " for " + context.asset;
  const bool cancelled = done.error().code() == ErrorCode::cancelled;
  if (hook.on_failure == HookConfig::OnFailure::go_on && !cancelled) {
    log::warn("{} failed, the point is taken all the same: {}", what, done.error().message());
    return {};
  }
  log::error("{} failed: {}", what, done.error().message());
  return Error(cancelled ? ErrorCode::cancelled : ErrorCode::refused,
               what + " failed: " + done.error().message());
}

}  // namespace tidemark
