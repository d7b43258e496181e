#include "cache/range.h"

#include <algorithm>

#include "cache/kernel.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

constexpr std::string_view between = "..";

// "7.3" of "7.3.4".
std::string seriesOf(const std::string& version) {
  return version.substr(0, version.find('.', std::min(version.find('.'), version.size() - 1) + 1));
}

KernelSpec seriesIn(std::string_view end, std::string_view flavour, std::string_view range) {
  KernelSpec spec = parseKernelSpec(text("debian:", end, flavour));
  if (std::count(spec.version.begin(), spec.version.end(), '.') == 1) return spec;
  throw Error(ExitCode::usage, "kernel-spec-invalid",
              text('"', range, "\" is no range of kernels: \"", end, "\" is no series"),
              "use two of them, such as debian:6.16..7.0");
}

bool isBefore(const std::string& a, const std::string& b) {
  return compareVersions(a, b) < 0;
}

}  // namespace

std::string KernelRange::text() const {
  return KernelSpec{KernelSpec::Source::debian, first + std::string(between) + last, flavour, ""}.text();
}

std::optional<KernelRange> parseKernelRange(std::string_view spec) {
  constexpr std::string_view debian = "debian:";
  const size_t dots = spec.find(between);
  if (!spec.starts_with(debian) || spec.find('/') != spec.npos || dots == spec.npos) return std::nullopt;
  const size_t colon = std::min(spec.find(':', dots), spec.size());
  const std::string_view flavour = spec.substr(colon);
  const size_t last = dots + between.size();
  const KernelSpec from = seriesIn(spec.substr(debian.size(), dots - debian.size()), flavour, spec);
  const KernelSpec to = seriesIn(spec.substr(last, colon - last), flavour, spec);
  return KernelRange{from.version, to.version, from.flavour};
}

std::vector<std::string> specsOf(const KernelRange& range, const std::vector<std::string>& versions) {
  std::vector<std::string> all;
  for (const std::string& version : versions) all.push_back(seriesOf(version));
  std::sort(all.begin(), all.end(), isBefore);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::vector<std::string> specs;
  std::string there;
  for (const std::string& series : all) {
    there += (there.empty() ? "there are " : ", ") + series;
    if (isBefore(series, range.first) || isBefore(range.last, series)) continue;
    specs.push_back(KernelSpec{KernelSpec::Source::debian, series, range.flavour, ""}.text());
  }
  if (!specs.empty()) return specs;
  throw Error(ExitCode::usage, "kernel-range-empty",
              text("no Debian suite has a ", range.flavour, " kernel from ", range.first, " to ", range.last),
              there.empty() ? "there are none" : there);
}

}  // namespace ktstr::cache
