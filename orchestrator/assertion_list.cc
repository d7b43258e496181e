#include "orchestrator/assertion_list.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "orchestrator/assertions.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

bool isChoice(const Assertion& row) {
  return std::string_view(row.unit) == "choice";
}

std::string shownDefault(const Assertion& row, const Limit& limit) {
  if (!limit.set) return "none";
  return isChoice(row) ? (limit.yes() ? "yes" : "no") : text(limit.value(), row.unit);
}

}  // namespace

std::string assertionText() {
  const Limits defaults;
  std::string out;
  for (const Assertion& row : assertionTable())
    out += text(row.name, "\n    ", row.compares, "\n    default  ", shownDefault(row, defaults.*row.limit),
                "\n");
  return out + "a value that equals its limit passes\n";
}

std::string assertionJsonLines() {
  const Limits defaults;
  std::string out;
  for (const Assertion& row : assertionTable()) {
    const Limit& limit = defaults.*row.limit;
    nlohmann::ordered_json line = {{"name", row.name}, {"default", nullptr}};
    if (limit.set) isChoice(row) ? line["default"] = limit.yes() : line["default"] = limit.value();
    line["unit"] = *row.unit == ' ' ? row.unit + 1 : row.unit;
    line["least"] = row.least;
    if (std::isfinite(row.most)) line["most"] = row.most;
    line["compares"] = row.compares;
    out += line.dump() + "\n";
  }
  return out;
}

}  // namespace ktstr
