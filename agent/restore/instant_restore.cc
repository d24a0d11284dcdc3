#include "agent/restore/instant_restore.h"

#include <nlohmann/json.hpp>

#include "agent/backup/volume_backup.h"
#include "base/log.h"
#include "base/queue.h"
#include "config/config.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr std::chrono::milliseconds kWatchStep{100}, kStopGrace{500};

Result<net::ServeAddress> parse_address(const std::string& text) {
  TM_TRY(const ListenAddress listen, parse_listen(text));
  net::ServeAddress address;
  address.host = listen.host;
  address.port = listen.port;
  return address;
}

}  // namespace

std::string encode(const InstantNote& note) {
  return json{{"version", kVersion}, {"point", note.point.hex()}, {"address", note.address}}.dump();
}

Result<InstantNote> decode_instant_note(std::string_view text) {
  const Error bad(ErrorCode::corruption, "the note of an instant restore cannot be understood");
  const json from = json::parse(text, nullptr, false);
  if (!from.is_object() || from.value("version", json()) != kVersion) return bad;
  const json point = from.value("point", json()), address = from.value("address", json());
  if (!point.is_string() || !address.is_string()) return bad;
  const auto id = PointId::from_hex(point.get<std::string>());
  if (!id || !parse_address(address.get<std::string>())) return bad;
  return InstantNote{*id, address.get<std::string>()};
}

Result<std::optional<InstantNote>> InstantRestore::unfinished() {
  ImageImport import(options_.cluster, options_.name);
  TM_TRY(const auto text, import.read_note());
  if (!text) return std::optional<InstantNote>();
  TM_TRY(InstantNote note, decode_instant_note(*text));
  return std::optional(std::move(note));
}

Result<InstantRestore::Served> InstantRestore::serve(const PointRow& point,
                                                     const net::ServeAddress& address) {
  Served served;
  VolumeViewOptions view;
  view.cache_bytes = options_.cache_bytes;
  TM_TRY(served.view, VolumeView::open(store_, keys_, point, view));
  RangeServerOptions server;
  server.address = address;
  server.name = point.point.record.id.hex();
  server.etag = server.name;
  TM_TRY(served.server, RangeServer::start(*served.view, std::move(server)));
  // With the point in the path: whoever serves another one by mistake serves nothing.
  served.url = "http://" + served.server->address().text() + "/" + point.point.record.id.hex();
  return served;
}

Status InstantRestore::prepare(ImageImport& import, const PointRow& point, const std::string& url) {
  TM_TRY(const VolumeMeta meta, read_volume_meta(point.point.record, keys_));
  CreateImage what = image_like(point.point.record, meta);
  auto prepared = import.prepare(what, url);
  if (!prepared && prepared.error().code() == ErrorCode::not_found && !what.data_pool.empty()) {
    log::warn("data pool '{}' is not here; the image is restored without one", what.data_pool);
    what.data_pool.clear();
    prepared = import.prepare(what, url);
  }
  return prepared;
}

Status InstantRestore::finish(ImageImport& import, const PointRow& point) {
  TM_TRY(const VolumeMeta meta, read_volume_meta(point.point.record, keys_));
  TM_TRY(const auto image, RbdImage::open_read_write(options_.cluster, options_.name));
  for (const auto& [key, value] : image_like(point.point.record, meta).metadata)
    TM_DO(image->set_metadata(key, value));
  return import.remove_note();
}

Status InstantRestore::check_free(ImageImport& import) {
  TM_TRY(const ImportState state, import.state());
  const std::string image = "image " + options_.name.text();
  if (state != ImportState::none)
    return Error(ErrorCode::refused, image + " migrates, and not by an instant restore");
  const auto existing = RbdImage::open_read_only(options_.cluster, options_.name);
  if (existing)
    return Error(ErrorCode::refused, image + " exists already").with_hint("use another name");
  return existing.error().code() == ErrorCode::not_found ? Status() : existing.error();
}

Status InstantRestore::execute(ImageImport& import, RangeServer& server) {
  // With the stop the store gives no more data, and librbd asks for it again and again, without a
  // word of progress, for as long as there is somebody to be asked.
  const std::jthread watch([&](std::stop_token over) {
    while (!over.stop_requested() && !options_.stop.stop_requested()) sleep_for(over, kWatchStep);
    if (sleep_for(over, kStopGrace)) server.stop();
  });
  return import.execute([this](std::uint64_t done, std::uint64_t of) {
    if (options_.progress) options_.progress(done, of);
    return !options_.stop.stop_requested();
  });
}

Result<InstantReport> InstantRestore::run(const PointRow& point) {
  const auto began = Clock::system().uptime();
  InstantReport report;
  ImageImport import(options_.cluster, options_.name);
  const PointId& id = point.point.record.id;
  TM_TRY(const auto note, unfinished());
  if (note && note->point != id)
    return Error(ErrorCode::refused, "an instant restore of point " + note->point.hex() + " to " +
                                         options_.name.text() + " is not finished")
        .with_hint("give that --point to go on, or --abort");
  net::ServeAddress address = options_.address;
  if (note) {
    TM_TRY(address, parse_address(note->address));
  } else {
    TM_DO(check_free(import));
  }
  // Before anything is asked of an image that may be unfinished: Ceph opens its source for that.
  TM_TRY(const Served served, serve(point, address));
  if (!note) TM_DO(import.write_note(encode(InstantNote{id, served.server->address().text()})));
  TM_TRY(const ImportState state, import.state());
  report.resumed = state != ImportState::none;
  if (state == ImportState::none) {
    // After the commit of an earlier run: only its note is left.
    const auto existing = RbdImage::open_read_only(options_.cluster, options_.name);
    if (note && existing) {
      TM_DO(finish(import, point));
      report.resumed = true;
      return report;
    }
    TM_DO(prepare(import, point, served.url));
  }
  report.usable_after = Clock::system().uptime() - began;
  if (options_.on_usable) options_.on_usable();
  if (state != ImportState::executed) {
    auto executed = execute(import, *served.server);
    if (options_.stop.stop_requested())
      return Error(ErrorCode::cancelled,
                   "interrupted; the image stays, and cannot be opened until "
                   "the same command goes on");
    TM_DO(std::move(executed));
  }
  TM_DO(import.commit());
  TM_DO(finish(import, point));
  report.fetched_bytes = served.view->fetched_bytes();
  return report;
}

Status InstantRestore::abort(const PointRow& point) {
  ImageImport import(options_.cluster, options_.name);
  TM_TRY(const auto note, unfinished());
  if (!note)
    return Error(ErrorCode::not_found,
                 "no instant restore to " + options_.name.text() + " is unfinished");
  // Ceph opens the image to remove it, and the image its source.
  TM_TRY(const net::ServeAddress address, parse_address(note->address));
  TM_TRY(const Served served, serve(point, address));
  TM_TRY(const ImportState state, import.state());
  if (state != ImportState::none) TM_DO(import.abort());
  return import.remove_note();
}

}  // namespace tidemark
