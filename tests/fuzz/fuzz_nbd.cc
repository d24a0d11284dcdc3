#include "tests/fuzz/served_volume.h"
#include "tests/fuzz/target.h"
#include "transport/nbd/connection.h"

using namespace tidemark;

// First byte: 1: past the negotiation, 2: with structured replies, 4: with base:allocation. The
// rest: what the client sends.
TM_FUZZ_TARGET(nbd) {
  if (input.empty()) return;
  const auto stop = net::Event::create();
  if (!stop) return;
  test::StripedView view;
  nbd::Options options;
  options.name = "disk";
  std::unique_ptr<net::ByteStream> stream =
      std::make_unique<test::InputStream>(input.subspan(1), **stop);
  nbd::Agreed agreed{(input[0] & 2) != 0, (input[0] & 6) == 6};
  if ((input[0] & 1) == 0) {
    const auto negotiated = nbd::negotiate(stream, view.size(), options, **stop);
    if (!negotiated || !*negotiated) return;
    agreed = **negotiated;
  }
  ignore_error(nbd::serve_requests(view, agreed, *stream, **stop), "most of them are wrong");
}
