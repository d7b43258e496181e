#include "cache/get.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <map>
#include <sstream>

#include "cache/deb_archive.h"
#include "cache/decompress.h"
#include "cache/range.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

constexpr size_t maxModule = size_t{64} << 20;
constexpr std::array moduleNames = {"kvm.ko", "kvm-amd.ko", "kvm-intel.ko", "irqbypass.ko"};

// Downloaded packages, unlinked when they have been read.
class Downloads {
 public:
  Downloads(Fetcher& fetcher, const std::vector<DebianPackage>& packages, const OnProgress& progress)
      : paths_(fetcher.download(packages, progress)) {}
  Downloads(const Downloads&) = delete;
  Downloads& operator=(const Downloads&) = delete;
  ~Downloads() {
    for (const std::string& path : paths_) unlink(path.c_str());
  }
  const std::vector<std::string>& paths() const { return paths_; }

 private:
  std::vector<std::string> paths_;
};

Store::OnCorrupt noting(const GetReport& report) {
  return [&report](const Error& error) { report.note(text(error.message(), "; getting it again")); };
}

void requireDebian(const KernelSpec& spec) {
  if (spec.source == KernelSpec::Source::debian) return;
  throw Error(ExitCode::usage, "kernel-spec-invalid", spec.path + " is a path: its source is not known",
              "use debian:VERSION");
}

// packages() and a plan; once more with fresh lists if nothing matched.
template <typename Plan>
auto resolve(Fetcher& fetcher, const GetOptions& options, const GetReport& report, Plan plan) {
  try {
    return plan(fetcher.packages(options.update, report.progress));
  } catch (const Error& error) {
    const bool notThere = error.name() == "kernel-not-found" || error.name() == "kernel-range-empty";
    if (options.update || !notThere) throw;
  }
  return plan(fetcher.packages(true, report.progress));
}

std::string keyOf(const DebianPackage& package) {
  return asName(package.name + "_" + package.version);
}

Sink appendTo(std::string& target) {
  return [&target](std::span<const std::byte> piece) {
    target.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  };
}

// The kernel's parts as they come out of its packages.
struct Parts {
  std::string vmlinuz;
  std::string config;
  std::map<std::string, std::string> modules;  // by name without .xz
};

void readPackage(const std::string& path, const KernelPlan& plan, bool withModules, Parts& parts) {
  const std::string directory = "usr/lib/modules/" + plan.release + "/";
  size_t wanted = (parts.vmlinuz.empty() ? 1 : 0) + (parts.config.empty() ? 1 : 0);
  if (withModules) wanted += moduleNames.size();
  const auto sinkFor = [&](std::string_view file) -> Sink {
    if (file == directory + "vmlinuz" || file == "boot/vmlinuz-" + plan.release)
      return appendTo(parts.vmlinuz);
    if (file == directory + "config" || file == "boot/config-" + plan.release) return appendTo(parts.config);
    if (!withModules || !file.starts_with(directory)) return {};
    const std::string_view name = file.substr(file.rfind('/') + 1);
    for (const char* module : moduleNames) {
      if (name == module || name == text(module, ".xz")) return appendTo(parts.modules[std::string(name)]);
    }
    return {};
  };
  readDeb(openFile(path, O_RDONLY).get(), path, wanted, sinkFor);
}

void writeModules(Draft& draft, const Parts& parts) {
  for (const auto& [name, content] : parts.modules) {
    const auto bytes = std::as_bytes(std::span(content));
    if (name.ends_with(".xz")) {
      draft.write(name.substr(0, name.size() - 3), decompress(Compression::xz, bytes, maxModule));
    } else {
      draft.write(name, bytes);
    }
  }
}

std::vector<DebianPackage> packagesFor(const KernelPlan& plan, bool withModules) {
  std::vector<DebianPackage> packages = {plan.image};
  if (plan.config) packages.push_back(*plan.config);
  if (withModules && plan.modules && *plan.modules != plan.image) packages.push_back(*plan.modules);
  return packages;
}

void fillFromDebian(Draft& draft, const KernelPlan& plan, const KernelSpec& spec, Fetcher& fetcher,
                    bool withModules, const GetReport& report) {
  const std::vector<DebianPackage> packages = packagesFor(plan, withModules);
  Parts parts;
  {
    const Downloads downloads(fetcher, packages, report.progress);
    report.progress(-1, "unpack " + plan.release);
    for (const std::string& path : downloads.paths()) readPackage(path, plan, withModules, parts);
  }
  if (parts.vmlinuz.empty()) {
    throw Error(ExitCode::infrastructure, "package-corrupt",
                text(plan.image.name, " ", plan.image.version, " has no vmlinuz"),
                "report this; try another version");
  }
  report.progress(-1, "extract vmlinux of " + plan.release);
  fillKernel(draft, parts.vmlinuz);
  auto facts = draft.kernel();
  facts.setSpec(spec.text());
  facts.setSource("debian");
  facts.setRelease(plan.release);
  facts.setVersion(plan.version);
  facts.setFlavour(spec.flavour);
  auto names = facts.initPackages(static_cast<unsigned>(packages.size()));
  for (unsigned i = 0; i < packages.size(); ++i) names.set(i, packages[i].name + "_" + packages[i].version);
  if (!parts.config.empty()) draft.write("config", parts.config);
  for (const std::string& part : plan.missing) addMissing(facts, part);
  if (plan.modules) draft.attribute("modules-package", plan.modules->name + "_" + plan.modules->version);
  if (withModules) writeModules(draft, parts);
}

bool goodEnough(const std::optional<Entry>& entry, const GetOptions& options) {
  if (!entry || !options.withModules) return entry.has_value();
  return entry->has("kvm.ko") || entry->attribute("with-modules");
}

Entry fetchKernel(const Store& store, const KernelSpec& spec, Fetcher& fetcher, const GetOptions& options,
                  const GetReport& report) {
  const KernelPlan plan = resolve(fetcher, options, report, [&](const std::vector<DebianPackage>& packages) {
    return planKernel(packages, spec);
  });
  const std::string key =
      asName(text("debian-", plan.release, "_", plan.image.version, options.withModules ? "+modules" : ""));
  Entry entry = store.findOrMake(
      "kernel", key,
      [&](Draft& draft) {
        if (options.withModules) draft.attribute("with-modules", "1");
        fillFromDebian(draft, plan, spec, fetcher, options.withModules, report);
      },
      noting(report));
  store.setAlias("kernel", asName(spec.text()), key);
  return entry;
}

// The newest cached kernel of the spec's flavour and version, for when nothing can be asked.
std::optional<Entry> nearestCached(const Store& store, const KernelSpec& spec, const GetReport& report) {
  for (const Entry& entry : listKernels(store)) {
    const auto facts = entry.record().getKernel();
    if (facts.getSource() != "debian" || facts.getFlavour() != spec.flavour.c_str()) continue;
    if (!versionMatches(spec.version, facts.getVersion().cStr())) continue;
    if (auto found = store.find("kernel", entry.key(), noting(report))) return found;
  }
  return std::nullopt;
}

}  // namespace

Entry getKernel(const Store& store, const KernelSpec& spec, Fetcher& fetcher, const GetOptions& options,
                const GetReport& report) {
  if (spec.source == KernelSpec::Source::path) return addKernelFile(store, spec, noting(report));
  std::optional<Entry> entry;
  const auto look = [&] {
    if (!options.update) entry = findKernelIfThere(store, spec, noting(report));
    return goodEnough(entry, options);
  };
  if (look()) return *entry;
  store.withKeyLock("kernel", asName(spec.text()), [&] {
    if (look()) return;
    try {
      entry = fetchKernel(store, spec, fetcher, options, report);
    } catch (const Error& error) {
      if (error.name() != "kernel-unavailable") throw;
      entry = nearestCached(store, spec, report);
      if (!goodEnough(entry, options)) throw;
      report.note(text(error.what(), "; using the cached ", entry->record().getKernel().getRelease().cStr()));
    }
  });
  return *entry;
}

std::vector<std::string> expandSpec(const Store& store, const std::string& spec, Fetcher& fetcher,
                                    const GetOptions& options, const GetReport& report) {
  const auto range = parseKernelRange(spec);
  if (!range) return {parseKernelSpec(spec).text()};
  const std::string name = asName(range->text());
  if (const auto known = options.update ? std::nullopt : store.alias("range", name)) {
    std::istringstream words(*known);
    std::vector<std::string> versions;
    for (std::string version; std::getline(words, version, '_');) versions.push_back(version);
    return specsOf(*range, versions);
  }
  std::vector<std::string> specs =
      resolve(fetcher, options, report, [&](const std::vector<DebianPackage>& packages) {
        return specsOf(*range, kernelVersions(packages, range->flavour));
      });
  std::string versions;
  for (const std::string& each : specs)
    versions += (versions.empty() ? "" : "_") + parseKernelSpec(each).version;
  store.setAlias("range", name, versions);
  return specs;
}

std::optional<Entry> findSourceIfThere(const Store& store, const KernelSpec& spec,
                                       const Store::OnCorrupt& onCorrupt) {
  requireDebian(spec);
  const auto key = store.alias("source", asName(spec.version));
  return key ? store.find("source", *key, onCorrupt) : std::nullopt;
}

std::string sourcePath(const Entry& source) {
  for (const auto file : source.record().getFiles()) {
    if (std::string_view(file.getName().cStr()).ends_with(".tar.xz"))
      return source.path(file.getName().cStr());
  }
  return source.path(".tar.xz");  // throws
}

Entry getSource(const Store& store, const KernelSpec& spec, Fetcher& fetcher, const GetOptions& options,
                const GetReport& report) {
  std::optional<Entry> entry;
  const auto look = [&] {
    if (!options.update) entry = findSourceIfThere(store, spec, noting(report));
    return entry.has_value();
  };
  if (look()) return *entry;
  store.withKeyLock("source", asName(spec.version), [&] {
    if (look()) return;
    const DebianPackage package =
        resolve(fetcher, options, report,
                [&](const std::vector<DebianPackage>& packages) { return planSource(packages, spec); });
    const auto fill = [&](Draft& draft) {
      const Downloads downloads(fetcher, {package}, report.progress);
      report.progress(-1, "unpack " + package.name);
      const std::string& path = downloads.paths().front();
      Fd target;
      const auto sinkFor = [&](std::string_view file) -> Sink {
        if (!file.starts_with("usr/src/") || !file.ends_with(".tar.xz")) return {};
        target = draft.create(file.substr(file.rfind('/') + 1));
        return [&](std::span<const std::byte> piece) { writeAll(target.get(), piece); };
      };
      if (readDeb(openFile(path, O_RDONLY).get(), path, 1, sinkFor) == 0) {
        throw Error(ExitCode::infrastructure, "package-corrupt", path + " has no usr/src/*.tar.xz",
                    "report this");
      }
      draft.attribute("package", package.name + "_" + package.version);
      draft.attribute("version", upstreamVersion(package.version));
    };
    const std::string key = keyOf(package);
    entry = store.findOrMake("source", key, fill, noting(report));
    store.setAlias("source", asName(spec.version), key);
  });
  return *entry;
}

}  // namespace ktstr::cache
