// The options of Kubernetes.

#include "base/text.h"
#include "config/internal/options.h"
#include "config/internal/values.h"

namespace tidemark::config {
namespace {

constexpr std::size_t kNameBytesMax = 253;
// Each is an object in etcd, and in the memory of whoever watches them.
constexpr std::uint32_t kPointsOfClaimMax = 1000, kPointsMax = 20'000;

Status check_cluster_id(std::string_view name) {
  if (!name.empty() && name.size() <= kNameBytesMax) return {};
  return Error(ErrorCode::invalid_argument, "a clusterID has 1 to 253 bytes");
}

ShapePtr<RecoveryPointsConfig> recovery_points_section() {
  auto section = std::make_shared<Section<RecoveryPointsConfig>>();
  section->add("per_claim", &RecoveryPointsConfig::per_claim, count(0, kPointsOfClaimMax),
               {.sentence = "The newest points of each claim; 0: no point is shown.",
                .fallback = "24",
                .example = "48"});
  section->add("total", &RecoveryPointsConfig::total, count(0, kPointsMax),
               {.sentence = "The newest points of all claims; 0: no point is shown.",
                .fallback = "1000",
                .example = "2000"});
  return section;
}

}  // namespace

ShapePtr<KubernetesConfig> kubernetes_section() {
  auto section = std::make_shared<Section<KubernetesConfig>>();
  section->add("kubeconfig", &KubernetesConfig::kubeconfig, path_of("a kubeconfig"),
               {.sentence = "How the API server is reached from outside of its cluster.",
                .derived = "the pod's service account",
                .example = "/etc/tidemark/kubeconfig"});
  section->add("context", &KubernetesConfig::context, argument(),
               {.sentence = "The context of the kubeconfig.",
                .derived = "its current-context",
                .example = "tokyo"});
  section->add(
      "custom_resources", &KubernetesConfig::custom_resources, boolean(),
      {.sentence = "Whether the objects of tidemark.dev (ProtectionPolicy, Restore, Drill) are "
                   "carried out, and points are shown as objects.",
       .fallback = "false",
       .example = "true"});
  section->add("recovery_points", &KubernetesConfig::recovery_points, recovery_points_section(),
               {.sentence = "How many points of claims are shown as RecoveryPoint objects, with "
                            "'custom_resources'.",
                .fallback = "{}",
                .example = "{ per_claim: 48, total: 2000 }"});
  section->add("lease", &KubernetesConfig::lease, plain_name("lease"),
               {.sentence = "A Lease in the agent's own namespace: of several replicas, who holds "
                            "it is at work.",
                .derived = "none, there is one agent",
                .example = "tidemark-agent"});
  section->add(
      "namespaces", &KubernetesConfig::namespaces, list_of(argument()),
      {.sentence = "The namespaces whose claims and tidemark.dev objects are looked at, where "
                   "the agent may not list all; objects in its own always are.",
       .derived = "all of them",
       .example = "[ shop, billing ]"});
  section->add("rados_namespaces", &KubernetesConfig::rados_namespaces,
               map_of("clusterID", check_cluster_id, plain_name("RADOS namespace")),
               {.sentence = "RADOS namespaces by ceph-csi's clusterID: a volume does not name its "
                            "own.",
                .example = "{ 0123456789abcdef0123456789abcdef: tenant-a }"});
  return section;
}

ShapePtr<ClaimsConfig> claims_section() {
  auto section = std::make_shared<Section<ClaimsConfig>>();
  section->add("namespaces", &ClaimsConfig::namespaces, list_of(argument()),
               {.sentence = "Namespaces of Kubernetes; may be patterns.",
                .derived = "all of them",
                .example = "[ shop, \"team-*\" ]"});
  section->add("labels", &ClaimsConfig::labels, argument(),
               {.sentence = "A label selector, as kubectl reads it.",
                .derived = "any labels",
                .example = "\"app in (db, queue), tier!=scratch\""});
  section->add("storage_classes", &ClaimsConfig::storage_classes, list_of(argument()),
               {.sentence = "Storage classes; may be patterns.",
                .derived = "all of them",
                .example = "[ rook-ceph-block ]"});
  section->add("volumes", &ClaimsConfig::volumes, boolean(),
               {.sentence = "Whether PersistentVolumeClaims are meant.", .fallback = "true"});
  section->add("buckets", &ClaimsConfig::buckets, boolean(),
               {.sentence = "Whether ObjectBucketClaims are meant.", .fallback = "true"});
  section->add("annotated", &ClaimsConfig::annotated, boolean(),
               {.sentence = "Whether only those are meant whose annotation tidemark.dev/policy "
                            "names this policy.",
                .fallback = "false",
                .example = "true"});
  return section;
}

ShapePtr<PodHooksConfig> pod_hooks_section() {
  using OnFailure = HookConfig::OnFailure;
  auto section = std::make_shared<Section<PodHooksConfig>>();
  section->add("before", &PodHooksConfig::before, list_of(argument()),
               {.sentence = "A program and its arguments, run right before the moment; no shell is "
                            "between.",
                .derived = "nothing",
                .example = "[ fsfreeze, -f, /data ]"});
  section->add("after", &PodHooksConfig::after, list_of(argument()),
               {.sentence = "Run right after it in every pod in which 'before' was tried.",
                .derived = "nothing",
                .example = "[ fsfreeze, -u, /data ]"});
  section->add(
      "container", &PodHooksConfig::container, argument(),
      {.sentence = "The container of the pod.", .derived = "the pod's first", .example = "db"});
  section->add("timeout", &PodHooksConfig::timeout, duration("1s", "1h"),
               {.sentence = "How long a command may take.", .fallback = "30s"});
  section->add("on_failure", &PodHooksConfig::on_failure,
               choice<OnFailure>({{"abort", OnFailure::abort}, {"continue", OnFailure::go_on}}),
               {.sentence = "What a failure does: end the backup, or nothing but a warning.",
                .fallback = "abort"});
  return section;
}

}  // namespace tidemark::config
