// A drill's report as JUnit XML, which every build server shows: a test suite for each asset, a
// test case for its recovery, for each objective, for each check, and for the cleaning up.
//
// Format: the Jenkins schema (testsuites/testsuite/testcase with failure, error and skipped).
#pragma once

#include <string>

#include "agent/drill/report.h"

namespace tidemark {

// Well-formed whatever the report's texts hold: bytes that XML 1.0 cannot carry become U+FFFD.
std::string junit_of(const DrillReport& report);

}  // namespace tidemark
