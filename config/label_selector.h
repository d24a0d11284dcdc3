// Label selectors as kubectl reads them:
// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tidemark {

// "app=db,tier!=test,env in (a,b),env notin (c),gpu,!legacy"; all of it must hold, and an empty one
// fits everything.
class LabelSelector {
 public:
  static Result<LabelSelector> parse(std::string_view text);
  bool matches(const std::map<std::string, std::string>& labels) const;

 private:
  struct Requirement {
    std::string key;
    enum class Operator : std::uint8_t { in, not_in, exists, absent } op = Operator::exists;
    std::vector<std::string> values;
  };
  std::vector<Requirement> requirements_;
};

}  // namespace tidemark
