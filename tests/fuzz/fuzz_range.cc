#include "tests/fuzz/served_volume.h"
#include "tests/fuzz/target.h"
#include "transport/range_server.h"

using namespace tidemark;

// What an HTTP client sends.
TM_FUZZ_TARGET(range) {
  const auto range = parse_range(as_text(input), 1000);
  TM_CHECK(!range || (range->first <= 1000 && range->length <= 1000 - range->first));
  const auto stop = net::Event::create();
  if (!stop) return;
  test::StripedView view;
  RangeServerOptions options;
  options.name = "disk";
  options.etag = "abc";
  test::InputStream stream(input, **stop);
  serve_ranges(view, options, stream, **stop);
}
