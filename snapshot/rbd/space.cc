#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "snapshot/rbd/librbd.h"

namespace tidemark {

Result<PoolSpace> CephCluster::space(const std::string& pool) {
  static constexpr std::string_view kCommand = R"({"prefix":"df","format":"json"})";
  const char* command[] = {kCommand.data()};
  char *answer = nullptr, *words = nullptr;
  std::size_t answer_bytes = 0, words_bytes = 0;
  const int result = rados_mon_command(impl_->rados, command, 1, "", 0, &answer, &answer_bytes,
                                       &words, &words_bytes);
  const std::string text(answer == nullptr ? "" : answer, answer == nullptr ? 0 : answer_bytes);
  rados_buffer_free(answer);
  rados_buffer_free(words);
  if (result < 0) return rbd_error(result, "ask for the space of pool " + pool);
  const Error unclear(ErrorCode::unavailable, "the monitors do not tell the space of pool " + pool);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("pools") || !json["pools"].is_array()) return unclear;
  for (const auto& one : json["pools"]) {
    if (!one.is_object() || one.value("name", nlohmann::json()) != pool) continue;
    const auto stats = one.value("stats", nlohmann::json());
    if (!stats.is_object()) return unclear;
    const auto used = stats.value("stored", nlohmann::json());
    const auto free = stats.value("max_avail", nlohmann::json());
    if (!used.is_number_unsigned() || !free.is_number_unsigned()) return unclear;
    return PoolSpace{used.get<std::uint64_t>(), free.get<std::uint64_t>()};
  }
  return Error(ErrorCode::not_found, "there is no pool " + pool);
}

std::string librbd_version() {
  int major = 0, minor = 0, extra = 0;
  rbd_version(&major, &minor, &extra);
  return fmt::format("{}.{}.{}", major, minor, extra);
}

}  // namespace tidemark
