// The options of drills.

#include "config/internal/options.h"
#include "config/internal/values.h"

namespace tidemark::config {
namespace {

using Method = DrillConfig::Method;

constexpr std::uint32_t kParallelMax = 16;
constexpr std::uint32_t kSampleMax = 1'000'000;

ShapePtr<DrillChecksConfig> checks_section() {
  auto section = std::make_shared<Section<DrillChecksConfig>>();
  section->add("content", &DrillChecksConfig::content, boolean(),
               {.sentence = "Every byte is read back and held against the point's tree.",
                .fallback = "true",
                .example = "false"});
  section->add(
      "fsck", &DrillChecksConfig::fsck, boolean(),
      {.sentence = "The file systems on a volume are checked, their journals replayed in a "
                   "layer that is thrown away; needs qemu-nbd, nbdfuse and /dev/fuse.",
       .fallback = "false",
       .example = "true"});
  section->add("mount", &DrillChecksConfig::mount, list_of(argument()),
               {.sentence = "A program (an absolute path and its arguments) that is run with the "
                            "volume's file system mounted at $TIDEMARK_MOUNT; needs what 'fsck' "
                            "needs, and root.",
                .derived = "none",
                .example = "[ /usr/local/bin/probe ]"});
  section->add("command", &DrillChecksConfig::command, list_of(argument()),
               {.sentence = "A program that is run against what was brought back: a volume at "
                            "$TIDEMARK_NBD, a bucket named $TIDEMARK_BUCKET.",
                .derived = "none",
                .example = "[ /usr/local/bin/start-and-ask ]"});
  section->add("sample", &DrillChecksConfig::sample, count(0, kSampleMax),
               {.sentence = "How many objects of a bucket are read back with their metadata, by "
                            "chance.",
                .fallback = "0",
                .example = "100"});
  section->add("timeout", &DrillChecksConfig::timeout, duration("1s", "7d"),
               {.sentence = "How long a program may take.", .fallback = "10m", .example = "1h"});
  return section;
}

ShapePtr<DrillLimitsConfig> limits_section() {
  auto section = std::make_shared<Section<DrillLimitsConfig>>();
  section->add("parallel", &DrillLimitsConfig::parallel, count(1, kParallelMax),
               {.sentence = "Assets that are brought back at a time.", .fallback = "1"});
  section->add("size", &DrillLimitsConfig::size, byte_count(),
               {.sentence = "Larger assets are not brought back; the report says so.",
                .derived = "no limit",
                .example = "2TiB"});
  section->add("time", &DrillLimitsConfig::time, duration("1s", "30d"),
               {.sentence = "How long all of it may take; what is not done by then has failed.",
                .fallback = "6h"});
  section->add("keep_free", &DrillLimitsConfig::keep_free, percent(),
               {.sentence = "The part of the cluster's or file system's space that stays free: "
                            "nothing is brought back that would not leave it.",
                .fallback = "10%"});
  return section;
}

void add_schedule(Section<DrillConfig>& section) {
  section.add("every", &DrillConfig::every, duration("1m", "366d"),
              {.sentence = "How often it is run; one of every, cron and calendar.",
               .derived = "by hand only",
               .example = "7d"});
  section.add("cron", &DrillConfig::cron, cron_line(),
              {.sentence = "When it is run: minute, hour, day, month, weekday.",
               .derived = "by hand only",
               .example = "\"0 3 1 * *\""});
  section.add("calendar", &DrillConfig::calendar, calendar(),
              {.sentence = "When it is run, as systemd writes it.",
               .derived = "by hand only",
               .example = "\"*-*-01 03:00 Europe/Berlin\""});
  section.add("timezone", &DrillConfig::timezone, zone(),
              {.sentence = "Whose clock cron and calendar are read by.",
               .fallback = "UTC",
               .example = "Asia/Tokyo"});
  section.add("overdue_after", &DrillConfig::overdue_after, duration("1m", "3650d"),
              {.sentence = "How long an asset may be without a drill that passed, before it is an "
                           "event.",
               .fallback = "35d"});
}

}  // namespace

ShapePtr<DrillConfig> drill_section() {
  auto section = std::make_shared<Section<DrillConfig>>();
  section->add("assets", &DrillConfig::assets, list_of(site_asset_glob(), 1),
               {.sentence = "What is brought back: assets in the store, with their site.",
                .example = "[ \"tokyo:rbd/rbd/vol-*\" ]",
                .required = true});
  section->add(
      "set", &DrillConfig::set, boolean(),
      {.sentence = "Whether all points are of one set.", .fallback = "false", .example = "true"});
  section->add("point", &DrillConfig::point, point_rule(),
               {.sentence = "Which point of each: newest, random, or the newest as of a time or "
                            "of so long ago.",
                .fallback = "newest",
                .example = "-7d"});
  section->add("from", &DrillConfig::from, site_name(),
               {.sentence = "The peer whose store the points come from, or this site itself.",
                .derived = "this site's store, else the only peer with a url",
                .example = "osaka"});
  section->add("method", &DrillConfig::method,
               choice<Method>({{"restore", Method::restore},
                               {"file", Method::file},
                               {"instant", Method::instant},
                               {"serve", Method::serve},
                               {"standby", Method::standby}}),
               {.sentence = "How: into a new image or bucket, into a file or directory, an image "
                            "that is usable at once, served without a copy, or a clone of the "
                            "standby image.",
                .fallback = "restore"});
  section->add("pool", &DrillConfig::pool, plain_name("pool"),
               {.sentence = "The pool of the images that are made.", .example = "drill"});
  section->add("namespace", &DrillConfig::ns, plain_name("RADOS namespace"),
               {.sentence = "The namespace within the pool.",
                .derived = "the default namespace",
                .example = "drills"});
  section->add("scratch", &DrillConfig::scratch, path_of("a directory"),
               {.sentence = "The directory of the files that are made.",
                .derived = "`drills/scratch` in the directory of 'state'",
                .example = "/srv/tidemark-drills"});
  section->add("checks", &DrillConfig::checks, checks_section(),
               {.sentence = "What is held against what was brought back.",
                .fallback = "{}",
                .example = "{ fsck: true, command: [ /usr/local/bin/probe ] }"});
  section->add("limits", &DrillConfig::limits, limits_section(),
               {.sentence = "What a drill may take.",
                .fallback = "{}",
                .example = "{ parallel: 2, size: 2TiB }"});
  section->add("objective", &DrillConfig::objective, objective_section(),
               {.sentence = "What is promised; a drill that does not meet it has failed.",
                .fallback = "{}",
                .example = "{ rpo: 2h, rto: 30m }"});
  add_schedule(*section);
  return section;
}

}  // namespace tidemark::config
