// Objects of ours, followed in the namespaces that the agent may read.
#pragma once

#include <set>
#include <stop_token>
#include <string>

#include "config/config.h"
#include "transport/kube/watch.h"

namespace tidemark {

// Where they are looked for: in the configured namespaces and in the agent's own; {""}, which is
// all of them, where none is configured.
std::set<std::string> object_namespaces(const KubernetesConfig& config, const std::string& own_ns);

// Watches `resource` in each of the namespaces until `stop`, on a thread for each. `handler` is
// called by one of them at a time, and its on_listed() for each namespace. Trouble is logged, once
// until it is another one or over: a namespace that may not be read holds up no other.
void follow_objects(kube::Client& client, const kube::Resource& resource,
                    const std::set<std::string>& namespaces, const std::stop_token& stop,
                    kube::WatchHandler& handler);

}  // namespace tidemark
