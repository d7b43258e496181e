#include "cache/debian.h"

#include <algorithm>
#include <map>

#include "protocol/text.h"

namespace ktstr::cache {
namespace {

constexpr std::string_view architectureSuffix = "-amd64";
constexpr size_t listed = 12;

bool isDigit(char c) {
  return c >= '0' && c <= '9';
}

// Weight of a character in the non-digit parts: ~ < end < letters < the rest.
int weight(char c) {
  if (c == '~') return -1;
  if (c == '\0' || isDigit(c)) return 0;
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return letter ? c : c + 256;
}

// Upstream version or revision, alternating non-digits and numbers.
int comparePart(std::string_view a, std::string_view b) {
  size_t i = 0;
  size_t j = 0;
  const auto peek = [](std::string_view s, size_t at) { return at < s.size() ? s[at] : '\0'; };
  while (i < a.size() || j < b.size()) {
    while ((i < a.size() && !isDigit(a[i])) || (j < b.size() && !isDigit(b[j]))) {
      const int difference = weight(peek(a, i)) - weight(peek(b, j));
      if (difference != 0) return difference;
      ++i;
      ++j;
    }
    while (peek(a, i) == '0') ++i;
    while (peek(b, j) == '0') ++j;
    int first = 0;
    while (isDigit(peek(a, i)) && isDigit(peek(b, j))) {
      if (first == 0) first = a[i] - b[j];
      ++i;
      ++j;
    }
    if (isDigit(peek(a, i))) return 1;
    if (isDigit(peek(b, j))) return -1;
    if (first != 0) return first;
  }
  return 0;
}

struct Parts {
  std::string_view epoch, upstream, revision;
};

Parts split(std::string_view version) {
  Parts parts{"0", version, "0"};
  if (const size_t colon = version.find(':'); colon != version.npos) {
    parts.epoch = version.substr(0, colon);
    parts.upstream = version.substr(colon + 1);
  }
  if (const size_t dash = parts.upstream.rfind('-'); dash != parts.upstream.npos) {
    parts.revision = parts.upstream.substr(dash + 1);
    parts.upstream = parts.upstream.substr(0, dash);
  }
  return parts;
}

// The release in a package name with this prefix, if it is a kernel's for our architecture.
std::optional<std::string> releaseIn(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix) || !name.ends_with(architectureSuffix)) return std::nullopt;
  const std::string_view release = name.substr(prefix.size());
  if (release.empty() || !isDigit(release.front())) return std::nullopt;
  return std::string(release);
}

std::string flavourOf(std::string_view release) {
  release.remove_suffix(architectureSuffix.size());
  for (const char* flavour : {"cloud", "rt"}) {
    if (release.ends_with(text("-", flavour))) return flavour;
  }
  return "generic";
}

// All packages of one release; of several versions of a package the newest.
struct Release {
  std::map<std::string, DebianPackage> parts;  // "binary", "base", "modules", "image"

  const DebianPackage* part(const std::string& name) const {
    const auto it = parts.find(name);
    return it == parts.end() ? nullptr : &it->second;
  }
  // The package that has the vmlinuz.
  const DebianPackage* vmlinuz() const {
    if (const DebianPackage* binary = part("binary")) return binary;
    const DebianPackage* image = part("image");
    return image != nullptr && !image->onlyDepends ? image : nullptr;
  }
  std::string version() const { return parts.begin()->second.version; }
};

std::map<std::string, Release> releasesOf(const std::vector<DebianPackage>& packages,
                                          const std::string& flavour) {
  std::map<std::string, Release> releases;
  for (const DebianPackage& package : packages) {
    for (const std::string part : {"binary", "base", "modules", "image"}) {
      const auto release = releaseIn(package.name, "linux-" + part + "-");
      if (!release || flavourOf(*release) != flavour) continue;
      DebianPackage& slot = releases[*release].parts[part];
      if (slot.name.empty() || compareDebianVersions(package.version, slot.version) > 0) slot = package;
    }
  }
  return releases;
}

// What there is instead, the nearest versions first: by how many components they share, then the newest.
std::string alternatives(const std::string& wanted, std::vector<std::string> versions) {
  const auto shared = [&](const std::string& version) {
    size_t dots = 0;
    for (size_t i = 0; i < wanted.size() && i < version.size() && wanted[i] == version[i]; ++i) {
      dots += wanted[i] == '.' ? 1 : 0;
    }
    return dots;
  };
  std::sort(versions.begin(), versions.end(), [&](const std::string& a, const std::string& b) {
    const size_t inA = shared(a);
    const size_t inB = shared(b);
    return inA != inB ? inA > inB : compareVersions(a, b) > 0;
  });
  versions.erase(std::unique(versions.begin(), versions.end()), versions.end());
  std::string list;
  for (size_t i = 0; i < versions.size() && i < listed; ++i) list += (i == 0 ? "" : ", ") + versions[i];
  if (versions.size() > listed) list += text(" and ", versions.size() - listed, " more");
  return list.empty() ? "there are none" : "there are " + list;
}

std::string missingPart(const char* part, const std::string& package) {
  return text(part, ": package ", package, " is not in the archive");
}

KernelPlan makePlan(const std::string& name, const Release& release) {
  KernelPlan plan{name, upstreamVersion(release.vmlinuz()->version), *release.vmlinuz(), {}, {}, {}};
  if (release.part("binary") == nullptr) {
    plan.modules = plan.image;
    return plan;
  }
  const auto take = [&](const char* part, const char* package, std::optional<DebianPackage>& slot) {
    if (const DebianPackage* found = release.part(package)) {
      slot = *found;
    } else {
      plan.missing.push_back(missingPart(part, text("linux-", package, "-", name)));
    }
  };
  take("config", "base", plan.config);
  take("modules", "modules", plan.modules);
  return plan;
}

}  // namespace

std::string upstreamVersion(std::string_view debianVersion) {
  return std::string(split(debianVersion).upstream);
}

int compareDebianVersions(std::string_view a, std::string_view b) {
  const Parts left = split(a);
  const Parts right = split(b);
  if (const int epoch = comparePart(left.epoch, right.epoch)) return epoch;
  if (const int upstream = comparePart(left.upstream, right.upstream)) return upstream;
  return comparePart(left.revision, right.revision);
}

KernelPlan planKernel(const std::vector<DebianPackage>& packages, const KernelSpec& spec) {
  const auto releases = releasesOf(packages, spec.flavour);
  const std::pair<const std::string, Release>* best = nullptr;
  std::string without;
  std::vector<std::string> others;
  for (const auto& release : releases) {
    if (!versionMatches(spec.version, upstreamVersion(release.second.version()))) {
      if (release.second.vmlinuz() != nullptr) others.push_back(upstreamVersion(release.second.version()));
    } else if (release.second.vmlinuz() == nullptr) {
      without = release.first;
    } else if (best == nullptr ||
               compareDebianVersions(release.second.version(), best->second.version()) > 0) {
      best = &release;
    }
  }
  if (best != nullptr) return makePlan(best->first, best->second);
  if (!without.empty()) {
    throw Error(ExitCode::usage, "kernel-incomplete",
                text(spec.text(), ": ", missingPart("vmlinuz", "linux-binary-" + without)),
                alternatives(spec.version, others));
  }
  throw Error(ExitCode::usage, "kernel-not-found",
              text("no Debian suite has a ", spec.flavour, " kernel ", spec.version),
              alternatives(spec.version, others));
}

std::vector<std::string> kernelVersions(const std::vector<DebianPackage>& packages,
                                        const std::string& flavour) {
  std::vector<std::string> versions;
  for (const auto& [name, release] : releasesOf(packages, flavour)) {
    if (release.vmlinuz() != nullptr) versions.push_back(upstreamVersion(release.version()));
  }
  return versions;
}

DebianPackage planSource(const std::vector<DebianPackage>& packages, const KernelSpec& spec) {
  const DebianPackage* best = nullptr;
  std::vector<std::string> others;
  for (const DebianPackage& package : packages) {
    if (!package.name.starts_with("linux-source-")) continue;
    if (!versionMatches(spec.version, upstreamVersion(package.version))) {
      others.push_back(upstreamVersion(package.version));
    } else if (best == nullptr || compareDebianVersions(package.version, best->version) > 0) {
      best = &package;
    }
  }
  if (best != nullptr) return *best;
  throw Error(ExitCode::usage, "kernel-not-found", text("no Debian suite has a linux-source ", spec.version),
              alternatives(spec.version, others));
}

}  // namespace ktstr::cache
