#include "tests/fuzz/target.h"
#include "transport/kube/error.h"
#include "transport/kube/event_parser.h"
#include "transport/kube/exec.h"
#include "transport/kube/websocket.h"

using namespace tidemark;

namespace {

constexpr std::size_t kBytesMax = 4096;

// All events of two pieces, and whether all were accepted.
std::string events_of(ByteView first, ByteView second, bool& fine) {
  kube::EventParser parser(kBytesMax);
  std::string seen;
  const auto take = [&](kube::WatchEvent event) -> Status {
    TM_CHECK(event.object.is_object());
    seen += std::to_string(static_cast<int>(event.type)) + event.object.dump();
    return {};
  };
  fine = parser.feed(first, take) && parser.feed(second, take);
  return seen;
}

// The same of frames, with what an exec makes of them as messages.
std::string frames_of(ByteView first, ByteView second) {
  kube::FrameParser parser(kBytesMax);
  kube::ExecOutput output(kBytesMax);
  std::string seen;
  for (const ByteView part : {first, second}) {
    parser.feed(part);
    while (true) {
      auto frame = parser.next();
      if (!frame) return seen + "!";
      if (!*frame) break;
      TM_CHECK((*frame)->payload.size() <= kBytesMax);
      seen += std::to_string(static_cast<int>((*frame)->opcode)) + to_hex((*frame)->payload) + " ";
      ignore_error(output.take((*frame)->payload), "most of them are wrong");
    }
  }
  if (!output.has_status()) return seen;
  const auto result = output.finish();
  TM_CHECK(!result || result->out.size() <= kBytesMax);
  return seen;
}

}  // namespace

// First byte: which of them. The second: where the rest is cut in two, which must make no
// difference.
TM_FUZZ_TARGET(kube) {
  if (input.size() < 2) return;
  const ByteView rest = input.subspan(2);
  const std::size_t cut = rest.size() * input[1] / 256;
  const ByteView first = rest.first(cut), second = rest.subspan(cut);
  switch (input[0] % 3) {
    case 0: {
      bool whole = false, parts = false;
      const std::string one = events_of(rest, {}, whole), other = events_of(first, second, parts);
      TM_CHECK(whole == parts && one == other);
      break;
    }
    case 1:
      TM_CHECK(frames_of(rest, {}) == frames_of(first, second));
      break;
    default: {
      const auto error = kube::error_of_answer(400U + input[1], {}, as_text(rest));
      TM_CHECK(!error.message().empty() && error.message().size() < 16 * kKiB);
      break;
    }
  }
}
