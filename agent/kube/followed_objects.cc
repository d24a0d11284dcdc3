#include "agent/kube/followed_objects.h"

#include <list>
#include <mutex>
#include <thread>

#include "base/log.h"

namespace tidemark {
namespace {

using nlohmann::json;

// The objects of one namespace, or of all.
class Followed : public kube::WatchHandler {
 public:
  Followed(kube::Client& client, const kube::Resource& resource, std::string ns,
           kube::WatchHandler& handler, std::mutex& mutex)
      : client_(client),
        resource_(resource),
        ns_(std::move(ns)),
        handler_(handler),
        mutex_(mutex) {}

  void run(const std::stop_token& stop) {
    kube::WatchOptions options;
    options.ns = ns_;
    kube::Watch watch(client_, resource_, options, *this);
    if (const Status ended = watch.run(stop); !ended)
      log::error("{}: {}", resource_.plural, ended.error().describe());
  }

  void on_changed(json object) override {
    trouble_.clear();
    const std::lock_guard lock(mutex_);
    handler_.on_changed(std::move(object));
  }
  void on_gone(const std::string& uid, const kube::ObjectRef& ref, json last) override {
    const std::lock_guard lock(mutex_);
    handler_.on_gone(uid, ref, std::move(last));
  }
  void on_listed(std::size_t count) override {
    trouble_.clear();
    const std::lock_guard lock(mutex_);
    handler_.on_listed(count);
  }
  void on_trouble(const kube::ApiError& error) override {
    if (std::exchange(trouble_, error.message()) != error.message())
      log::warn("{}{}{}: {}", resource_.plural, ns_.empty() ? "" : " of namespace ", ns_,
                error.describe());
  }

 private:
  kube::Client& client_;
  const kube::Resource& resource_;
  const std::string ns_;
  kube::WatchHandler& handler_;
  std::mutex& mutex_;
  std::string trouble_;  // of the watching thread
};

}  // namespace

std::set<std::string> object_namespaces(const KubernetesConfig& config, const std::string& own_ns) {
  if (config.namespaces.empty()) return {""};
  std::set<std::string> out(config.namespaces.begin(), config.namespaces.end());
  out.insert(own_ns);
  return out;
}

void follow_objects(kube::Client& client, const kube::Resource& resource,
                    const std::set<std::string>& namespaces, const std::stop_token& stop,
                    kube::WatchHandler& handler) {
  std::mutex one_at_a_time;
  std::list<Followed> all;
  std::list<std::jthread> threads;
  for (const std::string& ns : namespaces) {
    Followed& one = all.emplace_back(client, resource, ns, handler, one_at_a_time);
    threads.emplace_back([&one, &stop] { one.run(stop); });
  }
}

}  // namespace tidemark
