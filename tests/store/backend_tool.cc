// The other process of the backend tests.
//
//   backend_tool lock OWNER URL [CEPH_CONF CEPH_USER]   takes the writer lock and says "held" or
//       "refused: ...", then keeps it until its input ends
//   backend_tool commit THREADS SEED URL   commits blobs without end, and says of each what was
//       acknowledged, one line at a time, right after the backend did
//   backend_tool write BLOBS MIB THREADS URL   commits so many blobs and says how long it took
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/crypto.h"
#include "store/backend.h"

namespace tidemark {
namespace {

// One write(2) of at most PIPE_BUF bytes: lines of several threads do not mix, and a line that a
// reader has seen was acknowledged.
void say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(1, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::_Exit(3);
}

int fail(const Error& error) {
  say("error: " + std::string(to_string(error.code())) + ": " + error.message());
  return 1;
}

int hold_lock(Backend& backend, const std::string& owner) {
  auto lock = backend.lock_writer(owner);
  if (!lock) {
    say(std::string(to_string(lock.error().code())) + ": " + lock.error().message());
    return 5;
  }
  say("held");
  char c = 0;
  while (::read(0, &c, 1) == 1) {
  }
  return (*lock)->held() ? 0 : 1;
}

Bytes random_data(std::mt19937_64& random, std::size_t size_min, std::size_t size_max) {
  Bytes data(size_min + random() % (size_max - size_min));
  for (auto& byte : data) byte = static_cast<std::uint8_t>(random());
  return data;
}

// Streamed packs and created points carry the hash of their bytes in their name; "head-N" holds a
// number that only grows; every fourth point is removed again.
Status commit_some(Backend& backend, unsigned thread, std::mt19937_64& random,
                   std::uint64_t round) {
  const Bytes pack = random_data(random, 0, 300000);
  const std::string pack_hash = sha256(pack).hex();
  const std::string pack_name = "packs/" + pack_hash.substr(0, 2) + "/" + pack_hash;
  TM_TRY(auto writer, backend.writer(pack_name));
  TM_DO(writer->append(ByteView(pack).first(pack.size() / 2)));
  TM_DO(writer->append(ByteView(pack).subspan(pack.size() / 2)));
  TM_DO(writer->commit());
  say("put " + pack_name);

  // Not so small that another one is the same: points are never created twice.
  const Bytes point = random_data(random, 16, 2000);
  const std::string point_name = "points/" + sha256(point).hex();
  TM_DO(backend.create(point_name, point));
  say("put " + point_name);

  const std::string head = "head-" + std::to_string(thread);
  std::string text = std::to_string(round) + ":";
  text.append(5000 + round % 3000, static_cast<char>('a' + round % 26));
  TM_DO(backend.replace(head, as_bytes(text)));
  say("head " + head + " " + std::to_string(round));

  if (round % 4 != 0) return {};
  // Said before, too: from here on it may be there or not.
  say("removing " + point_name);
  TM_DO(backend.remove(point_name));
  say("removed " + point_name);
  return {};
}

int commit_for_ever(Backend& backend, unsigned threads, std::uint64_t seed) {
  auto lock = backend.lock_writer("power cut test");
  if (!lock) return fail(lock.error());
  std::vector<std::thread> running;
  for (unsigned t = 0; t < threads; ++t)
    running.emplace_back([&backend, t, seed] {
      std::mt19937_64 random(seed * 1000 + t);
      for (std::uint64_t round = 1;; ++round)
        if (const auto status = commit_some(backend, t, random, round); !status)
          std::_Exit(fail(status.error()));
    });
  for (auto& thread : running) thread.join();
  return 0;
}

int measure(Backend& backend, unsigned blobs, std::uint64_t mib, unsigned threads) {
  using Clock = std::chrono::steady_clock;
  Bytes data(mib * kMiB);
  random_bytes(data);
  std::atomic<unsigned> next{0};
  std::vector<std::thread> running;
  const auto begin = Clock::now();
  for (unsigned t = 0; t < threads; ++t)
    running.emplace_back([&] {
      for (unsigned i = next++; i < blobs; i = next++) {
        const std::string name = "packs/" + std::to_string(i % 256) + "/" + std::to_string(i);
        auto writer = backend.writer(name);
        if (!writer) std::_Exit(fail(writer.error()));
        for (std::uint64_t at = 0; at < data.size(); at += kMiB)
          if (auto s = (*writer)->append(ByteView(data).subspan(at, kMiB)); !s)
            std::_Exit(fail(s.error()));
        if (auto s = (*writer)->commit(); !s) std::_Exit(fail(s.error()));
      }
    });
  for (auto& thread : running) thread.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  say(std::to_string(static_cast<double>(blobs * mib) / seconds) + " MiB/s");
  return 0;
}

int run(const std::vector<std::string>& arguments) {
  const auto fixed = arguments.empty()          ? 0U
                     : arguments[0] == "lock"   ? 2U
                     : arguments[0] == "commit" ? 3U
                     : arguments[0] == "write"  ? 4U
                                                : 0U;
  if (fixed == 0 || arguments.size() < fixed + 1) return 2;
  const auto argument = [&](std::size_t i) { return i < arguments.size() ? arguments[i] : ""; };
  auto config = parse_backend_url(argument(fixed), argument(fixed + 1), argument(fixed + 2));
  if (!config) return fail(config.error());
  auto backend = open_backend(*config, true);
  if (!backend) return fail(backend.error());
  const auto number = [&](std::size_t i) { return std::stoul(arguments[i]); };
  if (arguments[0] == "lock") return hold_lock(**backend, arguments[1]);
  if (arguments[0] == "commit")
    return commit_for_ever(**backend, static_cast<unsigned>(number(1)), number(2));
  return measure(**backend, static_cast<unsigned>(number(1)), number(2),
                 static_cast<unsigned>(number(3)));
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) { return tidemark::run({argv + 1, argv + argc}); }
