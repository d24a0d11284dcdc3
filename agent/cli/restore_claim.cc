#include "agent/cli/restore_claim.h"

#include <nlohmann/json.hpp>

#include "agent/cli/progress.h"
#include "agent/cli/restore_bucket.h"
#include "agent/kube/api_claims.h"
#include "agent/kube/bucket_fill.h"
#include "agent/kube/claim_points.h"
#include "agent/kube/claim_restore.h"
#include "agent/kube/fill.h"
#include "agent/service/point_json.h"
#include "base/json.h"
#include "base/text.h"

namespace tidemark {
namespace {

using nlohmann::json;

std::string shown_id(const PointRow& point) { return point.point.record.id.hex().substr(0, 12); }

// "NEW" for any, or "OLD=NEW,OLD=NEW".
Status read_classes(const std::string& text, ClaimTarget& target) {
  if (text.find('=') == std::string::npos) {
    target.storage_class = text;
    return {};
  }
  for (const std::string& pair : split(text, ',')) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == pair.size() ||
        !target.classes.emplace(pair.substr(0, equals), pair.substr(equals + 1)).second)
      return Error(ErrorCode::invalid_argument, "'" + text + "' maps no storage classes")
          .with_hint("--storage-class old=new,other=another");
  }
  return {};
}

Result<ClaimTarget> target_of(const ClaimArguments& arguments, ClaimName name, bool force) {
  ClaimTarget target;
  target.name = std::move(name);
  target.bucket = arguments.bucket;
  TM_DO(read_classes(arguments.storage_class, target));
  target.force = force;
  if (arguments.fixed && arguments.same)
    return Error(ErrorCode::invalid_argument, "either --static or --same-volume");
  if (arguments.adopt && !arguments.fixed && !arguments.same)
    return Error(ErrorCode::invalid_argument, "--adopt goes with --static or --same-volume");
  // Of a namespace's claims the buckets are made as ever.
  if (target.name.kind == ClaimName::Kind::volume) {
    if (arguments.fixed) target.volume = ClaimTarget::Volume::fixed;
    if (arguments.same) target.volume = ClaimTarget::Volume::same;
    target.adopt = arguments.adopt;
  }
  if (!arguments.size.empty()) {
    auto size = parse_quantity(arguments.size);
    if (!size)
      if (const auto bytes = parse_bytes(arguments.size); bytes) size = *bytes;
    if (!size)
      return Error(ErrorCode::invalid_argument, "'" + arguments.size + "' is not a size")
          .with_hint("as Kubernetes writes it: 20Gi");
    target.size_bytes = *size;
  }
  return target;
}

// The claim of --to-pvc or --to-obc.
Result<ClaimName> named_target(const ClaimArguments& arguments) {
  const bool volume = !arguments.to_claim.empty();
  const std::string& text = volume ? arguments.to_claim : arguments.to_bucket_claim;
  const auto slash = text.find('/');
  const std::string name = slash == std::string::npos ? std::string() : text.substr(slash + 1);
  return parse_claim_name("k8s/" + text.substr(0, slash) + (volume ? "/pvc/" : "/obc/") + name);
}

// What became of one claim, or would.
struct ClaimOutcome {
  json result;
  std::vector<std::string> lines;  // for people
  std::vector<RestoreProblem> problems;
};

Result<const Config*> config_with_claims(Command& command) {
  TM_TRY(const Config* const config, command.config());
  if (config->kubernetes) return config;
  return Error(ErrorCode::invalid_argument, config->name + ": 'kubernetes' is needed for claims");
}

void tell_people(const Command& command, ClaimRestoreOptions& options) {
  if (!command.globals.quiet)
    options.tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
}

ClaimOutcome planned(const PointRow& point, const std::string& target) {
  return {{{"point", point_json(point)}, {"target", target}},
          {"nothing refuses a restore of " + shown_id(point) + ", " +
           shown_time(point.point.record.time) + ", to " + target},
          {}};
}

ClaimOutcome outcome(const PointRow& point, const std::string& target,
                     const BucketClaimRestored& done, const BucketFill& work,
                     std::chrono::microseconds elapsed) {
  const BucketFill::Progress progress = work.progress();
  ClaimOutcome out;
  out.problems = work.problems();
  out.result = {{"point", point_json(point)},
                {"target", target},
                {"bucket", done.bucket},
                {"object_bucket", done.object_bucket},
                {"resumed", done.resumed},
                {"put_aside", text_or_null(done.put_aside)},
                {"old_keys", done.old_keys},
                {"problems", problems_json(out.problems)},
                {"written_bytes", progress.written_bytes},
                {"objects_written", progress.objects_written},
                {"duration_ms", elapsed / std::chrono::milliseconds(1)}};
  out.lines.push_back("restored " + shown_id(point) + " to " + target + ": bucket " + done.bucket +
                      ", " + std::to_string(progress.objects_written) + " objects and " +
                      format_bytes(progress.written_bytes) + " written, " +
                      format_duration(elapsed));
  out.lines.push_back(done.old_keys ? "the application's keys are those it had"
                                    : "the application has new keys" +
                                          (done.keys_note.empty() ? "" : ": " + done.keys_note));
  if (!done.put_aside.empty())
    out.lines.push_back("the claim that was there is gone; its bucket " + done.put_aside +
                        " is kept, with its user");
  return out;
}

}  // namespace

void add_claim_options(CLI::App& restore, ClaimArguments& arguments) {
  restore.add_option("--to-pvc", arguments.to_claim,
                     "NAMESPACE/NAME: a claim of Kubernetes, with a new volume");
  restore.add_option("--to-obc", arguments.to_bucket_claim,
                     "NAMESPACE/NAME: a bucket claim of Kubernetes, with a new bucket");
  restore.add_option("--to-namespace", arguments.to_namespace,
                     "NAMESPACE: all claims of a namespace (ASSET: [<site>:]k8s/<namespace>)");
  restore.add_option("--storage-class", arguments.storage_class,
                     "with these three: of this class (default: as it was), or OLD=NEW,...");
  restore.add_option("--size", arguments.size,
                     "with --to-pvc: this large, 20Gi (default: as it was)");
  restore.add_flag("--static", arguments.fixed,
                   "with --to-pvc and --to-namespace: a static volume around a new image, in place "
                   "of one of its class");
  restore.add_flag("--same-volume", arguments.same,
                   "with --to-pvc and --to-namespace: the volume that it was, with the class's "
                   "cluster and pool");
  restore.add_flag(
      "--adopt", arguments.adopt,
      "with these two: take the image that is there as it is, and write nothing to it");
  restore.add_option("--bucket", arguments.bucket,
                     "with --to-obc: its bucket's name (default: as it was, where that is free)");
}

Status check(const ClaimArguments& arguments) {
  const bool volume = !arguments.to_claim.empty(), bucket = !arguments.to_bucket_claim.empty();
  const bool all = !arguments.to_namespace.empty();
  const auto wrong = [](const char* text) { return Error(ErrorCode::invalid_argument, text); };
  if (!arguments.storage_class.empty() && !arguments.any_target())
    return wrong("--storage-class goes with --to-pvc, --to-obc and --to-namespace");
  if (!arguments.size.empty() && !volume) return wrong("--size goes with --to-pvc");
  if ((arguments.fixed || arguments.same || arguments.adopt) && !volume && !all)
    return wrong("--static, --same-volume and --adopt go with --to-pvc and --to-namespace");
  if (!arguments.bucket.empty() && !bucket) return wrong("--bucket goes with --to-obc");
  if (!arguments.any_target()) return {};
  ClaimName name{ClaimName::Kind::volume, arguments.to_namespace, "any"};
  if (all) {
    if (!arguments.storage_class.empty() && arguments.storage_class.find('=') == std::string::npos)
      return wrong("with --to-namespace, --storage-class is of the form old=new");
    TM_DO(parse_claim_name(name.text()));
  } else {
    TM_TRY(name, named_target(arguments));
  }
  TM_DO(target_of(arguments, std::move(name), false));
  return {};
}

namespace {

Result<ClaimOutcome> restore_volume_claim(Command& command, StoreAccess& access,
                                          const PointRow& point, const ClaimTarget& wanted,
                                          bool plan) {
  TM_TRY(const Config* const config, config_with_claims(command));
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  const auto started = command.clock.uptime();
  TM_TRY(auto options, claim_restore_of(point, *keys, *config->kubernetes, wanted));
  options.stop = command.stop.get_token();
  TM_TRY(const auto restore, VolumeRestore::open(*access.store, *keys, point, options.stop));
  const auto show = [&]() -> std::shared_ptr<void> {
    return std::make_shared<ProgressDisplay>("restore", command.globals.quiet, [&] {
      const RestoreProgress& progress = restore->progress();
      return ProgressState{progress.position_bytes, progress.total_bytes, progress.written_bytes,
                           format_bytes(progress.written_bytes) + " written"};
    });
  };
  RestoredImages images(
      *restore, [&] { return command.connect_cluster(); }, show);
  options.images = &images;
  tell_people(command, options);
  const std::string target = wanted.name.text();
  TM_TRY(const auto client, connect_kube(*config->kubernetes));
  ClaimRestore claim(*client, std::move(options));
  TM_DO(claim.check());
  if (plan) return planned(point, target);
  TM_TRY(const ClaimRestored done, claim.run());
  const auto elapsed = command.clock.uptime() - started;
  const std::uint64_t written_bytes = restore->progress().written_bytes;
  ClaimOutcome out;
  out.result = {
      {"point", point_json(point)},     {"target", target},
      {"volume", done.volume},          {"image", done.image.text()},
      {"resumed", done.resumed},        {"put_aside", text_or_null(done.put_aside)},
      {"written_bytes", written_bytes}, {"duration_ms", elapsed / std::chrono::milliseconds(1)}};
  out.lines.push_back("restored " + shown_id(point) + " to " + target + ": volume " + done.volume +
                      ", image " + done.image.text() + ", " + format_bytes(written_bytes) +
                      " written, " + format_duration(elapsed));
  if (!done.put_aside.empty())
    out.lines.push_back("the claim that was there is gone; its volume " + done.put_aside +
                        " is retained");
  return out;
}

Result<ClaimOutcome> restore_bucket_claim(Command& command, StoreAccess& access,
                                          const PointRow& point, const ClaimTarget& wanted,
                                          bool plan) {
  TM_TRY(const Config* const config, config_with_claims(command));
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  const auto started = command.clock.uptime();
  TM_TRY(auto options, restore_options_of(point, *keys, wanted));
  options.stop = command.stop.get_token();
  tell_people(command, options);
  TM_TRY(const auto opened, BucketPoint::open(*access.store, *keys, point));
  BucketFill fill(*opened, options.manifests, config->s3, command.clock, options.stop);
  BucketWork work = fill.work();
  work.fill = [&, inner = work.fill](const BucketLogin& login, const std::string& user) {
    const ProgressDisplay display("restore", command.globals.quiet, [&] {
      const BucketFill::Progress now = fill.progress();
      return ProgressState{now.done_bytes, point.point.record.size_bytes, now.written_bytes,
                           std::to_string(now.objects_written) + " objects written"};
    });
    return inner(login, user);
  };
  const std::string target = wanted.name.text();
  TM_TRY(const auto client, connect_kube(*config->kubernetes));
  BucketClaimRestore claim(*client, std::move(options), std::move(work));
  TM_DO(claim.check());
  if (plan) return planned(point, target);
  TM_TRY(const BucketClaimRestored done, claim.run());
  return outcome(point, target, done, fill, command.clock.uptime() - started);
}

Result<ClaimOutcome> restore_to(Command& command, StoreAccess& access, const PointRow& point,
                                const ClaimTarget& wanted, bool plan) {
  return wanted.name.kind == ClaimName::Kind::volume
             ? restore_volume_claim(command, access, point, wanted, plan)
             : restore_bucket_claim(command, access, point, wanted, plan);
}

void print_lines(const ClaimOutcome& outcome) {
  for (const std::string& line : outcome.lines) std::puts(line.c_str());
}

Result<ClaimPoints> chosen_points(Command& command, StoreAccess& access, const SiteNamespace& where,
                                  const std::string& as_of, const std::string& set) {
  if (!set.empty()) return points_of_namespace_in_set(*access.store, where, set);
  std::optional<Timestamp> time;
  if (!as_of.empty() && as_of != "latest") {
    TM_TRY(time, parse_time(as_of, command.clock.now()));
  }
  TM_TRY(auto found, points_of_namespace(*access.store, where, time));
  if (found.empty())
    return Error(ErrorCode::not_found, access.name + " has no point of " + where.text())
        .with_hint("see: tidemark points");
  return found;
}

}  // namespace

Result<int> restore_claim(Command& command, StoreAccess& access, const PointRow& point,
                          const ClaimArguments& arguments, bool force, bool plan) {
  TM_TRY(ClaimName name, named_target(arguments));
  TM_TRY(const ClaimTarget wanted, target_of(arguments, std::move(name), force));
  TM_TRY(const ClaimOutcome done, restore_to(command, access, point, wanted, plan));
  command.print(done.result, [&] { print_lines(done); });
  print_problems(done.problems);
  return done.problems.empty() ? kExitDone : kExitPartial;
}

Result<int> restore_namespace(Command& command, const std::string& asset, const std::string& as_of,
                              const std::string& set, const ClaimArguments& arguments, bool force,
                              bool plan) {
  SiteNamespace where = *parse_site_namespace(asset);
  if (where.site.empty()) {
    TM_TRY(where.site, command.own_site());
  }
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const ClaimPoints points, chosen_points(command, access, where, as_of, set));
  json claims = json::array();
  std::size_t done = 0;
  bool in_part = false;
  std::optional<Error> first;
  for (const auto& [claim, point] : points) {
    if (command.stop.stop_requested()) break;
    const ClaimName name{claim.kind, arguments.to_namespace, claim.name};
    TM_TRY(const ClaimTarget wanted, target_of(arguments, name, force));
    if (!command.globals.quiet && !plan)
      std::fprintf(stderr, "%s, %zu of %zu:\n", name.text().c_str(), claims.size() + 1,
                   points.size());
    auto restored = restore_to(command, access, point, wanted, plan);
    json result = {{"point", point_json(point)}, {"target", name.text()}};
    if (restored) {
      ++done;
      in_part = in_part || !restored->problems.empty();
      result = std::move(restored->result);
      if (!command.globals.json) print_lines(*restored);
      print_problems(restored->problems);
    } else {
      const Error error = std::move(restored).error().context("restore " + claim.text());
      result.update(error_json(error));
      if (!command.globals.json) print_error(error);
      if (!first) first = error;
    }
    claims.push_back(std::move(result));
  }
  command.print({{"namespace", where.text()},
                 {"target", arguments.to_namespace},
                 {"claims", std::move(claims)},
                 {"restored", plan ? 0 : done}},
                [&, count = points.size()] {
                  std::printf("%zu of %zu claims %s namespace %s\n", done, count,
                              plan ? "can be restored to" : "restored to",
                              arguments.to_namespace.c_str());
                });
  if (command.stop.stop_requested()) return kExitInterrupted;
  if (first) return done > 0 ? kExitPartial : exit_code_of(*first);
  return in_part ? kExitPartial : kExitDone;
}

}  // namespace tidemark
